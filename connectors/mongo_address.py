"""MongoDB's connection string, read as the Java driver reads it: hosts end at the first slash, not before.

Pure. What the driver would read otherwise than a person does is refused.
"""

import re
from collections.abc import Iterator
from typing import Final

SCHEMES: Final = ("mongodb", "mongodb+srv")
_PARTS = re.compile(r"(mongodb(?:\+srv)?)://([^/]*)(?:/([^?]*)(?:\?(.*))?)?", re.DOTALL)
_DATABASE = re.compile(r"[A-Za-z0-9_-]*")
_MECHANISMS: Final = frozenset({"SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509", "PLAIN"})
"""Not those that ask a cloud's metadata service, or any command, for a login."""

_OPTIONS: Final = re.compile(
    r"replicaset|readpreference(tags)?|maxstalenessseconds|readconcernlevel|w|wtimeoutms|journal|retry(reads|writes)"
    r"|tls|ssl|authsource|authmechanism|appname|compressors|zlibcompressionlevel|directconnection|loadbalanced"
    r"|(connect|socket|serverselection|waitqueue)?timeoutms|localthresholdms|heartbeatfrequencyms|servermonitoringmode"
    r"|(min|max)poolsize|max(idle|life)timems|maxconnecting|srvmaxhosts|srvservicename|uuidrepresentation",
    re.IGNORECASE | re.ASCII,
)


def wrong_mongo(value: str) -> str | None:
    """Why this is no connection string to be used; None if it may."""
    found = _PARTS.fullmatch(value)
    if found is None or re.search(r"[@?#\\%\s]", found[2]) or not _DATABASE.fullmatch(found[3] or ""):
        return "it holds a user, or a sign that hides its hosts: all before the first slash is read as such"
    for option in filter(None, re.split(r"[&;]", found[4] or "")):
        name, _, said = option.partition("=")
        if not _OPTIONS.fullmatch(name):
            return (
                "one of its options is none of those that are known to be harmless (docs/connector-files.md)"
            )
        if not re.fullmatch(r"[\w.,: %-]*", said, re.ASCII):
            return "the value of an option holds more than letters, digits and `. , : - %`"
        if name.lower() == "authmechanism" and said not in _MECHANISMS:
            return f"its login is none of {', '.join(sorted(_MECHANISMS))}"
    return None


def mongo_hosts(value: str) -> Iterator[tuple[str, str]]:
    """(scheme, `host` or `host:port`) of each host, of a value with nothing wrong."""
    found = _PARTS.fullmatch(value)
    if found is not None:
        for host in found[2].split(","):
            yield found[1], host
