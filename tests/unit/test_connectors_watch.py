"""What counts as a failure after a restart: Connect goes on showing the one of before for a while."""

import re
from collections.abc import Sequence

import pytest
import responses

from connectors.live import ConnectorStatus, TaskStatus
from connectors.pausing import pause
from connectors.rest import ConnectClient
from connectors.watch import Pace, Seen, wait_for
from tests.unit.connect_world import URL

OLD, NEW = "x.Y: the publication is missing", "x.Y: another thing is missing"


def shown(*tasks: str, trace: str = OLD, worker: str = "w") -> ConnectorStatus:
    made = tuple(
        TaskStatus(i, state, worker, trace if state == "FAILED" else None) for i, state in enumerate(tasks)
    )
    return ConnectorStatus("shop", "RUNNING", worker, made)


class Scripted(ConnectClient):
    """Shows what a script says for each moment, from (second, status) pairs."""

    def __init__(self, script: Sequence[tuple[float, ConnectorStatus]]) -> None:
        super().__init__(URL)
        self.now = 0.0
        self._script = script

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def status(self, name: str) -> ConnectorStatus | None:
        return [status for at, status in self._script if at <= self.now][-1]


def watched(
    *script: tuple[float, ConnectorStatus], timeout_s: float = 60.0, settle_s: float = 5.0
) -> tuple[Seen, float]:
    """After a restart at 0 of what failed with OLD; with the second at which it was decided."""
    with Scripted(script) as client:
        pace = Pace(timeout_s, settle_s, 0.2, client.sleep, lambda: client.now)
        before = {"shop": shown("FAILED", "FAILED")}
        found = wait_for(
            client, {"shop": "running"}, deadline=timeout_s, pace=pace, changed=["shop"], before=before
        )
        return found["shop"], client.now


def test_a_failure_of_before_that_is_shown_for_seconds_is_no_new_one() -> None:
    seen, _ = watched((0.0, shown("FAILED", "RUNNING")), (3.0, shown("RUNNING", "RUNNING")))
    assert seen.reached


def test_tasks_that_come_back_one_after_the_other_have_not_failed() -> None:
    both, one, none = shown("FAILED", "FAILED"), shown("RUNNING", "FAILED"), shown("RUNNING", "RUNNING")
    seen, _ = watched((0.0, both), (8.0, one), (16.0, none))
    assert seen.reached


@pytest.mark.parametrize(
    "after",
    [shown("FAILED", trace=NEW), shown("FAILED", worker="other")],
    ids=["another trace", "another worker"],
)
def test_a_failure_that_is_not_that_of_before_counts_soon(after: ConnectorStatus) -> None:
    seen, at = watched((0.0, shown("FAILED")), (1.0, after))
    assert (seen.reached, seen.trace) == (False, after.failure)
    assert at < 4.0


def test_the_same_failure_after_another_state_counts_soon() -> None:
    seen, at = watched((0.0, shown("FAILED")), (0.4, shown("RESTARTING")), (1.6, shown("FAILED")))
    assert (seen.reached, seen.trace) == (False, OLD)
    assert at < 5.0


def test_the_same_failure_throughout_counts_in_the_end() -> None:
    seen, at = watched((0.0, shown("FAILED")))
    assert (seen.reached, seen.trace) == (False, OLD)
    assert 8.0 <= at < 15.0


def test_what_has_failed_is_restarted_only_once_its_pause_is_taken() -> None:
    """A task that is restarted before begins, and may do harm."""
    failed = shown("FAILED")
    paused = ConnectorStatus("shop", "PAUSED", "w", failed.tasks)
    with Scripted([(0.0, failed), (1.0, paused)]) as client, responses.RequestsMock() as mock:
        mock.put(f"{URL}/connectors/shop/pause", status=202)
        restarted = mock.post(re.compile(f"{URL}/connectors/shop/restart.*"), status=202)
        pace = Pace(60.0, 5.0, 0.2, client.sleep, lambda: client.now)
        assert pause(client, "shop", failed, 60.0, pace) == 2
        assert (restarted.call_count, client.now >= 1.0) == (1, True)


def test_one_that_is_failed_when_the_time_is_over_is_told_with_its_trace() -> None:
    seen, at = watched((0.0, shown("FAILED")), timeout_s=3.0)
    assert (seen.state, seen.trace) == ("failed", OLD)
    assert at < 4.0
