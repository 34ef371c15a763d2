"""Offsets change only while the connector is stopped, and only those that it has."""

import json
from collections.abc import Iterator

import pytest

from connectors.offsets import parse_offsets, refuse_unknown, reset_offsets, set_offsets
from connectors.preset import MONGODB_CLASS, SQLSERVER_CLASS
from connectors.rest import ConnectClient
from connectors.watch import Pace
from core.errors import ConfigurationError, TransientError
from tests.unit.connect_world import OFFSET, URL, Cluster, Running, shop_config


class Clock:
    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


CLOCK = Clock()
PACE = Pace(5.0, 0.0, 0.2, CLOCK.sleep, lambda: CLOCK.now)
OTHER = {"partition": {"server": "shop"}, "offset": {"lsn": 3}}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster({"shop": Running(shop_config())})
    with made.served(attempts=3):
        yield made


@pytest.fixture
def client() -> Iterator[ConnectClient]:
    with ConnectClient(URL) as made:
        yield made


def test_a_running_connector_keeps_its_offsets(cluster: Cluster, client: ConnectClient) -> None:
    for change in (
        lambda: set_offsets(client, "shop", [OTHER], stop=False, pace=PACE),
        lambda: reset_offsets(client, "shop", stop=False, pace=PACE),
    ):
        with pytest.raises(ConfigurationError, match="tailrace connect stop shop"):
            change()
    assert cluster.writes == []


def test_it_is_stopped_first_where_that_is_asked_for(cluster: Cluster, client: ConnectClient) -> None:
    set_offsets(client, "shop", [OTHER], stop=True, pace=PACE)
    assert cluster.writes == ["PUT shop stop", "PATCH shop offsets"]
    assert cluster.connectors["shop"].offsets == [OTHER]
    assert cluster.connectors["shop"].state == "STOPPED"


def test_a_failed_connector_is_stopped_like_any_other(cluster: Cluster, client: ConnectClient) -> None:
    """It shows its failure until the stop has reached its worker."""
    cluster.connectors["shop"] = Running(shop_config(), trace="x", looks=["FAILED"] * 3)
    assert reset_offsets(client, "shop", stop=True, pace=PACE) == 1


def test_a_reset_forgets_all_and_says_how_many(cluster: Cluster, client: ConnectClient) -> None:
    cluster.connectors["shop"].state = "STOPPED"
    assert reset_offsets(client, "shop", stop=False, pace=PACE) == 1
    assert cluster.connectors["shop"].offsets == []


@pytest.mark.parametrize("change", ["reset", "set"])
def test_what_a_task_that_still_runs_commits_over_it_is_changed_again(
    change: str, cluster: Cluster, client: ConnectClient
) -> None:
    cluster.connectors["shop"] = Running(shop_config(), "STOPPED", zombie=2)
    if change == "reset":
        assert reset_offsets(client, "shop", stop=False, pace=PACE) == 1
    else:
        set_offsets(client, "shop", [OTHER], stop=False, pace=PACE)
    assert cluster.connectors["shop"].offsets == ([] if change == "reset" else [OTHER])
    assert len(cluster.writes) == 3


def test_a_task_that_commits_without_end_is_named(cluster: Cluster, client: ConnectClient) -> None:
    cluster.connectors["shop"] = Running(shop_config(), "STOPPED", zombie=10**6)
    with pytest.raises(TransientError, match=r'"shop"} has an offset: .*does a task of it still run'):
        reset_offsets(client, "shop", stop=False, pace=PACE)


def test_a_change_that_never_shows_blames_no_task(cluster: Cluster, client: ConnectClient) -> None:
    cluster.connectors["shop"] = Running(shop_config(), "STOPPED", deaf=True)
    for change, said in (
        (lambda: reset_offsets(client, "shop", stop=False, pace=PACE), "has an offset"),
        (lambda: set_offsets(client, "shop", [OTHER], stop=False, pace=PACE), 'not {"lsn": 3}'),
    ):
        began = CLOCK.now
        cluster.writes.clear()
        with pytest.raises(TransientError, match=f"{said}: Connect took the change and has not shown it"):
            change()
        assert CLOCK.now - began == pytest.approx(PACE.timeout_s, abs=2 * PACE.poll_s)
        assert len(cluster.writes) <= PACE.timeout_s + 1, "written without a pause"


def test_stop_and_change_share_one_time(cluster: Cluster, client: ConnectClient) -> None:
    began = CLOCK.now
    cluster.connectors["shop"] = Running(shop_config(), looks=["RUNNING"] * 15, deaf=True)
    with pytest.raises(TransientError):
        reset_offsets(client, "shop", stop=True, pace=PACE)
    assert CLOCK.now - began <= PACE.timeout_s + 2 * PACE.poll_s


def test_after_a_reset_the_prefix_is_still_a_partition(cluster: Cluster, client: ConnectClient) -> None:
    cluster.connectors["shop"] = Running(shop_config(), "STOPPED", offsets=[])
    set_offsets(client, "shop", [OFFSET], stop=False, pace=PACE)
    assert cluster.connectors["shop"].offsets == [OFFSET]


@pytest.mark.parametrize(
    ("changed", "partition"),
    [
        ({"connector.class": MONGODB_CLASS}, {"server_id": "shop"}),
        (
            {"connector.class": SQLSERVER_CLASS, "database.names": "sales,Stock"},
            {"server": "shop", "database": "Stock"},
        ),
    ],
)
def test_what_was_saved_of_another_database_is_set_again_after_a_reset(
    changed: dict[str, str], partition: dict[str, str], cluster: Cluster, client: ConnectClient
) -> None:
    saved = {"partition": partition, "offset": {"at": 3}}
    cluster.connectors["shop"] = Running({**shop_config(), **changed}, "STOPPED", offsets=[])
    set_offsets(client, "shop", [saved], stop=False, pace=PACE)
    assert cluster.connectors["shop"].offsets == [saved]
    with pytest.raises(ConfigurationError, match="is none of this connector's"):
        refuse_unknown([OFFSET], [], {**shop_config(), **changed})


def test_a_partition_that_the_connector_never_reads_is_refused(
    cluster: Cluster, client: ConnectClient
) -> None:
    """Connect itself would take it."""
    cluster.connectors["shop"].state = "STOPPED"
    wrong = {"partition": {"server": "shoop"}, "offset": {"lsn": 3}}
    with pytest.raises(ConfigurationError, match="is none of this connector's"):
        set_offsets(client, "shop", [wrong], stop=False, pace=PACE)
    assert cluster.writes == []


def test_no_connector_no_offsets(cluster: Cluster, client: ConnectClient) -> None:
    with pytest.raises(ConfigurationError, match="there is no connector nope"):
        reset_offsets(client, "nope", stop=True, pace=PACE)


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_show_prints_can_be_set(wrapped: bool) -> None:
    text = json.dumps({"offsets": [OFFSET]} if wrapped else [OFFSET])
    assert parse_offsets(text) == [OFFSET]


def test_one_partition_has_one_offset() -> None:
    with pytest.raises(ConfigurationError, match=r'partition {"server": "shop"} is there more than once'):
        parse_offsets(json.dumps([OFFSET, OTHER]))


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "[1]", '[{"partition": {}}]', '[{"partition": [], "offset": {}}]', '{"offsets": {}}'],
)
def test_what_are_no_offsets_is_said(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no JSON|write a list of"):
        parse_offsets(text)
