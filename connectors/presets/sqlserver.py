"""The settings of a Debezium SQL Server connector under which no change is lost or made unreadable.

After Debezium's documentation; not run here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from connectors.presets.common import (
    DAY_MS,
    RETENTION_DAYS,
    Enforced,
    base_config,
    enforced,
    explicit,
    values_of,
)
from connectors.violation import Violation

SQLSERVER_CLASS: Final = "io.debezium.connector.sqlserver.SqlServerConnector"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$#@]*\.[A-Za-z_][A-Za-z0-9_$#@]*")
_HISTORY: Final = "schema.history.internal.kafka"

_ENFORCED: Final[Enforced] = {
    "decimal.handling.mode": ("string", "as bytes a decimal loses its scale"),
    "time.precision.mode": ("isostring", "otherwise the unit of a time depends on its declared precision"),
    "binary.handling.mode": ("hex", "one spelling of bytes for every database"),
}


def sqlserver_config(
    *,
    prefix: str,
    tables: Sequence[str],
    host: str,
    port: int,
    databases: Sequence[str],
    user: str,
    password: str,
    history_servers: str,
    signal_table: str,
    history_topic: str | None = None,
    encrypt: bool = True,
    replication: int = 1,
    retention_ms: int = RETENTION_DAYS * DAY_MS,
    schemas: bool = False,
    poll_interval_ms: int = 50,
    heartbeat_interval_ms: int = 10_000,
) -> dict[str, str]:
    """The whole configuration of a connector; it has no violations but those of the values given.

    `tables` are `schema.table` in each of `databases`, `signal_table` is `database.schema.table`.
    `password` is a reference. `history_servers` are Kafka's bootstrap servers as Connect reaches
    them; the schema history goes to `history_topic`, `<prefix>.schema-history` by default.
    Raises ValueError for a name that is no plain `schema.table`.
    """
    for name in tables:
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"{name!r} is no plain schema.table")
    return {
        "connector.class": SQLSERVER_CLASS,
        **base_config(
            prefix=prefix,
            schemas=schemas,
            poll_interval_ms=poll_interval_ms,
            heartbeat_interval_ms=heartbeat_interval_ms,
            replication=replication,
            retention_ms=retention_ms,
        ),
        "database.hostname": host,
        "database.port": str(port),
        "database.names": ",".join(databases),
        "database.user": user,
        "database.password": password,
        "database.encrypt": "true" if encrypt else "false",
        "table.include.list": ",".join(re.escape(name) for name in tables),
        f"{_HISTORY}.bootstrap.servers": history_servers,
        f"{_HISTORY}.topic": history_topic or f"{prefix}.schema-history",
        "signal.data.collection": signal_table,
        "signal.enabled.channels": "source",
        **values_of(_ENFORCED),
    }


def rules(config: Mapping[str, str]) -> list[Violation]:
    """What a SQL Server connector's configuration breaks, beside the rules for all."""
    return [
        *enforced(config, _ENFORCED),
        *explicit(config, "table.include.list", r"dbo\.articles,…"),
        *_history(config),
        *_tls(config),
    ]


def _history(config: Mapping[str, str]) -> list[Violation]:
    why = "without it the worker's validation finds nothing wrong, and the task fails at its start"
    wanted = {
        f"{_HISTORY}.bootstrap.servers": "Kafka's addresses as Connect reaches them",
        f"{_HISTORY}.topic": "a topic of its own: <prefix>.schema-history",
    }
    return [Violation("history", k, None, want, why) for k, want in wanted.items() if not config.get(k)]


def _tls(config: Mapping[str, str]) -> list[Violation]:
    why = "rows and the password would travel unprotected, or to somebody else"
    wanted = {"database.encrypt": "true", "database.trustServerCertificate": "false"}
    return [
        Violation("no-tls", key, config.get(key), value, why)
        for key, value in wanted.items()
        # Both are the driver's defaults.
        if config.get(key, value).lower() != value
    ]
