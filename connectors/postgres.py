"""Reads what `connectors/preflight.py` judges. Read-only, from the catalogs; no row of a user's table."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row

from connectors.identity import Identity
from connectors.postgres_facts import (
    Column,
    Facts,
    HeartbeatTable,
    Partition,
    Publication,
    Role,
    Slot,
    Table,
    Wanted,
)
from core.errors import ConfigurationError, TransientError

_SERVER = """
SELECT current_setting('server_version_num')::int / 10000 AS version, current_database() AS database,
       current_setting('wal_level') AS wal_level,
       (SELECT setting::int FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS keep_mb,
       current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots) AS free
"""
# Not pg_control_checkpoint(): its timeline is that of the last checkpoint, which follows a promotion later.
_IDENTITY = """
SELECT (SELECT system_identifier FROM pg_control_system()) AS server,
       CASE WHEN pg_is_in_recovery() THEN 0
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline
"""
# On Amazon's servers the right to replicate is a membership, and no attribute of the role.
_ROLE = """
SELECT r.rolname, r.rolsuper,
       r.rolreplication OR EXISTS (SELECT FROM pg_roles a WHERE a.rolname = 'rds_replication'
                                      AND pg_has_role(r.oid, a.oid, 'MEMBER')) AS replication
  FROM pg_roles r WHERE r.rolname = coalesce(%s, current_user)
"""
# Row-level security as the server decides: not of who may pass it by, nor of an owner unless it is forced.
_TABLE = """
SELECT c.oid, c.relreplident::text AS identity, c.relkind = 'p' AS partitioned,
       coalesce(has_schema_privilege(r.oid, n.oid, 'USAGE'), false) AS usable,
       coalesce(has_table_privilege(r.oid, c.oid, 'SELECT'), false) AS readable,
       coalesce(has_table_privilege(r.oid, c.oid, 'INSERT'), false) AS writable,
       coalesce(not i.indimmediate, false) AS deferrable,
       coalesce((SELECT array_agg(a.attname::text ORDER BY k.place)
                   FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum), '{}') AS key,
       coalesce(c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
                AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))
                AND (SELECT NOT coalesce(bool_or(p.polpermissive AND s.all_rows), false)
                            OR coalesce(bool_or(NOT p.polpermissive AND NOT s.all_rows), false)
                       FROM pg_policy p
                      CROSS JOIN LATERAL
                            (SELECT coalesce(pg_get_expr(p.polqual, p.polrelid) = 'true', false)) s (all_rows)
                      WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*')
                        AND EXISTS (SELECT FROM unnest(p.polroles) AS g (role)
                                     WHERE CASE g.role WHEN 0 THEN true
                                           ELSE pg_has_role(r.oid, g.role, 'USAGE') END)), false) AS hidden
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
  LEFT JOIN pg_roles r ON r.rolname = coalesce(%(role)s, current_user)
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p')
"""
_PARTITIONS = """
SELECT c.oid, n.nspname || '.' || c.relname AS name, c.relreplident::text AS identity
  FROM pg_partition_tree(%s) t
  JOIN pg_class c ON c.oid = t.relid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE t.isleaf AND t.level > 0 ORDER BY 2
"""
_IDENTITY_KEY = """
SELECT a.attname::text AS name
  FROM pg_index x
 CROSS JOIN unnest(x.indkey) WITH ORDINALITY AS k (attnum, place)
  JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
 WHERE x.indrelid = %s AND x.indisreplident ORDER BY k.place
"""
_HEARTBEAT = """
SELECT n.nspname || '.' || c.relname AS name,
       coalesce(has_schema_privilege(r.oid, n.oid, 'USAGE'), false) AS usable,
       ARRAY(SELECT what FROM unnest(%(needs)s::text[]) what
              WHERE NOT coalesce(CASE what WHEN 'DELETE' THEN has_table_privilege(r.oid, c.oid, what)
                                 ELSE has_any_column_privilege(r.oid, c.oid, what) END, false)) AS lacks
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_roles r ON r.rolname = coalesce(%(role)s, current_user)
 WHERE c.relname = %(table)s AND c.relkind IN ('r', 'p', 'v', 'f')
   AND CASE %(schema)s WHEN '' THEN pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s END
"""
_COLUMNS = """
SELECT attname::text AS name, format_type(atttypid, NULL) AS type, attgenerated <> '' AS generated
  FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_PUBLICATION = """
SELECT pubname, puballtables, pubviaroot, pubinsert, pubupdate, pubdelete, pubtruncate
  FROM pg_publication WHERE pubname = %s
"""
# As JSON, for before Postgres 15 these two columns are not there.
_PUBLISHED = """
SELECT schemaname || '.' || tablename AS name,
       to_jsonb(t) ->> 'rowfilter' AS filter, to_jsonb(t) -> 'attnames' AS columns
  FROM pg_publication_tables t WHERE pubname = %s
"""
_SLOT = """
SELECT slot_name, plugin, active, wal_status, database,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint AS retained
  FROM pg_replication_slots WHERE slot_name = %s
"""


def read_facts(dsn: str, wanted: Wanted, *, timeout_seconds: float = 5.0) -> Facts:
    """Look at the database. `dsn` as libpq takes it.

    Raises TransientError if it cannot be reached or asked, ConfigurationError for a dsn that is
    none. No message holds the dsn: it may hold a password.
    """
    with _connected(dsn, timeout_seconds) as connection:
        return _facts(connection, wanted)


def read_identity(dsn: str, *, timeout_seconds: float = 5.0) -> Identity:
    """Which database this is; any role may ask. Raises as read_facts."""
    with _connected(dsn, timeout_seconds) as connection:
        found = _one(connection, _IDENTITY, {})
        if found is None:
            raise AssertionError("a SELECT without FROM gives one row")
        return Identity(str(found["server"]), found["timeline"])


@contextlib.contextmanager
def _connected(dsn: str, timeout_seconds: float) -> Iterator[psycopg.Connection[DictRow]]:
    limit_ms = round(timeout_seconds * 1000)
    try:
        with psycopg.connect(
            dsn,
            autocommit=True,
            connect_timeout=max(2, round(timeout_seconds)),
            options=f"-c default_transaction_read_only=on -c statement_timeout={limit_ms}",
            row_factory=dict_row,
        ) as connection:
            yield connection
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:
            # libpq quotes the part that it could not read.
            message = "the connection string cannot be read: write `host=… port=… dbname=… user=…` or a URL"
            raise ConfigurationError(message) from None
        raise ConfigurationError(f"the database refused to be looked at: {error}") from error
    except psycopg.OperationalError as error:
        raise TransientError(f"the database could not be asked: {error}") from error


def _facts(connection: psycopg.Connection[DictRow], wanted: Wanted) -> Facts:
    server = _one(connection, _SERVER, {})
    if server is None:
        raise AssertionError("a SELECT without FROM gives one row")
    role = _one(connection, _ROLE, [wanted.role])
    publication = _one(connection, _PUBLICATION, [wanted.publication])
    slot = _one(connection, _SLOT, [wanted.slot])
    asked = (*wanted.tables, *([wanted.signal_table] if wanted.signal_table else []))
    tables = {name: _table(connection, name, wanted.role) for name in asked}
    return Facts(
        version=server["version"],
        wal_level=server["wal_level"],
        slot_wal_keep_mb=server["keep_mb"],
        slots_free=server["free"],
        role=None if role is None else Role(role["rolname"], role["rolsuper"], role["replication"]),
        tables={name: table for name, table in tables.items() if table is not None},
        publication=None if publication is None else _publication(connection, publication),
        slot=None
        if slot is None
        else Slot(
            slot["slot_name"],
            slot["plugin"],
            slot["active"],
            slot["wal_status"],
            slot["retained"],
            slot["database"],
        ),
        heartbeat=_heartbeat(connection, wanted),
        database=server["database"],
        host=connection.info.host,
    )


def _table(connection: psycopg.Connection[DictRow], name: str, role: str | None) -> Table | None:
    schema, _, table = name.partition(".")
    row = _one(connection, _TABLE, {"schema": schema, "table": table, "role": role})
    if row is None:
        return None
    columns = connection.execute(_COLUMNS, [row["oid"]]).fetchall()
    partitions = connection.execute(_PARTITIONS, [row["oid"]]).fetchall() if row["partitioned"] else []
    return Table(
        name=name,
        identity=row["identity"],
        primary_key=tuple(row["key"]),
        deferrable_key=row["deferrable"],
        partitioned=row["partitioned"],
        readable=row["readable"],
        columns=tuple(Column(c["name"], c["type"], c["generated"]) for c in columns),
        writable=row["writable"],
        identity_key=_identity_key(connection, row),
        partitions=tuple(
            Partition(one["name"], one["identity"], _identity_key(connection, one)) for one in partitions
        ),
        schema_usable=row["usable"],
        rows_hidden=row["hidden"],
    )


def _identity_key(connection: psycopg.Connection[DictRow], row: DictRow) -> tuple[str, ...]:
    if row["identity"] != "i":
        return ()
    return tuple(column["name"] for column in connection.execute(_IDENTITY_KEY, [row["oid"]]))


def _heartbeat(connection: psycopg.Connection[DictRow], wanted: Wanted) -> HeartbeatTable | None:
    if wanted.heartbeat_table is None:
        return None
    schema, _, table = wanted.heartbeat_table.rpartition(".")
    asked = {"schema": schema, "table": table, "role": wanted.role, "needs": sorted(wanted.heartbeat_needs)}
    row = _one(connection, _HEARTBEAT, asked)
    return None if row is None else HeartbeatTable(row["name"], frozenset(row["lacks"]), row["usable"])


def _publication(connection: psycopg.Connection[DictRow], row: DictRow) -> Publication:
    tables = connection.execute(_PUBLISHED, [row["pubname"]]).fetchall()
    published = {what for what in ("insert", "update", "delete", "truncate") if row[f"pub{what}"]}
    return Publication(
        name=row["pubname"],
        tables=frozenset(table["name"] for table in tables),
        publishes=frozenset(published),
        via_root=row["pubviaroot"],
        all_tables=row["puballtables"],
        filters={table["name"]: table["filter"] for table in tables if table["filter"] is not None},
        columns={table["name"]: frozenset(table["columns"]) for table in tables if table["columns"]},
    )


def _one(
    connection: psycopg.Connection[DictRow], query: LiteralString, parameters: Mapping[str, Any] | list[Any]
) -> DictRow | None:
    return connection.execute(query, parameters).fetchone()
