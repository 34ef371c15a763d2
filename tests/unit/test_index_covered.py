"""How far the index says that it is: never back, whoever had a partition meanwhile."""

from core.state import Progress
from embed.model import Covered
from ingest.agents.index_batch import read_batch
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
    world.collection.cover(world.agent._coverage.marks(read))
    assert world.collection.covered() == [further]
