"""Reads what `connectors/preflight_mariadb.py` judges. Read-only, from the server's own tables.

Of a captured table it asks for no row, only whether it may (`LIMIT 0`).
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import DictCursor

from connectors.identity import Identity
from connectors.mariadb_connection import DENIED, connected, quoted, said
from connectors.mariadb_facts import MariaDbColumn, MariaDbFacts, MariaDbTable, MariaDbWanted
from connectors.preflight_mariadb import UNPARSEABLE

_VARIABLES: Final = (
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "server_id",
    "gtid_binlog_pos",
    "gtid_executed",
    "gtid_strict_mode",
    "binlog_expire_logs_seconds",
    "expire_logs_days",
)
_DANGEROUS_SHOWN: Final = 10

_TABLE = """
SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s
"""
_COLUMNS = """
SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, COLUMN_DEFAULT FROM information_schema.COLUMNS
 WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION
"""
_KEYS = """
SELECT INDEX_NAME, COLUMN_NAME, NULLABLE FROM information_schema.STATISTICS
 WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX
"""
_FOREIGN_KEY = re.compile(r"CONSTRAINT (`(?:[^`]|``)+`) FOREIGN KEY .*", re.IGNORECASE)
_CASCADE = re.compile(r" ON (?:DELETE|UPDATE) (?:CASCADE|SET NULL|SET DEFAULT)", re.IGNORECASE)
_DANGEROUS = """
SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS
 WHERE (DATA_TYPE IN %s OR COLUMN_TYPE LIKE '%%COMPRESSED%%')
   AND TABLE_SCHEMA NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')
 ORDER BY 1, 2, 3 LIMIT %s
"""


def read_mariadb_facts(dsn: str, wanted: MariaDbWanted, *, timeout_seconds: float = 5.0) -> MariaDbFacts:
    """Look at the server. `dsn`: `mysql://user:password@host:port/database`, also `mariadb://`.

    Raises TransientError if the server cannot be reached or asked, ConfigurationError for a URL that is
    none or a login that is refused. No message holds the URL: it may hold a password.
    """
    with connected(dsn, timeout_seconds, read_only=True) as connection:
        return _facts(connection, wanted)


def read_mariadb_identity(dsn: str, *, timeout_seconds: float = 5.0) -> Identity:
    """Which server this is; any login may ask. Raises as read_mariadb_facts."""
    with connected(dsn, timeout_seconds, read_only=True) as connection:
        asked = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_id', 'server_uuid')"
        found = {row["Variable_name"]: str(row["Value"]) for row in _rows(connection, asked)}
    return Identity(found.get("server_uuid", found.get("server_id", "")))


def _facts(connection: "Connection[DictCursor]", wanted: MariaDbWanted) -> MariaDbFacts:
    values = {
        row["Variable_name"]: str(row["Value"])
        for row in _rows(connection, "SHOW GLOBAL VARIABLES WHERE Variable_name IN %s", [_VARIABLES])
    }
    (me,) = _rows(connection, "SELECT version() AS version, current_user() AS user, current_role() AS role")
    grantees = _grantees(me["user"], me["role"])
    granted = {
        row["PRIVILEGE_TYPE"]
        for row in _rows(connection, "SELECT GRANTEE, PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES")
        if row["GRANTEE"] in grantees
    }
    is_mariadb, found = "mariadb" in me["version"].lower(), re.match(r"(\d+)\.(\d+)", me["version"])
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    signal = wanted.signal_table
    tables = {name: _table(connection, name) for name in wanted.tables}
    return MariaDbFacts(
        is_mariadb=is_mariadb,
        version=version,
        user=me["user"],
        log_bin=values.get("log_bin", "OFF") == "ON",
        binlog_format=values.get("binlog_format", "ROW"),
        binlog_row_image=values.get("binlog_row_image", "FULL"),
        retention_seconds=_retention(values),
        server_id=int(values.get("server_id", "0")),
        gtid_position=values.get("gtid_binlog_pos", values.get("gtid_executed", "")).strip(),
        privileges=frozenset(granted),
        signal_writable=signal is not None
        and ("INSERT" in granted or _may(connection, grantees, "INSERT", signal)),
        signal_exists=signal is not None and _kind(connection, signal) is not None,
        beat_lacks=frozenset(_beat_lacks(connection, granted, grantees, wanted)),
        unlogged=frozenset(
            _unlogged(connection, log_status(version, is_mariadb=is_mariadb), granted, wanted)
        ),
        tables={name: table for name, table in tables.items() if table is not None},
        dangerous=tuple(
            f"{row['TABLE_SCHEMA']}.{row['TABLE_NAME']}.{row['COLUMN_NAME']} ({row['COLUMN_TYPE']})"
            for row in _rows(connection, _DANGEROUS, [tuple(sorted(UNPARSEABLE)), _DANGEROUS_SHOWN])
        ),
        gtid_strict=values.get("gtid_strict_mode", "ON") == "ON",
    )


def log_status(version: tuple[int, int], *, is_mariadb: bool) -> str:
    """The statement that shows the binlog's filters: MySQL has renamed its own."""
    return "SHOW MASTER STATUS" if is_mariadb or version < (8, 4) else "SHOW BINARY LOG STATUS"


def _retention(values: dict[str, str]) -> int:
    """Seconds; 0 is for ever. Newer servers know seconds, older ones days only."""
    seconds = values.get("binlog_expire_logs_seconds")
    if seconds is not None and float(seconds):
        return int(float(seconds))
    return int(float(values.get("expire_logs_days", "0")) * 86_400)


def _grantees(user: str, role: str | None) -> set[str]:
    """As information_schema spells the login and its role."""
    name, _, host = user.rpartition("@")
    return {f"'{name}'@'{host}'", *([f"'{role}'@''", f"'{role}'", role] if role else [])}


def _may(connection: "Connection[DictCursor]", grantees: set[str], what: str, name: str) -> bool:
    """Whether a schema's or a table's own grants allow it."""
    schema, _, table = name.partition(".")
    of_schema = "SELECT GRANTEE FROM information_schema.SCHEMA_PRIVILEGES"
    of_table = "SELECT GRANTEE FROM information_schema.TABLE_PRIVILEGES"
    rows = [
        # A grant's database may be a pattern: `shop\_%`.
        *_rows(connection, of_schema + " WHERE PRIVILEGE_TYPE = %s AND %s LIKE TABLE_SCHEMA", [what, schema]),
        *_rows(
            connection,
            of_table + " WHERE PRIVILEGE_TYPE = %s AND TABLE_SCHEMA = %s AND TABLE_NAME = %s",
            [what, schema, table],
        ),
    ]
    return any(row["GRANTEE"] in grantees for row in rows)


def _beat_lacks(
    connection: "Connection[DictCursor]", granted: set[str], grantees: set[str], wanted: MariaDbWanted
) -> set[str]:
    """What the heartbeat's statement would be refused for; everything where there is no such table."""
    table, needs = wanted.heartbeat_table, wanted.heartbeat_needs
    if table is None:
        return set()
    if _kind(connection, table) is None:
        return set(needs)
    return {what for what in needs if what not in granted and not _may(connection, grantees, what, table)}


def _unlogged(
    connection: "Connection[DictCursor]", query: str, granted: set[str], wanted: MariaDbWanted
) -> Iterator[str]:
    """The wanted databases that the binlog's filters leave out; none if the login may not ask."""
    if not granted & {"BINLOG MONITOR", "REPLICATION CLIENT", "SUPER"}:
        return
    status = next(iter(_rows(connection, query)), None)
    if status is None:
        return
    only, never = (
        {name for name in str(status.get(key) or "").split(",") if name}
        for key in ("Binlog_Do_DB", "Binlog_Ignore_DB")
    )
    for database in dict.fromkeys(name.partition(".")[0] for name in wanted.tables):
        if (only and database not in only) or database in never:
            yield database


def _kind(connection: "Connection[DictCursor]", name: str) -> str | None:
    """TABLE_TYPE; None for a table that is not there under exactly this name, or hidden from the login."""
    schema, _, table = name.partition(".")
    rows = _rows(connection, _TABLE, [schema, table])
    return next((str(row["TABLE_TYPE"]) for row in rows if row["TABLE_NAME"] == table), None)


def _table(connection: "Connection[DictCursor]", name: str) -> MariaDbTable | None:
    kind = _kind(connection, name)
    if kind is None:
        return None
    at = name.partition(".")[::2]
    columns = tuple(
        MariaDbColumn(row["COLUMN_NAME"], row["DATA_TYPE"].lower(), row["COLUMN_TYPE"], row["COLUMN_DEFAULT"])
        for row in _rows(connection, _COLUMNS, at)
    )
    readable = _readable(connection, at)
    key = _key(_rows(connection, _KEYS, at))
    cascades = _cascades(connection, at) if readable and kind == "BASE TABLE" else ()
    return MariaDbTable(name, kind, key, readable, columns, cascades)


def _key(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The key that the connector takes: the primary one, or a unique one that cannot be NULL."""
    keys: dict[str, list[str]] = {}
    nullable = {row["INDEX_NAME"] for row in rows if row["NULLABLE"] == "YES"}
    for row in rows:
        keys.setdefault(row["INDEX_NAME"], []).append(row["COLUMN_NAME"])
    if "PRIMARY" in keys:
        return tuple(keys["PRIMARY"])
    return next((tuple(columns) for name, columns in keys.items() if name not in nullable), ())


def _readable(connection: "Connection[DictCursor]", at: tuple[str, ...]) -> bool:
    try:
        _rows(connection, f"SELECT * FROM {quoted(at)} LIMIT 0")  # noqa: S608 - quoted as an identifier
    except (pymysql.err.OperationalError, pymysql.err.ProgrammingError) as error:
        if said(error)[0] in DENIED:
            return False
        raise
    return True


def _cascades(connection: "Connection[DictCursor]", at: tuple[str, ...]) -> tuple[str, ...]:
    """Foreign keys by which the server changes rows of this table: of the table's own definition.

    information_schema shows them only to who may write the table.
    """
    (row,) = _rows(connection, f"SHOW CREATE TABLE {quoted(at)}")
    return tuple(
        f"{found[1]}{''.join(rules)}"
        for found in _FOREIGN_KEY.finditer(row.get("Create Table", ""))
        if (rules := _CASCADE.findall(found[0]))
    )


def _rows(
    connection: "Connection[DictCursor]", query: str, parameters: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return list(cursor.fetchall())
