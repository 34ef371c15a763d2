"""The settings of a Debezium SQL Server connector under which no change is lost or made unreadable.

After Debezium's documentation; not run here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Unpack

from connectors.presets.base import (
    Relational,
    flag,
    history_config,
    listed,
    relational_config,
    require_plain,
    signals_config,
)
from connectors.presets.common import Enforced, enforced, explicit, history_rules, values_of
from connectors.violation import Violation

SQLSERVER_CLASS: Final = "io.debezium.connector.sqlserver.SqlServerConnector"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$#@]*\.[A-Za-z_][A-Za-z0-9_$#@]*")

_ENFORCED: Final[Enforced] = {
    "decimal.handling.mode": ("string", "as bytes a decimal loses its scale"),
    "time.precision.mode": ("isostring", "otherwise the unit of a time depends on its declared precision"),
    "binary.handling.mode": ("hex", "one spelling of bytes for every database"),
}

RULES: Final = frozenset({*_ENFORCED, "no-tls"})


def sqlserver_config(
    *,
    prefix: str,
    tables: Sequence[str],
    databases: Sequence[str],
    history_servers: str,
    signal_table: str,
    history_topic: str | None = None,
    encrypt: bool = True,
    **relational: Unpack[Relational],
) -> dict[str, str]:
    """The whole configuration of a connector; it has no violations but those of the values given.

    `tables` are `schema.table` in each of `databases`, `signal_table` is `database.schema.table`.
    `history_servers` are Kafka's bootstrap servers as Connect reaches them; the schema history goes to
    `history_topic`, `<prefix>.schema-history` by default.
    Raises ValueError for a name that is no plain `schema.table`.
    """
    require_plain(tables, _IDENTIFIER, "schema.table")
    return {
        "connector.class": SQLSERVER_CLASS,
        **relational_config(prefix=prefix, **relational),
        "database.names": ",".join(databases),
        "database.encrypt": flag(encrypt),
        "table.include.list": listed(tables),
        **history_config(prefix, history_servers, history_topic),
        **signals_config(signal_table),
        **values_of(_ENFORCED),
    }


def rules(config: Mapping[str, str]) -> list[Violation]:
    """What a SQL Server connector's configuration breaks, beside the rules for all."""
    return [
        *enforced(config, _ENFORCED),
        *explicit(config, "table.include.list", r"dbo\.articles,…", within="schema"),
        *history_rules(config),
        *_tls(config),
    ]


def _tls(config: Mapping[str, str]) -> list[Violation]:
    why = "rows and the password would travel unprotected, or to somebody else"
    wanted = {"encrypt": "true", "trustServerCertificate": "false"}
    return [
        Violation("no-tls", key, config[key], value, why)
        for name, value in wanted.items()
        for key in (f"database.{name}", f"driver.{name}")
        # Both are the driver's defaults.
        if config.get(key, value).lower() != value
    ]
