"""What may be shown of a connector's configuration.

A secret is known in three ways: by the name of its key, by the type that the plugin gives the key
(PASSWORD), and as a value that was put in for a reference.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

from connectors.keys import ends_with_a_name

MASK: Final = "********"
SHORTEST: Final = 4
"""A shorter value would tear holes into every text and hide nothing: it is masked only where it stands
alone under its key."""

_SECRET_KEY = re.compile(
    r"password|passphrase|passwd|pwd|secret|token|credential|jaas|api[._-]?key|access[._-]?key|private[._-]?key"
    r"|sas\.key|keystore\.key$|basic\.auth\.user\.info",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(
    # Settings *about* secrets and tokens, column lists that name them, and groups of topics.
    r"(\.location|\.type|\.url|\.class|\.algorithm|\.list|\.ms|\.seconds|\.path|\.file)$|^topic\.creation\.",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$?\$\{[A-Za-z][A-Za-z0-9_-]*:[^}]+\}")
_URL_PASSWORD = re.compile(
    # What looks like a port and a path is none; a `/` or an `@` that was not quoted ends no password.
    r"(?P<scheme>(?<![a-z0-9+.-])[a-z0-9+.-]++://[^\s:/@]*:)"
    r"(?:[^\s@/]+|(?!\d{1,5}[/,])[^\s@]+)@(?:[^\s@/?\"',;]+@)*",
    re.IGNORECASE,
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_ASSIGNED = re.compile(
    # Looked for at the beginning of a word only: from each of its letters it would take a square of time.
    r"(?P<key>(?<![\w.-])"
    r"(?=[\w.-]*(?:password|passphrase|passwd|pwd|secret|token|(?:api|access|account)[._-]?key))"
    r"[\w.-]++\\?[\"']?\s*[=:]\s*)(?P<quote>\\?[\"'])?"
    r"(?P<value>(?(quote)(?:(?!(?P=quote))(?:\\.|[^\n]))+"
    # A separator ends it where white space or another key follows; else it is one of its letters.
    r"|(?:\\(?![\"'])|[^\s\"',;&}\\]|[,;&](?![\s\"']|\\?[\"']?[\w.-]+\\?[\"']?\s*[=:]))+))",
    re.IGNORECASE,
)


def is_secret_key(key: str) -> bool:
    """Whether the value under this key is a secret by the key's name."""
    return bool(_SECRET_KEY.search(key)) and not (_NOT_SECRET.search(key) or ends_with_a_name(key))


def is_reference(value: str) -> bool:
    """Whether the value is nothing but `${provider:…}`, which is resolved elsewhere and never shown."""
    return _REFERENCE.fullmatch(value.strip()) is not None


def holds_secret(value: str) -> bool:
    """Whether the value itself tells: a URL with a password, `scheme://user:password@host`, or a PEM key.

    A password that is a reference is none.
    """
    bare = _REFERENCE.sub("", value)
    return _URL_PASSWORD.search(bare) is not None or _PRIVATE_KEY.search(value) is not None


def masked_config(
    config: Mapping[str, str], password_keys: Collection[str] = (), secrets: Collection[str] = ()
) -> dict[str, str]:
    """The configuration as it may be printed: references stay, secrets become a mask.

    `password_keys` are those that the plugin types as PASSWORD; `secrets` are values that were put in
    for references, and are masked wherever they stand.
    """
    hidden = {key for key in config if is_secret_key(key) or key in password_keys}
    known = {*secrets, *(config[key] for key in hidden if not is_reference(config[key]))}
    return {
        key: MASK
        if value in secrets or (key in hidden and not is_reference(value))
        else masked_text(value, secrets=known)
        for key, value in config.items()
    }


def masked_text(
    text: str,
    config: Mapping[str, str] | None = None,
    password_keys: Collection[str] = (),
    secrets: Collection[str] = (),
) -> str:
    """Foreign text (an error body, a trace) without the secrets of `config` or what looks like one."""
    known = set(secrets)
    for key, value in (config or {}).items():
        if (is_secret_key(key) or key in password_keys) and not is_reference(value):
            known.add(value)
    # The longest first: one secret may be a part of another.
    for value in sorted((s for s in known if len(s) >= SHORTEST), key=len, reverse=True):
        text = text.replace(value, MASK)
    text = _PRIVATE_KEY.sub(MASK, text)
    text = _URL_PASSWORD.sub(rf"\g<scheme>{MASK}@", text)
    return _ASSIGNED.sub(
        lambda found: (
            found[0]
            if _REFERENCE.match(text, found.start("value"))
            else f"{found['key']}{found['quote'] or ''}{MASK}"
        ),
        text,
    )
