"""What one batch of raw records becomes: lengths, key shapes, the brake, and whose batch it is."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from core.clock import FixedClock
from core.errors import ConfigurationError, FencedError
from core.keys import RowKey
from core.state import Progress, StateRow, Truncate
from core.version import version
from ingest.agents.resolve_agent import LostPartitionError, ResolveAgent
from ingest.dead_letters import MOST_BYTES, DeadLetter
from tests.unit.resolve_agent_world import UNREADABLE, World, change, snapshot_row


def test_a_delete_is_never_set_aside_for_the_length_of_what_it_carries() -> None:
    world = World()
    long = {"id": 1, "body": "x" * (MOST_BYTES - 130)}
    world.take({**change("r", 9, long), "source": {"connector": "postgresql", "lsn": 9}})
    assert world.row() is not None
    assert world.parked == []
    world.take(change("d", 2**44))
    row = world.row()
    assert row is not None
    assert (row.deleted, row.tainted, row.columns, world.parked) == (True, True, {}, [])
    assert row.version == 1


def test_a_row_that_grew_too_long_by_what_it_carries_is_set_aside_and_taints() -> None:
    world = World()
    world.take(change("c", 10, {"id": 1, "body": "x" * (MOST_BYTES // 2), "title": "old"}))
    title = "y" * (MOST_BYTES // 2)
    world.take(change("u", 20, {"id": 1, "body": "__debezium_unavailable_value", "title": title}))
    row = world.row()
    assert row is not None
    assert (row.columns["title"], row.deleted, row.tainted) == ("old", False, True)
    assert [type(letter.error).__name__ for letter in world.parked] == ["LimitError"]


@pytest.mark.parametrize("truncated", [True, False])
def test_a_new_epoch_takes_the_shape_of_its_own_keys(truncated: bool) -> None:
    """After a change of the primary key, what an older epoch knew must not outlive the resync."""
    world = World()
    for number in range(3):
        key = {"id": number}
        world.take(change("c", 10 + number, key), key=key)
    world.epoch = 1
    if truncated:
        for partition in range(2):
            world.store.table.apply(partition, 99, Truncate(version(1, 0)))
    world.restart()
    world.take(change("r", 20, {"uid": 5}), key={"uid": 5})
    assert world.parked == []
    assert world.row({"uid": 5}) is not None
    world.restart()
    world.take(change("r", 21, {"id": 5}), key={"id": 5})
    assert "run `tailrace resync`" in str(world.parked[0].error)


def test_each_start_with_a_wrong_set_up_stops_before_it_sets_anything_aside() -> None:
    world = World()
    for _ in range(5):
        world.restart()
        with pytest.raises(ConfigurationError, match="bad set-up"):
            world.take(*[UNREADABLE] * 500)
    assert world.parked == []
    assert world.store.table.progress == {}


def test_small_batches_are_judged_together() -> None:
    world = World()
    for _ in range(3):
        world.take(*[UNREADABLE] * 30)
    with pytest.raises(ConfigurationError, match="bad set-up"):
        world.take(*[UNREADABLE] * 30)
    assert len(world.parked) == 90


def test_bad_records_among_good_ones_stop_nothing() -> None:
    world = World()
    for start in range(0, 3000, 300):
        good = [change("c", start + number + 10, {"id": 1}) for number in range(180)]
        world.take(*[UNREADABLE] * 120, *good)
    assert len(world.parked) == 1200


@pytest.mark.parametrize("sign", [Truncate(version(4, 0)), Progress(version(4, 7)), "row"])
def test_a_worker_of_an_older_epoch_writes_nothing(sign: Truncate | Progress | str) -> None:
    world = World(epoch=3)
    row = StateRow(RowKey.of({"id": 9}), version(4, 7), {"id": 9})
    world.store.table.apply(0, 0, row if isinstance(sign, str) else sign)
    with pytest.raises(FencedError, match=r"epoch 4.*began in epoch 3.*resync"):
        world.take(change("c", 10, {"id": 1}))
    assert world.row() is None


def test_an_epoch_that_begins_while_a_worker_runs_ends_it_before_its_next_write() -> None:
    world = World(epoch=3)
    world.take(change("c", 10, {"id": 1}))
    world.store.table.apply(0, 99, Truncate(version(4, 0)))
    with pytest.raises(FencedError, match="epoch 4"):
        world.take(change("u", 11, {"id": 1}))


def test_a_batch_and_maintenance_that_both_take_the_table_over_do_it_in_turns() -> None:
    world = World()
    catching_up = 0
    met = False

    async def catch_up() -> None:
        nonlocal catching_up, met
        catching_up += 1
        met = met or catching_up > 1
        await asyncio.sleep(0)
        catching_up -= 1

    async def test() -> None:
        batch = world.batch(change("c", 10, {"id": 1}))
        await asyncio.gather(world.agent.maintain(), world.agent._handle(batch), world.agent.maintain())

    world.store.catch_up = catch_up  # type: ignore[method-assign]  # one that takes its time
    asyncio.run(test())
    assert not met
    assert world.row() is not None


def test_a_batch_of_a_generation_that_is_over_is_not_taken_over_for() -> None:
    world = World()
    batch = world.batch(change("c", 10, {"id": 1}))
    world.agent._app.consumer_generation_id = 2
    with pytest.raises(LostPartitionError):
        asyncio.run(world.agent._handle(batch))
    assert world.agent._generation is None


def test_a_table_is_not_maintained_by_who_was_not_given_it() -> None:
    world = World()
    world.agent._app.consumer = SimpleNamespace(assignment=lambda: {("shop.public.other", 0)})
    asyncio.run(world.agent.maintain())
    assert world.agent._generation is None


def test_a_batch_that_a_rebalance_takes_away_is_counted_once_it_is_written() -> None:
    """Bad records among good ones, read again after each of many rebalances: still the same few."""
    world = World()
    values: list[bytes | dict[str, Any]] = [UNREADABLE] * 70
    values += [change("c", 10 + number, {"id": 1}) for number in range(50)]
    park, lost = world.park, 20

    async def losing(letters: Sequence[DeadLetter]) -> None:
        world.agent._app.consumer_generation_id += 1 if lost else 0  # the group meets before the write
        await park(letters)

    world.agent._park = losing
    while lost:
        with pytest.raises(LostPartitionError):
            world.take(*values)
        lost -= 1
    world.take(*values)
    assert world.row() is not None


def test_a_row_that_is_too_long_begins_a_snapshot_too() -> None:
    world = World()
    world.take(snapshot_row(1, 100))
    world.take(snapshot_row(2, 200, "x" * MOST_BYTES), key={"id": 2})
    row = world.row({"id": 1})
    assert row is not None
    assert row.deleted
    assert len(world.parked) == 1


def expired(agent: ResolveAgent) -> list[StateRow]:
    agent._expired()  # begins the walk
    return agent._expired()


def test_a_truncated_row_has_a_grave_for_as_long_as_a_deleted_one() -> None:
    """However long it had stood there: a late write of it must meet the grave, and the fence in the index."""
    world, clock = World(), FixedClock()
    world.take(change("c", 10, {"id": 1}))
    clock.advance(100 * 3600)
    world.agent._clock = clock
    world.take(change("t", 20))
    clock.advance(world.ingest.grave_hours * 3600 - 1)
    assert expired(world.agent) == []
    clock.advance(120)
    assert [row.deleted for row in expired(world.agent)] == [True]


def test_what_was_resolved_in_vain_is_not_told_as_progress() -> None:
    """The flow stops while partitions are set back, and goes on in the same generation of the group."""
    world, flows = World(), [True]
    world.agent._app.flow_control.is_active = lambda: flows[0]
    world.take(change("c", 10, {"id": 1}))

    async def park(_: Sequence[DeadLetter]) -> None:
        flows[0] = False

    world.agent._park = park
    with pytest.raises(LostPartitionError):
        world.take(change("u", 20, {"id": 1}), change("u", 30, {"id": 1}), UNREADABLE)
    flows[0] = True
    world.take(change("u", 20, {"id": 1}))
    told = {one.committed_at for one in world.store.table.progress.values()}
    assert told == {20_000}


def test_what_is_resolved_is_on_its_way_to_the_index_and_goes_before_a_build() -> None:
    world = World()
    seen: list[bool] = []
    handled = world.agent._resolve

    def resolve(*given: Any) -> Any:
        seen.append(world.priority.expected)
        return handled(*given)

    world.agent._resolve = resolve  # type: ignore[method-assign, assignment]
    assert not world.priority.expected
    world.take(change("c", 10, {"id": 1}))
    assert seen == [True]
    assert world.priority.expected, "until the index agent has it"
