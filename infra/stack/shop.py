"""The sample shop in the database, and what a connector needs there. Safe to run again."""

from typing import Any, LiteralString

import psycopg
from psycopg import sql

from connectors.preset import derived_name
from infra.stack.config import ADMIN, DATABASE, HEARTBEAT, OWNER, REPLICATOR, SIGNAL, TABLES
from infra.stack.postgres import Postgres
from tailrace.demo.shop import TABLES as SHOP
from tailrace.demo.shop import load_shop, schema_sql


def prepare(postgres: Postgres, prefix: str) -> int:
    """Roles, database, tables, rows, grants, publication. Returns how many rows were loaded.

    The rows are loaded together with the tables' creation and never again: what was changed or
    deleted since stays so.
    """
    with postgres.connect(ADMIN, "postgres") as admin:
        _role(admin, OWNER, "LOGIN", postgres.password(OWNER))
        _role(admin, REPLICATOR, "LOGIN REPLICATION", postgres.password(REPLICATOR))
        found = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
        if found.fetchone() is None:
            admin.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER))
            )
    with psycopg.connect(postgres.dsn(OWNER)) as owner:
        loaded = _load(owner)
        _connector_tables(owner)
    with postgres.connect(ADMIN) as admin:
        _publish(admin, derived_name(prefix))
    return loaded


def _role(admin: psycopg.Connection[Any], name: str, rights: LiteralString, password: str) -> None:
    known = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    if known is None:
        admin.execute(
            sql.SQL("CREATE ROLE {} {} PASSWORD {}").format(
                sql.Identifier(name),
                sql.SQL(rights),
                sql.Literal(password),
            )
        )


def _load(owner: psycopg.Connection[Any]) -> int:
    known = owner.execute("SELECT to_regclass(%s)", [TABLES[0]]).fetchone()
    if known is not None and known[0] is not None:
        return 0
    owner.execute(schema_sql().encode())
    shop = load_shop()
    loaded = 0
    for name, spec in SHOP.items():
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(spec.schema, name),
            sql.SQL(", ").join(map(sql.Identifier, spec.columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(spec.columns)),
        )
        rows = [tuple(row.values()) for row in shop.rows(name)]
        with owner.cursor() as cursor:
            cursor.executemany(statement, rows)
        loaded += len(rows)
    return loaded


def _connector_tables(owner: psycopg.Connection[Any]) -> None:
    statements = f"""
        CREATE TABLE IF NOT EXISTS {HEARTBEAT} (name text PRIMARY KEY, beat timestamptz NOT NULL);
        CREATE TABLE IF NOT EXISTS {SIGNAL} (id text PRIMARY KEY, type text NOT NULL, data text);
        GRANT SELECT ON {", ".join(TABLES)} TO {REPLICATOR};
        GRANT SELECT, INSERT, UPDATE ON {HEARTBEAT} TO {REPLICATOR};
        GRANT SELECT, INSERT, DELETE ON {SIGNAL} TO {REPLICATOR};
    """
    owner.execute(statements.encode())


def _publish(admin: psycopg.Connection[Any], name: str) -> None:
    """The publication with exactly the tables we capture; made here, since the connector may not."""
    wanted = {*TABLES, HEARTBEAT, SIGNAL}
    rows = admin.execute(
        "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = %s", [name]
    ).fetchall()
    known = admin.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", [name]).fetchone()
    missing = sorted(wanted - {row[0] for row in rows})
    if not missing:
        return
    tables = sql.SQL(", ").join(sql.Identifier(*table.split(".")) for table in missing)
    publication = sql.Identifier(name)
    if known is None:
        made = sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)")
    else:
        made = sql.SQL("ALTER PUBLICATION {} ADD TABLE {}")
    admin.execute(made.format(publication, tables))
