"""The settings of a Debezium Postgres connector under which no change is lost or made unreadable."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from connectors.presets.common import (
    DAY_MS,
    DEFAULT_PLACEHOLDER,
    Enforced,
    base_config,
    derived_name,
    enforced,
    explicit,
    values_of,
)
from connectors.violation import Violation

POSTGRES_CLASS: Final = "io.debezium.connector.postgresql.PostgresConnector"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*\.[A-Za-z_][A-Za-z0-9_$]*")

_ENFORCED: Final[Enforced] = {
    "plugin.name": ("pgoutput", "the only decoder that Postgres itself brings"),
    "decimal.handling.mode": ("string", "as bytes a decimal loses its scale, and NaN becomes null"),
    "time.precision.mode": ("isostring", "otherwise the unit of a time depends on its declared precision"),
    "interval.handling.mode": ("string", "as a number an interval is an approximation"),
    "binary.handling.mode": ("hex", "as base64 an unchanged long value arrives as null"),
    "publication.autocreate.mode": (
        "disabled",
        "make the publication beforehand: creating it needs ownership of the tables or a superuser",
    ),
    "slot.drop.on.stop": ("false", "without its slot a stopped connector misses what is written meanwhile"),
    # A reset to the slot's own position would pass over a loss in silence.
    "offset.mismatch.strategy": ("trust_offset", "a slot that lost changes must be an error, not a jump"),
}


def postgres_config(
    *,
    prefix: str,
    tables: Sequence[str],
    host: str,
    port: int,
    database: str,
    user: str,
    password: str,
    placeholder: str,
    heartbeat_table: str = "public.debezium_heartbeat",
    signal_table: str = "public.debezium_signal",
    sslmode: str = "verify-full",
    replication: int = 1,
    retention_ms: int = 7 * DAY_MS,
    schemas: bool = False,
    poll_interval_ms: int = 50,
    heartbeat_interval_ms: int = 10_000,
    linger_ms: int = 5,
    exclude_columns: Sequence[str] = (),
) -> dict[str, str]:
    """The whole configuration of a connector; it has no violations but those of the values given.

    `tables`, `heartbeat_table` and `signal_table` are `schema.table`; `exclude_columns` are
    `schema.table.column`. `password` is a reference that Connect resolves (`${file:…}`).
    Raises ValueError for a name that is no plain `schema.table`: such lists are regular expressions.
    """
    for name in (*tables, heartbeat_table, signal_table):
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"{name!r} is no plain schema.table")
    own = derived_name(prefix)
    config = {
        "connector.class": POSTGRES_CLASS,
        **base_config(
            prefix=prefix,
            schemas=schemas,
            poll_interval_ms=poll_interval_ms,
            heartbeat_interval_ms=heartbeat_interval_ms,
            linger_ms=linger_ms,
            replication=replication,
            retention_ms=retention_ms,
            beats=(heartbeat_table,),
        ),
        "database.hostname": host,
        "database.port": str(port),
        "database.dbname": database,
        "database.user": user,
        "database.password": password,
        "database.sslmode": sslmode,
        "table.include.list": ",".join(re.escape(name) for name in (*tables, heartbeat_table)),
        "slot.name": own,
        "publication.name": own,
        "unavailable.value.placeholder": placeholder,
        "heartbeat.action.query": heartbeat_query(heartbeat_table, own),
        "signal.data.collection": signal_table,
        "signal.enabled.channels": "source",
        "incremental.snapshot.watermarking.strategy": "insert_delete",
        "guardrail.collections.max": "200",
        "guardrail.collections.limit.action": "fail",
        **values_of(_ENFORCED),
    }
    if exclude_columns:
        config["column.exclude.list"] = ",".join(re.escape(name) for name in exclude_columns)
    return config


def heartbeat_query(table: str, name: str) -> str:
    """One row of the heartbeat table, written again at each beat: an idle database's slot moves on."""
    return (
        f"INSERT INTO {table} (name, beat) VALUES ('{name}', now())"  # noqa: S608 - our own names
        " ON CONFLICT (name) DO UPDATE SET beat = EXCLUDED.beat"
    )


def rules(config: Mapping[str, str]) -> list[Violation]:
    """What a Postgres connector's configuration breaks, beside the rules for all."""
    return [
        *enforced(config, _ENFORCED),
        *_placeholder(config),
        *_heartbeat(config),
        *explicit(config, "table.include.list", r"public\.articles,…"),
        *_own_names(config),
        *_tls(config),
    ]


def _placeholder(config: Mapping[str, str]) -> list[Violation]:
    key = "unavailable.value.placeholder"
    value = config.get(key)
    if value and value != DEFAULT_PLACEHOLDER and len(value) >= len("__uv_1234567"):
        return []
    why = "a user may type the default, and a row would keep text that is not there any more"
    return [Violation("placeholder", key, value, "a random token, such as __uv_7f3a91c2d0__", why)]


def _heartbeat(config: Mapping[str, str]) -> list[Violation]:
    if config.get("heartbeat.action.query"):
        return []
    want = heartbeat_query("public.debezium_heartbeat", "tailrace")
    why = "on an idle database the slot holds all WAL and freshness names no position"
    return [Violation("heartbeat", "heartbeat.action.query", None, want, why)]


def _own_names(config: Mapping[str, str]) -> list[Violation]:
    want = derived_name(config.get("topic.prefix", "app"))
    why = "a slot or publication shared with another connector steals its changes"
    return [
        Violation("own-names", key, config.get(key), want, why)
        for key, default in (("slot.name", "debezium"), ("publication.name", "dbz_publication"))
        if config.get(key, default) == default
    ]


def _tls(config: Mapping[str, str]) -> list[Violation]:
    if config.get("database.sslmode") == "verify-full":
        return []
    why = "rows and the password would travel unprotected, or to somebody else"
    return [Violation("no-tls", "database.sslmode", config.get("database.sslmode"), "verify-full", why)]
