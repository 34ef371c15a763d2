"""What MariaDB says must be in the index and in the state, compared with what is there. All rows."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pymysql

from infra.stack import Stack
from infra.stack.config import MARIADB_TABLES
from tests.e2e.mariadb_world import SOURCE, World
from tests.e2e.oracle import Compared, like, live_rows, plain


def check_all(world: World) -> int:
    """State topics, documents over HTTP, state entries: every row against SQL."""
    count = sum(_check_state(world, table) for table in MARIADB_TABLES)
    count += sum(_check_documents(world, name) for name in ("articles", "products"))
    return count + _check_entries(world)


def _check_state(world: World, table: str) -> int:
    expected = sql_rows(world, f"SELECT * FROM {table}")
    result = Compared(f"{table} in the state topic")
    handle = Stack(replace(world.stack.settings, prefix=SOURCE))
    live = list(live_rows(handle, table))
    result.keys(Counter(str(row["id"]) for row in live), expected)
    for row in live:
        if (key := str(row["id"])) in expected:
            result.equal(key, like(expected[key], row), expected[key])
    return result.check()


def _check_documents(world: World, table: str) -> int:
    where = "WHERE published" if table == "articles" else ""
    rows = sql_rows(world, f"SELECT * FROM {table} {where}")
    text = "body" if table == "articles" else "description"
    result = Compared(f"mariadb-{table} over HTTP")
    keys = [one["key"] for one in world.api.pages(f"mariadb-{table}")]
    result.keys(Counter(keys), rows)
    for key in keys:
        if key in rows:
            found = world.api.document(f"mariadb-{table}", key)
            assert found is not None, key
            said = plain(*(chunk["text"] for chunk in found["chunks"]))
            result.equal(key, (said, like(rows[key], found["row"])), (plain(str(rows[key][text])), rows[key]))
    return result.check()


def _check_entries(world: World) -> int:
    result = Compared("mariadb-orders over HTTP")
    for (customer,) in world.stack.mariadb.sql("SELECT DISTINCT customer_id FROM orders"):
        rows = sql_rows(
            world, f"SELECT * FROM orders WHERE customer_id = {customer} ORDER BY updated_at DESC, id LIMIT 5"
        )
        found = world.api.state("mariadb-orders", customer)["rows"]
        shown = [like(rows.get(str(one["id"]), {}), one) for one in found]
        result.equal(customer, shown, list(rows.values()))
    return result.check()


def sql_rows(world: World, query: str) -> dict[str, dict[str, Any]]:
    """By id, as MariaDB gives it; its times are UTC."""
    with world.stack.mariadb.connect() as one, one.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(query)
        rows = cursor.fetchall()
    aware = ({k: v.replace(tzinfo=UTC) if isinstance(v, datetime) else v for k, v in r.items()} for r in rows)
    return {str(row["id"]): row for row in aware}
