"""Where records of a raw topic are missing: those that were deleted unread, and places that are no loss."""

import pytest

from core.errors import FencedError
from core.version import version
from tests.unit.resolve_agent_world import World, change


@pytest.mark.parametrize("restarted", [False, True])
def test_records_that_were_deleted_before_they_were_read_are_missed(restarted: bool) -> None:
    world = World()
    world.take(change("c", 10, {"id": 1}))
    if restarted:
        world.restart()
    world.offset = world.log_start = 7
    with pytest.raises(FencedError, match=r"records 1 to 6 were deleted before they were read.*resync"):
        world.take(change("u", 20, {"id": 1}))
    row = world.row()
    assert row is not None
    assert row.version == 0


def test_a_mark_in_the_log_that_nobody_is_given_is_no_loss() -> None:
    world = World()
    world.take(change("c", 10, {"id": 1}))
    world.offset = 2
    world.take(change("u", 20, {"id": 1}))
    world.restart()
    world.offset = 4
    world.take(change("u", 30, {"id": 1}))
    row = world.row()
    assert row is not None
    assert row.version == 4


def test_a_new_epoch_may_begin_anywhere() -> None:
    world = World()
    world.take(change("c", 10, {"id": 1}))
    world.epoch = 1
    world.restart()
    world.offset = world.log_start = 50
    world.take(change("r", 20, {"id": 1}))
    row = world.row()
    assert row is not None
    assert row.version == version(1, 50)
