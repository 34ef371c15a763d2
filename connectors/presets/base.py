"""The parts of a configuration that connectors of all databases, or of several, have in common. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, Required, TypedDict, Unpack

from connectors.presets.common import DAY_MS, EVERYWHERE, HISTORY, RETENTION_DAYS, values_of


class Shared(TypedDict, total=False):
    """What connectors of all databases take; DEFAULTS has what is not given."""

    schemas: bool
    """Records carry their schema, five to ten times their size."""

    poll_interval_ms: int
    """The longest that a change waits in the connector."""

    heartbeat_interval_ms: int
    linger_ms: int
    """The longest that the connector's producer waits for a fuller batch."""

    replication: int
    """Replication factor of the topics that Connect makes."""

    retention_ms: int
    """How long records stay: a worker away for longer loses changes."""


class Relational(Shared, total=False):
    """What connectors of databases with tables take beside it."""

    host: Required[str]
    port: Required[int]
    user: Required[str]
    password: Required[str]
    """A reference that Connect resolves (`${file:…}`)."""

    exclude_columns: Sequence[str]
    """Columns that never leave the database, each as a table's name as the preset spells it and `.column`."""


DEFAULTS: Final[Shared] = {
    "schemas": False,
    "poll_interval_ms": 50,
    "heartbeat_interval_ms": 10_000,
    "linger_ms": 5,
    "replication": 1,
    "retention_ms": RETENTION_DAYS * DAY_MS,
}


def base_config(*, prefix: str, beats: Iterable[str] = (), **shared: Unpack[Shared]) -> dict[str, str]:
    """What connectors of all databases share; `beats` are tables that only carry heartbeats."""
    given = DEFAULTS | shared
    schemas, replication = flag(given["schemas"]), str(given["replication"])
    beating = [*(f"{prefix}.{table}" for table in beats), f"__debezium-heartbeat.{prefix}"]
    return {
        "tasks.max": "1",
        "topic.prefix": prefix,
        "key.converter.schemas.enable": schemas,
        "value.converter.schemas.enable": schemas,
        "heartbeat.interval.ms": str(given["heartbeat_interval_ms"]),
        "poll.interval.ms": str(given["poll_interval_ms"]),
        # Beside max.queue.size, which counts records: a few long texts must not fill the heap.
        "max.queue.size.in.bytes": str(32 * 1024 * 1024),
        "producer.override.linger.ms": str(given["linger_ms"]),
        "producer.override.compression.type": "lz4",
        "topic.creation.default.replication.factor": replication,
        "topic.creation.default.partitions": "1",
        "topic.creation.default.cleanup.policy": "delete",
        "topic.creation.default.retention.ms": str(given["retention_ms"]),
        # Beats are worth nothing after the next one.
        "topic.creation.groups": "beats",
        "topic.creation.beats.include": listed(beating),
        "topic.creation.beats.replication.factor": replication,
        "topic.creation.beats.partitions": "1",
        "topic.creation.beats.cleanup.policy": "delete",
        "topic.creation.beats.retention.ms": "3600000",
        **values_of(EVERYWHERE),
    }


def relational_config(
    *,
    prefix: str,
    host: str,
    port: int,
    user: str,
    password: str,
    exclude_columns: Iterable[str] = (),
    beats: Iterable[str] = (),
    **shared: Unpack[Shared],
) -> dict[str, str]:
    """What connectors of databases with tables share."""
    excluded = listed(exclude_columns)
    return {
        **base_config(prefix=prefix, beats=beats, **shared),
        "database.hostname": host,
        "database.port": str(port),
        "database.user": user,
        "database.password": password,
        **({"column.exclude.list": excluded} if excluded else {}),
    }


def signals_config(table: str) -> dict[str, str]:
    """Where snapshots are asked for: through the database alone, so that they have their place in its log."""
    return {"signal.data.collection": table, "signal.enabled.channels": "source"}


def history_config(prefix: str, servers: str, topic: str | None) -> dict[str, str]:
    """Where the connector keeps the tables' definitions of former times."""
    return {
        f"{HISTORY}.bootstrap.servers": servers,
        f"{HISTORY}.topic": topic or f"{prefix}.schema-history",
    }


def listed(names: Iterable[str]) -> str:
    """A list of names as Debezium takes it: regular expressions, with commas between."""
    return ",".join(map(re.escape, names))


def require_plain(names: Iterable[str], pattern: re.Pattern[str], spelling: str) -> None:
    """Raises ValueError for a name that is more than a name: lists of them are regular expressions."""
    for name in names:
        if not pattern.fullmatch(name):
            raise ValueError(f"{name!r} is no plain {spelling}")


def flag(value: bool) -> str:  # noqa: FBT001 - a spelling, not a switch
    return "true" if value else "false"
