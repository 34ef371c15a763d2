"""What a deleted connector leaves, and what of it is its own to take away."""

from collections.abc import Iterator

import pytest

from connectors import removal
from connectors.live import LiveConnector
from connectors.preset import POSTGRES_CLASS
from connectors.presets.mariadb import mariadb_config
from connectors.removal import drop_leftovers, leftovers, remove_clean
from connectors.rest import ConnectClient
from connectors.watch import Pace
from core.errors import ConfigurationError
from tests.unit.connect_world import URL, Cluster, Running, shop_config

PURGED = (
    "source offsets: a connector of this name goes on from there; if the database's log was purged by then,"
    " it fails"
)
TOPICS = ["shop", "shop.shop.articles", "__debezium-heartbeat.shop"]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    config = mariadb_config(
        prefix="shop",
        tables=["shop.articles"],
        host="db.example",
        port=3306,
        user="debezium",
        password="${file:/secrets/connect.properties:debezium}",  # noqa: S106 - a reference
        server_id=4712,
        history_servers="kafka:9092",
        signal_table="shop.debezium_signal",
    )
    made = Cluster({"shop": Running(config, topics=TOPICS)})
    with made.served():
        yield made


def test_its_history_is_named_and_no_slot(cluster: Cluster) -> None:
    with ConnectClient(URL) as client:
        said = leftovers(client, client.connectors()["shop"], {}).lines()
    assert said == [
        PURGED,
        "topic __debezium-heartbeat.shop",
        "topic shop: changes of tables' definitions",
        "topic shop.shop.articles",
        "topic shop.schema-history: the schema history: offsets are of no use without it",
    ]


def test_clean_forgets_the_offsets_and_asks_no_database(cluster: Cluster) -> None:
    with ConnectClient(URL) as client:
        live = client.connectors()["shop"]
        left = leftovers(client, live, {})
        done = list(remove_clean(client, live, left, None, pace=Pace(5.0, 0.0, poll_s=0.01)))
    assert done == [("source offsets", None), ("connector shop", None)]
    assert cluster.writes == ["PUT shop stop", "DELETE shop offsets", "DELETE shop"]


def test_clean_without_a_database_changes_nothing(cluster: Cluster) -> None:
    live = LiveConnector("one", shop_config(), None)
    with ConnectClient(URL) as client:
        left = leftovers(client, live, {})
        with pytest.raises(ConfigurationError, match="--database"):
            list(remove_clean(client, live, left, None, pace=Pace(5.0, 0.0, poll_s=0.01)))
    assert cluster.writes == []


def test_what_another_connector_uses_is_never_dropped(cluster: Cluster) -> None:
    config = shop_config(slot__name="one", publication__name="both")
    live = LiveConnector("one", config, None)
    others = {
        "one": live,
        "two": LiveConnector("two", shop_config(slot__name="two", publication__name="both"), None),
    }
    with ConnectClient(URL) as client:
        left = leftovers(client, live, others)
    assert left.droppable() == [("slot", "one")]
    assert "publication both: connector two uses it too" in left.lines()
    assert not any("DROP PUBLICATION" in line for line in left.lines())


@pytest.mark.parametrize("named", [{}, {"slot.name": "debezium", "publication.name": "dbz_publication"}])
def test_what_has_the_default_name_is_never_dropped(cluster: Cluster, named: dict[str, str]) -> None:
    live = LiveConnector("legacy", {"connector.class": POSTGRES_CLASS, "topic.prefix": "l", **named}, None)
    with ConnectClient(URL) as client:
        left = leftovers(client, live, {})
    assert left.droppable() == []
    done = list(drop_leftovers(left, None, pace=Pace(5.0, 0.0)))
    assert [what for what, _ in done] == ["slot debezium", "publication dbz_publication"]
    for (_, error), statement in zip(
        done, ("pg_drop_replication_slot('debezium')", "DROP PUBLICATION dbz_publication"), strict=True
    ):
        assert error is not None
        assert "somebody else's" in str(error)
        assert statement in str(error)


def test_statements_quote_names_that_need_it(cluster: Cluster) -> None:
    config = shop_config(slot__name="one", publication__name='My"pub')
    with ConnectClient(URL) as client:
        said = "\n".join(leftovers(client, LiveConnector("one", config, None), {}).lines())
    assert 'DROP PUBLICATION "My""pub"' in said


def test_what_is_not_in_the_database_is_not_called_deleted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another database was named, or a delete before this one has come so far."""
    monkeypatch.setitem(removal.DROPS, "slot", lambda _dsn, _name: False)
    monkeypatch.setitem(removal.DROPS, "publication", lambda _dsn, _name: True)
    with ConnectClient(URL) as client:
        left = leftovers(client, LiveConnector("one", shop_config(), None), {})
    done = list(drop_leftovers(left, "dsn", pace=Pace(5.0, 0.0)))
    assert done[0][0].startswith("nothing: slot tailrace_shop is not in this database")
    assert done[1] == ("publication tailrace_shop", None)
