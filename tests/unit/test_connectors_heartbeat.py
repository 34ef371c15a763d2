"""What a heartbeat's statement writes, and what it takes."""

import pytest

from connectors.heartbeat import Beat, beat_of
from connectors.preset import heartbeat_query
from connectors.presets.mariadb import mariadb_heartbeat_query


@pytest.mark.parametrize(
    ("query", "table", "needs"),
    [
        (heartbeat_query("public.beat", "x"), "public.beat", "SELECT INSERT UPDATE"),
        (mariadb_heartbeat_query("shop.beat", "x"), "shop.beat", "SELECT INSERT UPDATE"),
        ("insert into public.beat values (1)", "public.beat", "INSERT"),
        ("INSERT INTO beat(ts) VALUES (now())", "beat", "INSERT"),
        ("INSERT INTO b.t VALUES (1) ON CONFLICT DO NOTHING", "b.t", "INSERT"),
        ("INSERT INTO b.t VALUES (1) ON CONFLICT (id) DO NOTHING", "b.t", "INSERT SELECT"),
        ("INSERT IGNORE INTO `my shop`.`beat` VALUES (1)", "my shop.beat", "INSERT"),
        ("REPLACE INTO shop.beat VALUES (1)", "shop.beat", "INSERT DELETE"),
        ("UPDATE shop.beat SET ts = now()", "shop.beat", "UPDATE"),
        ("  update only b.t set ts = now() where id = 1", "b.t", "UPDATE SELECT"),
        ("UPDATE `shop`.`beat` SET ts = NOW(6) WHERE id = 1;", "shop.beat", "UPDATE SELECT"),
        ('INSERT INTO "Ops"."Beat" VALUES (1)', "Ops.Beat", "INSERT"),
    ],
)
def test_the_table_and_the_rights_are_read_off_the_statement(query: str, table: str, needs: str) -> None:
    assert beat_of(query, folded=True) == Beat(table, frozenset(needs.split()))


def test_names_without_quotes_are_folded_where_the_database_folds_them() -> None:
    query = 'UPDATE Shop."Beat" SET ts = 1'
    assert beat_of(query, folded=True) == Beat("shop.Beat", frozenset({"UPDATE"}))
    assert beat_of(query, folded=False) == Beat("Shop.Beat", frozenset({"UPDATE"}))


@pytest.mark.parametrize(
    "query", ["", "SELECT pg_logical_emit_message(false, 'beat', now()::text)", "CALL beat()"]
)
def test_of_another_statement_nothing_is_known(query: str) -> None:
    assert beat_of(query, folded=True) is None
