"""How far the index says that it is: never back, whoever had a partition meanwhile."""

from typing import Any

import pytest

from core.errors import FencedError
from core.state import Progress
from embed.model import Covered
from ingest.agents.index_batch import read_batch
from ingest.older_index import Group
from tests.unit.index_agent_world import World, messages, row


def covered(world: World) -> tuple[int, int]:
    [mark] = world.collection.covered()
    return mark.offset, mark.version


def test_what_another_worker_has_covered_meanwhile_stays_covered() -> None:
    world = World()
    world.take(Progress(10, "a"), offset=0, generation=1)
    world.collection.cover([Covered("t", 0, 90, 500, "b", 7)])
    world.take(row(1, 400), offset=90, generation=3)  # a repair: no progress stands behind it
    assert world.collection.covered() == [Covered("t", 0, 91, 500, "b", 7)]
    world.take(Progress(510, "c", 8), offset=91, generation=3)
    assert world.collection.covered() == [Covered("t", 0, 92, 510, "c", 8)]


def test_a_batch_that_is_read_again_takes_nothing_back() -> None:
    """Killed between the flush and the commit: the log is read from where the group stood."""
    world = World()
    world.collection.cover([Covered("t", 0, 90, 500, "b", 7)])
    world.take(row(1, 300), Progress(310), offset=40)
    assert covered(world) == (90, 500)
    world.take(row(1, 490), Progress(505), offset=42)
    assert covered(world) == (44, 505)


def test_a_progress_that_a_worker_wrote_late_takes_nothing_back() -> None:
    world = World()
    world.take(Progress(500), offset=0)
    world.take(Progress(400), offset=1)  # frozen past its session, then woken
    assert covered(world) == (2, 500)


def test_without_any_progress_nothing_is_said() -> None:
    world = World()
    world.take(row(1, 5), offset=0)
    assert world.collection.covered() == []


def test_a_batch_that_ends_after_another_worker_has_gone_further_takes_nothing_back() -> None:
    world = World()
    world.take(Progress(300, "a"), offset=0)
    read = read_batch(messages([row(1, 310), Progress(310, "b")], 1))
    world.agent._coverage.begin(read, world.collection)
    further = Covered("t", 0, 90, 500, "c", 7)
    world.collection.cover([further])  # the partition was given away, and the new owner is idle by now
    world.agent._coverage.cover(read, world.collection)
    assert world.collection.covered() == [further]


def put_back(world: World, *marks: Covered) -> None:
    world.collection._marks = {(one.topic, one.partition): one for one in marks}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("left", "cure"),
    [
        ((), "build another, `tailrace reindex start`"),
        ((Covered("t", 0, 1, 300, "a", 0),), "it is read again"),
    ],
    ids=["nothing", "an older copy"],
)
def test_an_index_that_lost_what_was_covered_ends_the_worker_before_that_is_hidden(
    left: tuple[Covered, ...], cure: str
) -> None:
    world = World()
    world.take(Progress(300, "a"), offset=0)
    world.take(row(1, 310), Progress(310, "b"), offset=1)
    put_back(world, *left)
    with pytest.raises(FencedError, match=rf"no longer holds what this process.*t/0 up to 3\. .*{cure}$"):
        world.take(row(1, 320), Progress(320, "c"), offset=3)
    assert world.collection.covered() == list(left)


def test_a_replica_that_is_behind_for_a_moment_ends_nobody() -> None:
    world = World()
    world.take(Progress(300, "a"), offset=0)
    reads: list[list[Covered]] = [[], world.collection.covered()]

    class Behind:
        def __getattr__(self, name: str) -> Any:
            return (lambda: reads.pop(0)) if name == "covered" else getattr(world.collection, name)

    behind: Any = Behind()
    read = read_batch(messages([Progress(310, "b")], 1))
    world.agent._coverage.cover(read, behind)
    assert (reads, covered(world)) == ([], (2, 310))


@pytest.mark.parametrize("acknowledged", [1, 9])
def test_who_gets_a_partition_sees_that_the_index_lacks_what_another_worker_acknowledged(
    acknowledged: int,
) -> None:
    world = World(group=Group("a-group", lambda: {0: acknowledged, 1: 5}))
    world.collection.cover([Covered("t", 0, 1, 300, "a", 0)])
    if acknowledged == 1:
        world.take(Progress(310, "b"), offset=9)
        assert covered(world) == (10, 310)
    else:
        with pytest.raises(FencedError, match=r"1 to 9 of t/0 is acknowledged by group a-group"):
            world.take(Progress(310, "b"), offset=9)
        assert covered(world) == (1, 300)
