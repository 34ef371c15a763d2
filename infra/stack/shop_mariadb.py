"""The sample shop in MariaDB, and what a connector needs there. Safe to run again."""

from typing import Any, Final

from infra.stack.config import (
    MARIADB_DATABASE,
    MARIADB_HEARTBEAT,
    MARIADB_SIGNAL,
    MARIADB_TABLES,
    OWNER,
    REPLICATOR,
)
from infra.stack.mariadb import ADMIN, MariaDb
from infra.stack.ports import LOOPBACK
from tailrace.demo.shop import load_shop

_SCHEMA: Final = {
    "articles": """
        id BIGINT PRIMARY KEY, title VARCHAR(500) NOT NULL, body MEDIUMTEXT NOT NULL,
        category VARCHAR(64) NOT NULL, lang VARCHAR(8) NOT NULL, published BOOLEAN NOT NULL,
        updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)""",
    "products": """
        id BIGINT PRIMARY KEY, name VARCHAR(500) NOT NULL, description MEDIUMTEXT NOT NULL,
        category VARCHAR(64) NOT NULL, price DECIMAL(10, 2) NOT NULL, in_stock INT NOT NULL,
        updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)""",
    "orders": """
        id BIGINT PRIMARY KEY, customer_id BIGINT NOT NULL, product_id BIGINT NOT NULL,
        status VARCHAR(64) NOT NULL, eta DATE, total DECIMAL(10, 2) NOT NULL,
        updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)""",
    "debezium_signal": "id VARCHAR(42) PRIMARY KEY, type VARCHAR(32) NOT NULL, data TEXT",
    "debezium_heartbeat": "name VARCHAR(64) PRIMARY KEY, beat TIMESTAMP(6) NOT NULL",
}
"""MariaDB's spelling of the shop's tables. A signal's row has these three columns by Debezium's rule."""


def prepare(mariadb: MariaDb) -> int:
    """Database, logins, tables, rows, grants. Returns how many rows were loaded.

    The rows are loaded together with the tables' creation and never again: what was changed or
    deleted since stays so.
    """
    mariadb.write_logins()
    with mariadb.connect(ADMIN, None) as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {MARIADB_DATABASE} CHARACTER SET utf8mb4")
        for login in (OWNER, REPLICATOR):
            cursor.execute(f"SELECT 1 FROM mysql.user WHERE User = '{login}'")
            if not cursor.fetchall():
                cursor.execute(
                    f"CREATE USER '{login}'@'{LOOPBACK}' IDENTIFIED BY %s", [mariadb.password(login)]
                )
        cursor.execute(f"GRANT ALL ON {MARIADB_DATABASE}.* TO '{OWNER}'@'{LOOPBACK}'")
    with mariadb.connect() as owner, owner.cursor() as cursor:
        loaded = _load(cursor)
    with mariadb.connect(ADMIN) as admin, admin.cursor() as cursor:
        for grant in grants():
            cursor.execute(grant)
    return loaded


def grants() -> list[str]:
    """All that the connector needs, and no more."""
    to = f"'{REPLICATOR}'@'{LOOPBACK}'"
    return [
        f"GRANT RELOAD, BINLOG MONITOR, REPLICATION SLAVE ON *.* TO {to}",
        *(f"GRANT SELECT ON {table} TO {to}" for table in MARIADB_TABLES),
        f"GRANT SELECT, INSERT ON {MARIADB_SIGNAL} TO {to}",
        f"GRANT SELECT, INSERT, UPDATE ON {MARIADB_HEARTBEAT} TO {to}",
    ]


def _load(cursor: Any) -> int:
    cursor.execute("SHOW TABLES LIKE 'articles'")
    if cursor.fetchall():
        return 0
    for name, columns in _SCHEMA.items():
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns}) CHARACTER SET utf8mb4")
    shop = load_shop()
    loaded = 0
    for table in MARIADB_TABLES:
        name = table.rpartition(".")[2]
        rows = [{**row, "updated_at": _instant(row["updated_at"])} for row in shop.rows(name)]
        marks = ", ".join(f"%({column})s" for column in rows[0])
        cursor.executemany(f"INSERT INTO {name} ({', '.join(rows[0])}) VALUES ({marks})", rows)
        loaded += len(rows)
    return loaded


def _instant(value: object) -> str:
    """`2026-11-01T09:00:00Z` as MariaDB reads it: the server's zone is UTC."""
    return str(value).replace("T", " ").removesuffix("Z")
