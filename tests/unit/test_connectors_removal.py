"""What a deleted connector of MariaDB leaves: no slot, but the history that its offsets need."""

from collections.abc import Iterator

import pytest
import responses

from connectors.presets.mariadb import mariadb_config
from connectors.removal import leftovers, remove_clean
from connectors.rest import ConnectClient
from connectors.watch import Pace
from tests.unit.connect_world import URL, Cluster, Running

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
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        made.serve(mock)
        yield made


def test_its_history_is_named_and_no_slot(cluster: Cluster) -> None:
    with ConnectClient(URL) as client:
        said = leftovers(client, client.connectors()["shop"]).lines()
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
        left = leftovers(client, live)
        done = list(remove_clean(client, live, left, None, pace=Pace(5.0, 0.0, poll_s=0.01)))
    assert done == [("source offsets", None), ("connector shop", None)]
    assert cluster.writes == ["PUT shop stop", "DELETE shop offsets", "DELETE shop"]
