"""The settings of a Debezium MariaDB or MySQL connector under which no change is lost or made unreadable.

Pure. Each enforced value has its reason beside it: `rules` prints it when a configuration says
otherwise. Measured with the MariaDB connector; MySQL's shares these settings and its code, and was
not run.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Unpack

from connectors.listed import listed_names, literal
from connectors.presets.base import (
    Relational,
    history_config,
    listed,
    relational_config,
    require_plain,
    signals_config,
)
from connectors.presets.common import (
    Enforced,
    Harmless,
    derived_name,
    enforced,
    history_rules,
    interval_rules,
    left_out,
    not_harmless,
    number,
    values_of,
)
from connectors.violation import Violation

MARIADB_CLASS: Final = "io.debezium.connector.mariadb.MariaDbConnector"
MYSQL_CLASS: Final = "io.debezium.connector.mysql.MySqlConnector"
KEEP_ALIVE_MAX_MS: Final = 10_000
SERVER_ID_MAX: Final = 2**32 - 1

_IDENTIFIER = re.compile(r"[A-Za-z0-9_$]+\.[A-Za-z0-9_$]+")
_LISTED = re.compile(r"[A-Za-z0-9_$-]+\.[A-Za-z0-9_$-]+")
_VERIFIED_TLS: Final = {MARIADB_CLASS: "verify-full", MYSQL_CLASS: "verify_identity"}


def mariadb_config(
    *,
    prefix: str,
    tables: Sequence[str],
    server_id: int,
    history_servers: str,
    signal_table: str,
    heartbeat_table: str | None = None,
    history_topic: str | None = None,
    sslmode: str = "verify-full",
    keep_alive_ms: int = 3000,
    **relational: Unpack[Relational],
) -> dict[str, str]:
    """The whole configuration of a connector; it has no violations but those of the values given.

    `tables`, `signal_table` and `heartbeat_table` are `database.table`. `server_id` is a number that no
    server and no other replica of this primary has; `history_servers` are Kafka's bootstrap servers as
    Connect reaches them. The schema history goes to `history_topic`, `<prefix>.schema-history` by default,
    which the connector makes and keeps for ever.
    No placeholder is set: rows come whole. Raises ValueError for a name that is no plain
    `database.table`: such lists are regular expressions.

    The position of a statement that writes no row (CREATE TABLE, GRANT) is known only after the next
    transaction: with `heartbeat_table` (columns `name` as its key and `beat`) the connector writes one.
    On an idle server a new position is known after `heartbeat_interval_ms` or four fifths of
    `keep_alive_ms`, whichever is longer. A connector that is held up for longer than `keep_alive_ms`
    dials again and sends the open transaction once more.
    """
    beat = [] if heartbeat_table is None else [heartbeat_table]
    require_plain((*tables, signal_table, *beat), _IDENTIFIER, "database.table")
    config = {
        **relational_config(prefix=prefix, **relational),
        "connector.class": MARIADB_CLASS,
        "database.server.id": str(server_id),
        "database.ssl.mode": sslmode,
        # Signals are read from the binlog, as every other change: the table must be captured.
        "table.include.list": listed(dict.fromkeys((*tables, signal_table))),
        "connect.keep.alive.interval.ms": str(keep_alive_ms),
        **history_config(prefix, history_servers, history_topic),
        **signals_config(signal_table),
        **values_of(ENFORCED),
    }
    if heartbeat_table is not None:
        config["heartbeat.action.query"] = mariadb_heartbeat_query(heartbeat_table, derived_name(prefix))
    return config


def mariadb_heartbeat_query(table: str, name: str) -> str:
    """One row, written again at each beat: the binlog moves on, and the committed position with it.

    The table need not be captured. The connector needs SELECT, INSERT and UPDATE on it: a statement
    that is refused ends its task.
    """
    return (
        f"INSERT INTO {table} (name, beat) VALUES ('{name}', NOW(6))"  # noqa: S608 - our own names
        " ON DUPLICATE KEY UPDATE beat = NOW(6)"
    )


ENFORCED: Final[Enforced] = {
    "decimal.handling.mode": ("string", "as bytes a decimal loses its scale"),
    "time.precision.mode": ("isostring", "otherwise the unit of a time depends on its declared precision"),
    "binary.handling.mode": ("hex", "one spelling of bytes for every database"),
    "bigint.unsigned.handling.mode": ("long", "`precise` sends base64, whatever the decimals are set to"),
    "enable.time.adjuster": ("false", "by default the year 1 becomes 2001"),
    "include.schema.changes": ("true", "an ALTER TABLE sends no row: its record is the only trace of it"),
    "inconsistent.schema.handling.mode": ("fail", "`warn` and `skip` drop the event and move on"),
    "snapshot.mode": (
        "initial",
        "`when_needed` did not read again after the binlog was purged, and hides deletes that it missed",
    ),
}
"""What each key must be beside what every connector's must, and why."""

_HARMLESS: Final[Harmless] = {
    "schema.history.internal.skip.unparseable.ddl": (
        ("false",),
        "a renamed column of a captured table may be what was skipped: values under wrong names",
    ),
    "include.query": (("false",), "the application's statements, with the values in them, would be in Kafka"),
    "connect.keep.alive": (("true",), "without it a server's restart goes unnoticed"),
    "snapshot.locking.mode": (
        (
            "minimal",
            "minimal_at_least_once",
            "minimal_percona",
            "minimal_percona_no_table_locks",
            "extended",
        ),
        "without a lock the binlog's position is read after the rows: what is written between never comes",
    ),
}

_GTID_LISTS: Final = ("gtid.source.includes", "gtid.source.excludes")

RULES: Final = frozenset({*ENFORCED, *_HARMLESS, *_GTID_LISTS, "keep-alive", "server-id", "no-tls"})


def rules(config: Mapping[str, str]) -> list[Violation]:
    """What in this configuration loses changes or makes them unreadable. An empty list: none known.

    For `connector.class` of MARIADB_CLASS or MYSQL_CLASS.
    """
    return [
        *enforced(config, ENFORCED),
        *not_harmless(config, _HARMLESS),
        *_gtids(config),
        *interval_rules(config, "that the last commit is in Kafka is known by the next beat only"),
        *_keep_alive(config),
        *_tables(config),
        *_server_id(config),
        *history_rules(config),
        *_tls(config),
    ]


def _keep_alive(config: Mapping[str, str]) -> list[Violation]:
    key = "connect.keep.alive.interval.ms"
    if 0 < number(config.get(key)) <= KEEP_ALIVE_MAX_MS:
        return []
    why = "after a restart of the server the first change comes two minutes later by default"
    return [Violation("keep-alive", key, config.get(key), f"3000 (at most {KEEP_ALIVE_MAX_MS})", why)]


def _gtids(config: Mapping[str, str]) -> list[Violation]:
    if config.get("gtid.source.filter.dml.events", "true").strip().lower() == "false":
        return []
    why = "changes written on a server that it leaves out are dropped, after a failover all of them"
    return [
        Violation(key, key, config[key], "nothing, or gtid.source.filter.dml.events=false beside it", why)
        for key in _GTID_LISTS
        if config.get(key)
    ]


def _tables(config: Mapping[str, str]) -> list[Violation]:
    key = "table.include.list"
    listed = listed_names(config.get(key, ""))
    want = r"an explicit list: shop\.articles,…"
    if not listed:
        why = "without a list a new table is captured by accident, with whatever it holds"
        return [Violation("tables", key, None, want, why)]
    found = [
        Violation(
            "tables", key, entry, want, "a pattern captures new tables, sequences and system tables too"
        )
        for entry in listed
        if not _LISTED.fullmatch(literal(entry) or "")
    ]
    found += left_out(config, key, "database")
    signal = config.get("signal.data.collection")
    if signal and signal not in map(literal, listed):
        why = "signals are read from the binlog: a signal table that is not captured does nothing"
        found.append(Violation("tables", key, config.get(key), f"the list with {re.escape(signal)}", why))
    return found


def _server_id(config: Mapping[str, str]) -> list[Violation]:
    key = "database.server.id"
    if 0 < number(config.get(key)) <= SERVER_ID_MAX:
        return []
    why = "the server ends one of two replicas with the same id, again and again"
    want = "a number of its own, from 1 to 4294967295"
    return [Violation("server-id", key, config.get(key), want, why)]


def _tls(config: Mapping[str, str]) -> list[Violation]:
    key = "database.ssl.mode"
    want = _VERIFIED_TLS.get(config.get("connector.class", ""), "verify-full")
    if config.get(key) == want:
        return []
    why = "rows and the password would travel unprotected, or to somebody else"
    return [Violation("no-tls", key, config.get(key), want, why)]
