"""What one batch of raw records becomes: lengths, key shapes, the brake, and positions after a crash."""

import asyncio
import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from core.clock import FixedClock
from core.errors import ConfigurationError, FencedError, TransientError
from core.keys import RowKey, TableId
from core.settings import Ingest, Source
from core.state import Progress, StateRow, Truncate
from core.state_table import StateTable
from core.version import version
from ingest.agents.resolve_agent import LostPartitionError, ResolveAgent
from ingest.dead_letters import MOST_BYTES, DeadLetter
from ingest.state_store import EncodedRow

TABLE = TableId("shop", "public.notes")
SOURCE = Source(prefix="shop", tables=["public.notes"])


class Store:
    """A state topic of two partitions that takes everything."""

    partitions = 2

    def __init__(self) -> None:
        self.table = StateTable()
        self.offset = 0

    async def catch_up(self) -> None:
        """It is."""

    async def repair(self, check_owner: Callable[[], None]) -> None:
        check_owner()

    async def write(
        self,
        rows: Sequence[EncodedRow],
        truncate: Truncate | None,
        progress: Progress | None,
        check_owner: Callable[[], None],
    ) -> None:
        check_owner()
        for mark in (*(one.row for one in rows), truncate, progress):
            for partition in range(1 if isinstance(mark, StateRow) else self.partitions):
                if mark is not None:
                    self.offset += 1
                    self.table.apply(partition, self.offset, mark)


class World:
    """An agent, restarted at will, over one store."""

    def __init__(self, epoch: int = 0, **ingest: Any) -> None:
        self.epoch, self.ingest = epoch, Ingest.model_validate(ingest)
        self.store = Store()
        self.parked: list[DeadLetter] = []
        self.offset = self.log_start = 0
        self.restart()

    def restart(self) -> None:
        store: Any = self.store
        self.agent = ResolveAgent(
            TABLE,
            SOURCE,
            self.epoch,
            store,
            self.park,
            self.ingest,
            FixedClock(),
            lambda _: None,
            lambda: self.log_start,
        )
        self.agent._app = SimpleNamespace(
            consumer_generation_id=1,
            flow_control=SimpleNamespace(is_active=lambda: True),
            consumer=SimpleNamespace(assignment=lambda: {("shop.public.notes", 0)}),
        )

    async def park(self, letters: Sequence[DeadLetter]) -> None:
        self.parked += letters

    def take(self, *values: bytes | dict[str, Any], key: object = None) -> None:
        """One batch; it stays unread where it was refused."""
        batch = self.batch(*values, key=key)
        asyncio.run(self.agent._handle(batch))
        self.offset += len(batch)

    def batch(self, *values: bytes | dict[str, Any], key: object = None) -> list[Any]:
        batch = []
        for place, value in enumerate(values):
            message = SimpleNamespace(
                topic="shop.public.notes",
                partition=0,
                offset=self.offset + place,
                timestamp=0.0,
                key=json.dumps(key or {"id": 1}).encode(),
                value=value if isinstance(value, bytes) else json.dumps(value).encode(),
                headers=(),
                generation_id=self.agent._app.consumer_generation_id,
            )
            batch.append(SimpleNamespace(message=message))
        return batch

    def row(self, key: object = None) -> StateRow | None:
        return self.store.table.get(RowKey.of(key or {"id": 1}).canonical)  # type: ignore[arg-type]


def change(op: str, lsn: int, after: dict[str, Any] | None = None) -> dict[str, Any]:
    source = {"connector": "postgresql", "schema": "public", "table": "notes", "lsn": lsn}
    return {
        "op": op,
        "after": after,
        "source": {**source, "sequence": json.dumps([str(lsn - 1), str(lsn)]), "ts_ms": lsn * 1000},
    }


UNREADABLE = b'{"schema": {"type": "struct"}, "payload": {"op": "c"}}'


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


def test_progress_after_a_torn_write_says_no_more_than_was_written() -> None:
    """A crash in a write: one partition has the batch to its end, the other only the one before."""
    world = World()
    old, new = Progress(9, "0/9", 9_000), Progress(99, "0/63", 99_000)
    world.store.table.progress = {0: old, 1: new}
    world.offset = 10
    world.take(change("c", 10, {"id": 1}))
    first = world.store.table.progress[0]
    assert (first.version, first.position, first.committed_at) == (10, "0/A", 10_000)
    # Once the log has been read to where the other one was, what it says holds again.
    world.offset = 99
    world.take(b'{"schema": null}')
    again = world.store.table.progress[0]
    assert (again.version, again.position, again.committed_at) == (99, "0/63", 99_000)


def test_progress_that_one_partition_never_had_is_nothing() -> None:
    world = World()
    world.store.table.progress = {1: Progress(99, "0/63", 99_000)}
    world.take(b'{"op": "m"}')
    assert (world.store.table.progress[0].position, world.store.table.progress[0].committed_at) == ("", 0)


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


def snapshot_row(number: int, lsn: int, body: str = "") -> dict[str, Any]:
    made = change("r", lsn, {"id": number, "body": body})
    made["source"] |= {"sequence": json.dumps([None, str(lsn)]), "snapshot": "true", "name": "shop"}
    return made


def test_a_snapshot_that_begins_anew_is_known_after_a_restart() -> None:
    world = World()
    for number in (1, 2):
        world.take(snapshot_row(number, 100), key={"id": number})
        world.restart()
    for number in (2, 3):
        world.take(snapshot_row(number, 200), key={"id": number})
        world.restart()
    rows = [world.row({"id": number}) for number in (1, 2, 3)]
    assert [row is not None and not row.deleted for row in rows] == [False, True, True]
    assert [world.store.table.dead_below(partition) for partition in range(2)] == [2, 2]


@pytest.mark.parametrize("write", [1, 2])
def test_a_snapshot_that_begins_anew_survives_a_crash_in_its_first_write(
    write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first row may be there without its truncate, or its truncate without progress."""
    world = World()
    world.take(snapshot_row(1, 100))
    whole = world.store.write
    writes = 0

    async def torn(
        rows: Sequence[EncodedRow],
        truncate: Truncate | None,
        progress: Progress | None,
        check_owner: Callable[[], None],
    ) -> None:
        nonlocal writes
        writes += 1
        if writes == write:
            await whole(rows, None, None, check_owner)
            raise TransientError("the broker went away")
        await whole(rows, truncate, progress, check_owner)

    monkeypatch.setattr(world.store, "write", torn)
    with pytest.raises(TransientError):
        world.take(snapshot_row(2, 200), key={"id": 2})
    world.restart()
    world.take(snapshot_row(2, 200), key={"id": 2})
    first, second = world.row({"id": 1}), world.row({"id": 2})
    assert first is not None
    assert second is not None
    assert (first.deleted, second.deleted) == (True, False)
    assert [world.store.table.dead_below(partition) for partition in range(2)] == [1, 1]


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
