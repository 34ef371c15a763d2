"""What a configuration asks of its database, and what it takes from its own tables before that is asked."""

import pytest

from connectors.inspect import inspect, other_host, wanted_of_mariadb, wanted_of_postgres
from tests.unit.connect_world import shop_config

AWAY = "host=127.0.0.1 port=1 dbname=shop user=u"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("column.exclude.list", r"public\.articles\.body", "drops body,"),
        (
            "column.exclude.list",
            r"public\.customers\.mail, public\.articles\.(body|title)",
            "drops body, title,",
        ),
        ("column.exclude.list", r".*\.BODY", "drops body,"),
        ("column.include.list", r"public\.articles\.id,public\.articles\.title", "leaves out body,"),
    ],
)
def test_a_used_column_that_the_connector_drops_is_a_fault(key: str, value: str, said: str) -> None:
    config = {**shop_config(), key: value}
    found = inspect(AWAY, config, indexed={"public.articles": ["id", "title", "body"]})
    (check,) = [check for check in found if check.name == "table public.articles"]
    assert check.status == "fail"
    assert f"{key} {said}" in check.what


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("column.exclude.list", r"public\.articles\.notes"),
        ("column.exclude.list", r"public\.customers\.body"),
        ("column.exclude.list", r"body"),
        ("column.exclude.list", r"public\.articles\.\p{Lower}+{"),
        ("column.include.list", r"public\.articles\..*"),
        ("column.include.list", ""),
    ],
)
def test_columns_that_stay_are_no_fault(key: str, value: str) -> None:
    found = inspect(AWAY, {**shop_config(), key: value}, indexed={"public.articles": ["id", "body"]})
    assert [check.name for check in found] == ["database"]


def test_the_heartbeats_table_and_the_connectors_database_are_asked_for() -> None:
    wanted = wanted_of_postgres(shop_config(), (), {})
    assert (wanted.heartbeat_table, wanted.database, wanted.role) == (
        "public.debezium_heartbeat",
        "shop",
        "debezium",
    )
    assert wanted.autocreate == "disabled"
    config = shop_config(
        database__dbname="${env:DB}",
        heartbeat__action__query="SELECT 1",
        publication__autocreate__mode="filtered",
    )
    wanted = wanted_of_postgres(config, (), {})
    assert (wanted.heartbeat_table, wanted.database, wanted.autocreate) == (None, None, "filtered")
    assert wanted_of_postgres({"slot.name": "x"}, (), {}).autocreate == "disabled", "nothing is known of it"
    query = "UPDATE `shop`.`Beat` SET ts = NOW(6) WHERE id = 1"
    server = wanted_of_mariadb({"heartbeat.action.query": query}, (), {})
    assert (server.heartbeat_table, server.heartbeat_needs) == (
        "shop.Beat",
        frozenset({"SELECT", "UPDATE"}),
    )


@pytest.mark.parametrize(
    ("seen", "said", "warned"),
    [
        ("db.example", "other.example", True),
        ("10.0.0.1", "10.0.0.2", True),
        ("DB.example", "db.example", False),
        ("10.0.0.1", "db.example", False),
        ("127.0.0.1", "db.example", False),
        ("127.0.0.1", "10.0.0.1", False),
        ("localhost", "postgres", False),
        ("db.example", "postgres", False),
        ("/var/run/postgres.d", "db.example", False),
        ("", "db.example", False),
        ("db.example", "${env:HOST.NAME}", False),
    ],
)
def test_another_server_is_suspected_only_where_both_are_spelled_alike(
    seen: str, said: str, *, warned: bool
) -> None:
    found = other_host(seen, shop_config(database__hostname=said))
    assert [(check.name, check.status) for check in found] == ([("database", "warn")] if warned else [])
