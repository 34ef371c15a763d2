"""What is stated while `tailrace resync` has emptied a table and its rows are yet to be read again."""

import pytest

from core.state import Truncate
from core.version import version
from retrieve.watermarks import Moment
from tests.unit.retrieval_hands import PARTITIONS
from tests.unit.retrieval_world import ARTICLES, World, article, lags, run


def settled() -> World:
    world = World()
    world.commit(ARTICLES, 1, article("Tents for two."))
    world.settle()
    return world


def open_next_epoch(world: World) -> None:
    for partition in range(PARTITIONS):
        world.state[ARTICLES][partition].append(Truncate(version(world.epoch + 1, 0)))


@pytest.mark.parametrize("known", [False, True])
def test_an_emptied_table_proves_no_position_whether_or_not_the_new_epoch_is_known(known: bool) -> None:
    async def test() -> None:
        world = settled()
        await world.look()
        before = await world.ask("tents")
        assert before.hits
        assert before.freshness.as_of["shop"].position is not None
        open_next_epoch(world)
        world.read_all()
        world.apply_all()
        world.epoch += known
        world.clock.advance(1)
        await world.look()
        after = await world.ask("tents")
        assert not after.hits
        assert after.freshness.as_of["shop"].position is None
        assert min(lags(after.freshness)) > 0

    run(test)


def test_it_is_whole_again_once_its_rows_have_been_read_again() -> None:
    async def test() -> None:
        world = settled()
        await world.look()
        open_next_epoch(world)
        world.epoch += 1
        world.resolved[ARTICLES] = 0
        world.read_all()
        world.clock.advance(1)
        await world.look()
        world.settle()
        world.clock.advance(1)
        await world.look()
        found = await world.ask("tents")
        assert found.hits
        assert found.freshness.as_of["shop"].position is not None
        assert (found.freshness.index_lag_ms, found.freshness.state_lag_ms) == (0, 0)

    run(test)


def test_an_index_that_was_emptied_is_not_recent_while_the_view_is_whole_again() -> None:
    """Its mark is of the epoch before, which says nothing of what the truncate took with it."""

    async def test() -> None:
        world = settled()
        await world.look()
        since = Moment(world.clock.now_ms() - 1000, world.clock.monotonic() - 1)
        open_next_epoch(world)
        world.apply_all()
        world.epoch += 1
        world.resolved[ARTICLES] = 0
        world.resolve_all()
        world.read_all()
        captured = await world.tracker.capture(["shop"], ["articles"])
        said = world.tracker.freshness(["shop"], captured, since=since)
        assert said.reached_max_staleness is False
        assert said.as_of["shop"].position is None

    run(test)
