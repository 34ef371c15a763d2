"""What may be shown of a connector's configuration: secrets are known by the name of their key."""

import re
from collections.abc import Mapping
from typing import Final

MASK: Final = "********"

_SECRET_KEY = re.compile(
    r"password|passphrase|passwd|secret|token|credential|jaas|api[._-]?key|access[._-]?key|private[._-]?key"
    r"|sas\.key|basic\.auth\.user\.info",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(
    # Settings *about* secrets and tokens, and column lists that name them.
    r"(\.location|\.type|\.url|\.class|\.algorithm|\.list|\.ms|\.seconds|\.path|\.file)$",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\{[A-Za-z][A-Za-z0-9_-]*:[^}]+\}")
_URL_PASSWORD = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^\s:/@]+:)[^\s@]+@", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"(?P<key>[\w.-]*(?:password|passphrase|secret|token|api[._-]?key)[\w.-]*[\"']?\s*[=:]\s*[\"']?)"
    r"(?P<value>[^\s\"',;&}]+)",
    re.IGNORECASE,
)


def is_secret_key(key: str) -> bool:
    """Whether the value under this key is a secret by the key's name."""
    return bool(_SECRET_KEY.search(key)) and not _NOT_SECRET.search(key)


def is_reference(value: str) -> bool:
    """Whether the value is nothing but `${provider:…}`, which Connect resolves and never shows."""
    return _REFERENCE.fullmatch(value.strip()) is not None


def has_url_password(value: str) -> bool:
    """Whether a URL in the value carries a password: `postgresql://user:password@host`."""
    return _URL_PASSWORD.search(value) is not None


def masked_config(config: Mapping[str, str]) -> dict[str, str]:
    """The configuration as it may be printed: references stay, secrets become a mask."""
    return {
        key: MASK if is_secret_key(key) and not is_reference(value) else masked_text(value)
        for key, value in config.items()
    }


def masked_text(text: str, config: Mapping[str, str] | None = None) -> str:
    """Foreign text (an error body, a trace) without the secrets of `config` or what looks like one."""
    for key, value in (config or {}).items():
        # A value of one or two letters would tear holes into the text and hide nothing.
        if is_secret_key(key) and not is_reference(value) and len(value) > 2:  # noqa: PLR2004 - see above
            text = text.replace(value, MASK)
    text = _URL_PASSWORD.sub(rf"\g<scheme>{MASK}@", text)
    return _ASSIGNED.sub(
        lambda found: found[0] if _REFERENCE.match(text, found.start("value")) else found["key"] + MASK,
        text,
    )
