"""The settings of a Debezium MongoDB connector under which no change is lost or made unreadable.

After Debezium's documentation; not run here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Unpack

from connectors.presets.base import Shared, base_config, flag, listed, require_plain, signals_config
from connectors.presets.common import Enforced, Harmless, enforced, explicit, not_harmless, values_of
from connectors.violation import Violation

MONGODB_CLASS: Final = "io.debezium.connector.mongodb.MongoDbConnector"
_COLLECTION = re.compile(r"[A-Za-z0-9_$-]+\.[A-Za-z0-9_$.-]+")
_FULL_UPDATES: Final = ("change_streams_update_full", "change_streams_update_full_with_pre_image")

_ENFORCED: Final[Enforced] = {
    "cursor.oversize.handling.mode": ("fail", "`skip` and `split` lose the document that is too large"),
}

_HARMLESS: Final[Harmless] = {
    "cursor.pipeline": (("",), "it drops or reshapes changes before the connector sees them"),
}

RULES: Final = frozenset({*_ENFORCED, *_HARMLESS, "capture.mode", "no-tls"})


def mongodb_config(
    *,
    prefix: str,
    collections: Sequence[str],
    connection_string: str,
    user: str,
    password: str,
    signal_collection: str,
    tls: bool = True,
    **shared: Unpack[Shared],
) -> dict[str, str]:
    """The whole configuration of a connector; it has no violations but those of the values given.

    `collections` and `signal_collection` are `database.collection`. `connection_string` names
    hosts and options, no user: `user` and `password` (a reference) do.
    Raises ValueError for a name that is no plain `database.collection`.
    """
    require_plain((*collections, signal_collection), _COLLECTION, "database.collection")
    return {
        "connector.class": MONGODB_CLASS,
        **base_config(prefix=prefix, **shared),
        "mongodb.connection.string": connection_string,
        "mongodb.user": user,
        "mongodb.password": password,
        "mongodb.ssl.enabled": flag(tls),
        "collection.include.list": listed(collections),
        "capture.mode": _FULL_UPDATES[0],
        **signals_config(signal_collection),
        **values_of(_ENFORCED),
    }


def rules(config: Mapping[str, str]) -> list[Violation]:
    """What a MongoDB connector's configuration breaks, beside the rules for all."""
    return [
        *enforced(config, _ENFORCED),
        *not_harmless(config, _HARMLESS),
        *_capture(config),
        *explicit(config, "collection.include.list", r"shop\.articles,…", within="database"),
        *_tls(config),
    ]


def _capture(config: Mapping[str, str]) -> list[Violation]:
    key = "capture.mode"
    if config.get(key, "") in _FULL_UPDATES:
        return []
    why = "an update without the whole document leaves nothing to index"
    return [Violation(key, key, config.get(key), _FULL_UPDATES[0], why)]


def _tls(config: Mapping[str, str]) -> list[Violation]:
    why = "documents and the password would travel unprotected, or to somebody else"
    found = []
    if config.get("mongodb.ssl.enabled") != "true":
        key = "mongodb.ssl.enabled"
        found.append(Violation("no-tls", key, config.get(key), "true", why))
    if config.get("mongodb.ssl.invalid.hostname.allowed", "false") != "false":
        key = "mongodb.ssl.invalid.hostname.allowed"
        found.append(Violation("no-tls", key, config[key], "false", why))
    return found
