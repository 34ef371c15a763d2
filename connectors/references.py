"""References that the worker's config providers fill in: which may stand where.

Pure. A provider that the worker does not have leaves `${…}` as it stands, with whatever is in it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from connectors.violation import Violation

_HARMLESS = re.compile(r"\$?\$\{[A-Za-z][A-Za-z0-9_-]*:[A-Za-z0-9_./-]+(:[A-Za-z0-9_.-]+)?\}")
_ANY = re.compile(r"\$\{([^}:]*):([^}]*)\}?")
_NESTED = re.compile(r"\$\{[^}]*\$\{")
_FILE_PROVIDERS: Final = ("file", "dir", "directory")
_SYSTEM: Final = (("proc",), ("sys",), ("run", "secrets", "kubernetes.io"))
"""Of the process itself, and its account in the cluster."""

_SHOWN = re.compile(
    r"name|transforms(\..*)?|predicates(\..*)?|converters|post\.processors|topic\..*"
    r"|.*\.topic(\.name)?|.*topics?\.prefix|slot\.(name|stream\.params)|publication\.name|.*placeholder.*"
    r"|heartbeat\.action\.query|.*list|field\.renames|.*client\.id|.*group\.?id|.*metrics?\.tags"
    r"|signal\.data\.collection|.*statement.*|message\.key\.columns|column\..*|.*\.hash\..*"
    r"|(database|driver)\.application.*|.*\.(delimiter|separator)",
    re.IGNORECASE,
)
"""What ends in names of topics, in records, logs or metrics: no place for what a reference holds."""


def harmless(value: str) -> bool:
    """Whether it is one reference, and stays harmless within a URL where nobody fills it in."""
    return _HARMLESS.fullmatch(value) is not None


def named(config: Mapping[str, str], key: str) -> set[str]:
    """The names under a key that lists transforms, predicates, converters or post processors."""
    return {name.strip(" ") for name in config.get(key, "").split(",")} - {""}


def reference_rules(config: Mapping[str, str]) -> Iterator[Violation]:
    """References to the worker's own secrets, and those whose content would be shown."""
    of_plugins = tuple(f"{one}." for key in ("converters", "post.processors") for one in named(config, key))
    for key, value in config.items():
        if any(_of_the_process(found[1], found[2]) for found in _ANY.finditer(value)):
            why = "the process's own files hold every secret of the worker"
            want = "a file of the secrets folder, by its whole path"
            yield Violation("exfiltration", key, "a reference to another place", want, why)
        if (_SHOWN.fullmatch(key) or key.startswith(of_plugins)) and _ANY.search(value):
            why = "what the reference holds would be shown in names, records or logs"
            yield Violation(
                "exfiltration", key, "a reference", "plain text, or {{ values.… }} of a profile", why
            )
        if _NESTED.search(value):
            why = "a reference within another is read by no provider, and by some loggers"
            yield Violation("injection", key, "a reference within another", "one reference", why)


def _of_the_process(provider: str, inside: str) -> bool:
    path, colon, _ = inside.partition(":")
    if provider.strip().lower() in _FILE_PROVIDERS and not (colon and path.startswith("/")):
        return True  # relative to wherever the worker runs
    parts = [part.strip() for part in re.split(r"[/:]", inside)]
    plain = tuple(part for part in parts if part not in {"", "."})
    below = plain[1:] if plain[:1] == ("var",) else plain
    return (
        ".." in parts
        or (inside.lstrip().startswith("/") and plain[:1] == ("dev",))
        or any(below[: len(start)] == start for start in _SYSTEM)
    )
