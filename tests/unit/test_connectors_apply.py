"""What applying a plan sends, waits for and says, on a cluster that answers as the real one does."""

from collections.abc import Iterator

import pytest

from connectors.apply import Outcome, apply
from connectors.deploy import deploy
from connectors.diff import OWNER_KEY, Desired, plan
from connectors.rest import ConnectClient
from connectors.spec import ConnectorSpec, spec_of
from connectors.watch import Pace, wait_for
from core.errors import ConfigurationError, TransientError
from tests.unit.connect_world import CANARY, TRACE, URL, Cluster, Running, shop_config


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def pace(self, timeout_s: float = 60.0, settle_s: float = 5.0) -> Pace:
        return Pace(timeout_s, settle_s, 0.2, self.sleep, lambda: self.now)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    with made.served(attempts=3):
        yield made


@pytest.fixture
def client() -> Iterator[ConnectClient]:
    with ConnectClient(URL) as made:
        yield made


def applied(
    client: ConnectClient, *desired: Desired, pace: Pace | None = None, prune: bool = False
) -> list[Outcome]:
    planned = plan(desired, client.connectors(), owner="shop", prune=prune)
    return apply(client, planned, pace=pace or Clock().pace())


def shop(name: str = "shop", **changed: str) -> Desired:
    prefix = {} if name == "shop" else {"topic__prefix": name, "slot__name": name, "publication__name": name}
    return Desired(name, shop_config(**{**prefix, **changed}))


def spec(**changed: str) -> ConnectorSpec:
    return spec_of("shop", shop_config(**changed), accept={})


def test_a_new_connector_is_sent_once_marked_and_waited_for(cluster: Cluster, client: ConnectClient) -> None:
    clock = Clock()
    (outcome,) = applied(client, shop(), pace=clock.pace())
    assert (outcome.ok, outcome.state, outcome.writes) == (True, "running", 1)
    assert cluster.writes == ["PUT shop"]
    assert cluster.connectors["shop"].config[OWNER_KEY] == "shop"
    assert clock.now >= 5.0, "RUNNING has to hold: a task may fail after its first second"


def test_a_second_apply_writes_nothing_and_waits_for_nothing(cluster: Cluster, client: ConnectClient) -> None:
    applied(client, shop())
    cluster.writes.clear()
    clock = Clock()
    (outcome,) = applied(client, shop(), pace=clock.pace())
    assert (outcome.ok, outcome.writes, cluster.writes, clock.now) == (True, 0, [], 0.0)


def test_drift_is_repaired(cluster: Cluster, client: ConnectClient) -> None:
    applied(client, shop())
    cluster.connectors["shop"].config["poll.interval.ms"] = "9"
    (outcome,) = applied(client, shop())
    assert outcome.action == "update"
    assert cluster.connectors["shop"].config["poll.interval.ms"] == "50"


def test_a_refused_configuration_is_not_sent(cluster: Cluster, client: ConnectClient) -> None:
    cluster.errors = {"database.hostname": ["FATAL: password authentication failed for user debezium"]}
    (outcome,) = applied(client, shop(database__password=CANARY))
    assert cluster.writes == []
    assert not outcome.ok
    assert "database.hostname: FATAL" in str(outcome.why)
    assert "hint: user or password is wrong" in str(outcome.why)
    assert CANARY not in str(outcome)


def test_a_task_that_fails_is_told_with_cause_hint_and_masked_trace(
    cluster: Cluster, client: ConnectClient
) -> None:
    cluster.failing["shop"] = TRACE
    (outcome,) = applied(client, shop())
    assert outcome.state == "failed"
    assert outcome.why is not None
    assert "Error configuring an instance (Caused by:" in outcome.why.cause
    assert "\n" not in outcome.why.cause
    assert "password is wrong" in (outcome.why.hint or "")
    assert "\tat x.y" in (outcome.trace or "")
    assert CANARY not in f"{outcome}{outcome.trace}"


def test_a_task_that_fails_seconds_after_it_ran_has_failed(cluster: Cluster, client: ConnectClient) -> None:
    applied(client, shop())
    cluster.connectors["shop"].config["poll.interval.ms"] = "9"
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now >= 4.0:
            cluster.connectors["shop"].trace = TRACE

    (outcome,) = applied(client, shop(), pace=Pace(60.0, 5.0, 0.2, sleep, lambda: clock.now))
    assert outcome.state == "failed"


def test_one_that_fails_does_not_keep_the_other_from_running(cluster: Cluster, client: ConnectClient) -> None:
    cluster.failing["first"] = TRACE
    first, second = applied(client, shop("first"), shop("second"))
    assert (first.ok, second.ok) == (False, True)


def test_a_connector_that_is_to_be_stopped_never_begins(cluster: Cluster, client: ConnectClient) -> None:
    (outcome,) = applied(client, Desired("shop", shop_config(), "stopped"))
    assert (outcome.ok, outcome.state) == (True, "stopped")
    assert cluster.writes == ["POST shop STOPPED"]


def test_configuration_and_state_are_both_applied_in_that_order(
    cluster: Cluster, client: ConnectClient
) -> None:
    applied(client, shop())
    cluster.writes.clear()
    (outcome,) = applied(client, Desired("shop", shop_config(poll__interval__ms="9"), "paused"))
    assert (outcome.ok, outcome.state) == (True, "paused")
    assert cluster.writes == ["PUT shop", "PUT shop pause"]


def test_a_stopped_connector_is_resumed(cluster: Cluster, client: ConnectClient) -> None:
    applied(client, Desired("shop", shop_config(), "stopped"))
    (outcome,) = applied(client, shop())
    assert (outcome.action, outcome.state) == ("state", "running")
    assert cluster.writes[-1] == "PUT shop resume"


def test_a_failed_connector_is_restarted_with_its_failed_tasks(
    cluster: Cluster, client: ConnectClient
) -> None:
    applied(client, shop())
    cluster.connectors["shop"].trace = TRACE
    (outcome,) = applied(client, shop())
    assert (outcome.action, outcome.ok) == ("state", True)
    assert cluster.writes[-1] == "POST shop restart includeTasks=true&onlyFailed=true"


def test_a_failed_connector_that_is_to_be_paused_is_paused_and_stays_so(
    cluster: Cluster, client: ConnectClient
) -> None:
    cluster.failing["shop"] = TRACE
    applied(client, shop())
    cluster.writes.clear()
    paused = Desired("shop", shop_config(), "paused")
    (outcome,) = applied(client, paused)
    assert (outcome.ok, outcome.state, outcome.writes) == (True, "paused", 2)
    assert cluster.writes == ["PUT shop pause", "POST shop restart includeTasks=true&onlyFailed=true"]
    (outcome,) = applied(client, paused)
    assert (outcome.ok, outcome.writes, outcome.action) == (True, 0, "none")
    (outcome,) = applied(client, shop())
    assert (outcome.ok, outcome.state) == (False, "failed"), "what it failed of is told when it is to run"


def test_one_that_was_paused_when_it_had_failed_needs_no_second_pause(
    cluster: Cluster, client: ConnectClient
) -> None:
    cluster.failing["shop"] = TRACE
    applied(client, shop())
    client.pause("shop")
    cluster.writes.clear()
    (outcome,) = applied(client, Desired("shop", shop_config(), "paused"))
    assert (outcome.ok, outcome.state) == (True, "paused")
    assert cluster.writes == ["POST shop restart includeTasks=true&onlyFailed=true"]


def test_a_rebalance_and_a_worker_that_goes_away_are_waited_for(
    cluster: Cluster, client: ConnectClient
) -> None:
    planned = plan([shop()], client.connectors())
    cluster.busy, cluster.away = 7, 9
    said: list[str] = []
    (outcome,) = apply(client, planned, pace=Clock().pace(), say=said.append)
    assert outcome.ok
    assert cluster.writes == ["PUT shop"]


def test_a_worker_that_stays_away_is_said_in_the_end(cluster: Cluster, client: ConnectClient) -> None:
    planned = plan([shop()], client.connectors())
    cluster.away = 10**6
    (outcome,) = apply(client, planned, pace=Clock().pace(timeout_s=3.0))
    assert not outcome.ok
    assert "is Connect running there" in str(outcome.why)


def test_waiting_survives_a_worker_that_goes_away_and_begins_anew(
    cluster: Cluster, client: ConnectClient
) -> None:
    cluster.connectors["shop"] = Running(shop_config())
    clock, said = Clock(), list[str]()

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if 3.0 <= clock.now < 3.3:
            cluster.away = 6

    pace = Pace(60.0, 5.0, 0.2, sleep, lambda: clock.now)
    seen = wait_for(client, {"shop": "running"}, deadline=60.0, pace=pace, changed={"shop"}, say=said.append)
    assert seen["shop"].reached
    assert clock.now >= 8.0
    assert len(said) == 1


def test_pruning_deletes_ours_that_no_file_names_and_nothing_else(
    cluster: Cluster, client: ConnectClient
) -> None:
    applied(client, shop(), shop("old"))
    cluster.connectors["theirs"] = Running(
        shop_config(topic__prefix="t", slot__name="t", publication__name="t")
    )
    cluster.connectors["other-app"] = Running({OWNER_KEY: "other"})
    applied(client, shop())
    assert "old" in cluster.connectors, "never without being asked to"
    cluster.writes.clear()
    outcomes = applied(client, shop(), prune=True)
    assert [(one.name, one.action, one.ok) for one in outcomes] == [
        ("shop", "none", True),
        ("old", "prune", True),
    ]
    assert cluster.writes == ["DELETE old"]
    assert set(cluster.connectors) == {"shop", "theirs", "other-app"}


def test_a_plan_with_conflicts_is_not_carried_out(cluster: Cluster, client: ConnectClient) -> None:
    planned = plan([shop(), Desired("twin", shop_config())], {})
    with pytest.raises(ValueError, match="conflicts"):
        apply(client, planned)
    assert cluster.writes == []


def deployed(client: ConnectClient, wanted: ConnectorSpec, timeout_s: float = 60.0) -> None:
    clock = Clock()
    deploy(client, wanted, sleep=clock.sleep, clock=lambda: clock.now, timeout_s=timeout_s)


def test_a_deployment_is_idempotent_and_leaves_the_owners_mark(
    cluster: Cluster, client: ConnectClient
) -> None:
    deployed(client, spec())
    assert cluster.connectors["shop"].config["skipped.operations"] == "none"
    cluster.connectors["shop"].config[OWNER_KEY] = "somebody"
    cluster.writes.clear()
    deployed(client, spec())
    assert cluster.writes == []


def test_a_deployment_that_fails_says_why(cluster: Cluster, client: ConnectClient) -> None:
    cluster.failing["shop"] = TRACE
    with pytest.raises(ConfigurationError, match="password authentication failed") as raised:
        deployed(client, spec())
    assert CANARY not in str(raised.value)


def test_a_deployment_that_does_not_settle_is_transient(cluster: Cluster, client: ConnectClient) -> None:
    cluster.connectors["shop"] = Running(shop_config(), looks=["UNASSIGNED"] * 1000)
    with pytest.raises(TransientError, match="starting"):
        deployed(client, spec(), timeout_s=10.0)


def test_a_file_that_breaks_the_preset_makes_no_call(cluster: Cluster, client: ConnectClient) -> None:
    with pytest.raises(ConfigurationError, match="TRUNCATE"):
        deployed(client, spec(skipped__operations="t"))
    assert cluster.asked == 0


def test_the_last_one_has_its_own_time_to_settle(cluster: Cluster, client: ConnectClient) -> None:
    """What was begun just before the deadline is not called failed for having had no time."""
    clock = Clock()
    cluster.connectors["shop"] = Running(shop_config())
    clock.now = 119.0
    pace = clock.pace(120.0, 5.0)
    found = wait_for(client, {"shop": "running"}, deadline=120.0, pace=pace, changed=["shop"])
    assert found["shop"].reached
    assert 124.0 <= clock.now < 125.0
    clock.now = 119.0
    cluster.connectors["shop"].looks = ["UNASSIGNED"] * 1000
    found = wait_for(client, {"shop": "running"}, deadline=120.0, pace=pace, changed=["shop"])
    assert not found["shop"].reached
    assert clock.now < 121.0, "nothing settles: nothing is waited for"
