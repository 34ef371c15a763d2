"""The settings of a Debezium Postgres connector under which no change is lost or made unreadable."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Unpack

from connectors.presets.base import Relational, listed, relational_config, require_plain, signals_config
from connectors.presets.common import (
    DEFAULT_PLACEHOLDER,
    Enforced,
    Harmless,
    derived_name,
    enforced,
    explicit,
    not_harmless,
    values_of,
)
from connectors.violation import Violation

POSTGRES_CLASS: Final = "io.debezium.connector.postgresql.PostgresConnector"
HEARTBEAT_TABLE: Final = "public.debezium_heartbeat"
SIGNAL_TABLE: Final = "public.debezium_signal"
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

_HARMLESS: Final[Harmless] = {
    "lsn.flush.mode": (
        ("connector",),
        "`manual` frees no WAL: the disk fills up; `connector_and_driver` frees it past the stored offset",
    ),
    "flush.lsn.source": (("true",), "without it WAL is never freed: the database's disk fills up"),
}

RULES: Final = frozenset({*_ENFORCED, *_HARMLESS, "placeholder", "own-names", "no-tls"})


def postgres_config(
    *,
    prefix: str,
    tables: Sequence[str],
    database: str,
    placeholder: str,
    heartbeat_table: str = HEARTBEAT_TABLE,
    signal_table: str = SIGNAL_TABLE,
    sslmode: str = "verify-full",
    **relational: Unpack[Relational],
) -> dict[str, str]:
    """The whole configuration of a connector; it has no violations but those of the values given.

    `tables`, `heartbeat_table` and `signal_table` are `schema.table`.
    Raises ValueError for a name that is no plain `schema.table`: such lists are regular expressions.
    """
    require_plain((*tables, heartbeat_table, signal_table), _IDENTIFIER, "schema.table")
    own = derived_name(prefix)
    return {
        "connector.class": POSTGRES_CLASS,
        **relational_config(prefix=prefix, beats=(heartbeat_table,), **relational),
        "database.dbname": database,
        "database.sslmode": sslmode,
        "table.include.list": listed((*tables, heartbeat_table)),
        "slot.name": own,
        "publication.name": own,
        "unavailable.value.placeholder": placeholder,
        "heartbeat.action.query": heartbeat_query(heartbeat_table, own),
        "incremental.snapshot.watermarking.strategy": "insert_delete",
        "guardrail.collections.max": "200",
        "guardrail.collections.limit.action": "fail",
        **signals_config(signal_table),
        **values_of(_ENFORCED),
    }


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
        *not_harmless(config, _HARMLESS),
        *_placeholder(config),
        *_heartbeat(config),
        *explicit(config, "table.include.list", r"public\.articles,…", within="schema"),
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
    want = heartbeat_query(HEARTBEAT_TABLE, "tailrace")
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
