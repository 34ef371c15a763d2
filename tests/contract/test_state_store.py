"""The resolve agent's store on the embedded log: what is acknowledged, in which order, what is repaired."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from core.errors import FencedError, TransientError
from core.keys import RowKey
from core.state import Progress, StateRow, Truncate
from core.state_reader import StateReader
from core.state_table import StateTable
from core.topics import TopicSpec
from ingest.embedded_log import EmbeddedLog
from ingest.state_store import EncodedRow, Pulse, StateStore, partition_of

TOPIC = "shop.state.shop.public.articles"
PARTITIONS = 3
DEADLINE_SECONDS = 20.0


def row(number: int, version: int, body: str = "", *, deleted: bool = False) -> StateRow:
    return StateRow(RowKey.of({"id": number}), version, {"id": number, "body": body}, deleted=deleted)


def encoded(*rows: StateRow) -> list[EncodedRow]:
    return [EncodedRow.of(one) for one in rows]


def owner() -> None:
    """It is."""


class World:
    def __init__(self, brokers: list[str], store: StateStore, reader: StateReader, failed: list[Any]) -> None:
        self.brokers, self.store, self.reader, self.failed = brokers, store, reader, failed

    async def log(self) -> dict[int, list[Any]]:
        """What another process reads, from the first record on: states in their order, by partition."""
        found: dict[int, list[Any]] = {n: [] for n in range(PARTITIONS)}

        class Listening(StateTable):
            def apply(self, partition: int, offset: int, record: Any) -> list[StateRow]:
                found[partition].append(record)
                return super().apply(partition, offset, record)

        reader = StateReader(self.brokers, [TOPIC], on_rows=lambda *_: None, on_error=self.failed.append)
        reader.tables = {TOPIC: Listening()}
        await reader.start()
        await reader.caught_up()
        await reader.stop()
        assert not self.failed
        return found


@contextmanager
def log_of() -> Iterator[list[str]]:
    log = EmbeddedLog()
    try:
        yield log.start([TopicSpec(TOPIC, PARTITIONS, "compact", "a test")])
    finally:
        log.stop()


def in_world(test: Callable[[World], Awaitable[None]]) -> None:
    async def play(brokers: list[str]) -> None:
        failed: list[Any] = []
        producer = AIOKafkaProducer(
            bootstrap_servers=brokers, acks="all", enable_idempotence=True, max_batch_size=1 << 15
        )
        reader = StateReader(brokers, [TOPIC], on_rows=lambda *_: None, on_error=failed.append)
        await producer.start()
        await reader.start()
        try:
            store = StateStore(TOPIC, reader, producer, Pulse(60))
            async with asyncio.timeout(DEADLINE_SECONDS):
                await test(World(brokers, store, reader, failed))
        finally:
            await reader.stop()
            await producer.stop()

    with log_of() as brokers:
        asyncio.run(play(brokers))


def test_memory_and_log_hold_the_rows_in_their_partitions_and_progress_behind_them() -> None:
    rows = [row(n, n) for n in range(200)]

    async def test(world: World) -> None:
        progress = Progress(199, "0/10", 7, 8)
        await world.store.write(encoded(*rows), None, progress, owner)
        assert {one.version for one in world.store.table.rows()} == set(range(200))
        assert world.store.table.progress == dict.fromkeys(range(PARTITIONS), progress)
        log = await world.log()
        for number, records in log.items():
            assert records[-1] == progress
            assert records[:-1] == [
                one for one in rows if partition_of(one.key.canonical, PARTITIONS) == number
            ]

    in_world(test)


def test_a_write_of_many_batches_ends_with_truncate_and_progress_in_every_partition() -> None:
    rows = [row(n, n, "x" * 3000) for n in range(300)]  # 300 kB a partition, 32 kB a batch

    async def test(world: World) -> None:
        truncate, progress = Truncate(100), Progress(300)
        await world.store.write(encoded(*rows), truncate, progress, owner)
        for records in (await world.log()).values():
            assert records[-2:] == [truncate, progress]
            assert sum(isinstance(one, StateRow) for one in records) == len(records) - 2
        dead = {one.version for one in world.store.table.rows() if one.deleted}
        assert dead == set(range(100))

    in_world(test)


def test_offsets_in_memory_are_those_of_the_log() -> None:
    async def test(world: World) -> None:
        for turn in range(3):
            rows = [row(n, turn * 100 + n, "x" * 2000) for n in range(60)]
            await world.store.write(encoded(*rows), None, Progress(turn), owner)
        other = StateReader(world.brokers, [TOPIC], on_rows=lambda *_: None, on_error=world.failed.append)
        await other.start()
        await other.caught_up()
        await other.stop()
        mine = {key: (held.partition, held.offset) for key, held in world.store.table.items()}
        theirs = {key: (held.partition, held.offset) for key, held in other.tables[TOPIC].items()}
        assert mine == theirs
        assert len(mine) == 60

    in_world(test)


def test_a_refused_batch_raises_and_changes_no_memory() -> None:
    async def test(world: World) -> None:
        await world.store.write(encoded(row(1, 1)), None, Progress(1), owner)

        async def refuse(*_: Any, **__: Any) -> Any:
            done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            done.set_exception(MessageSizeTooLargeError())
            return done

        with (
            patch.object(AIOKafkaProducer, "send_batch", refuse),
            pytest.raises(TransientError, match="not ack"),
        ):
            await world.store.write(encoded(row(1, 2)), Truncate(3), Progress(3), owner)
        table = world.store.table
        assert [one.version for one in table.rows()] == [1]
        assert {mark.version for mark in table.progress.values()} == {1}
        assert table.truncate is None

    in_world(test)


def test_a_regression_is_seen_and_repaired_by_the_owner() -> None:
    async def test(world: World) -> None:
        store = world.store
        await store.write(encoded(row(1, 5, "new")), None, None, owner)
        zombie = encoded(row(1, 4, "old"))
        await store._send([(partition_of(zombie[0].key, PARTITIONS), zombie[0].key, zombie[0].value, [])], [])
        await store.catch_up()
        assert store.table.regressed == {zombie[0].key}
        assert await store.repair(owner) == 1
        assert not store.table.regressed
        (records,) = [found for found in (await world.log()).values() if found]
        assert [one.version for one in records] == [5, 4, 5]
        assert await store.repair(owner) == 0

    in_world(test)


def test_an_expired_grave_is_removed_and_the_topic_does_not_end_with_a_tombstone() -> None:
    async def test(world: World) -> None:
        store, grave = world.store, row(1, 5, deleted=True)
        await store.write(encoded(grave), None, Progress(6), owner)
        await store.bury([grave], owner)
        assert store.table.get(grave.key.canonical) is None
        records = (await world.log())[partition_of(grave.key.canonical, PARTITIONS)]
        assert [type(one).__name__ for one in records] == ["StateRow", "Progress", "Removed", "Progress"]
        assert records[-1] == Progress(6)

    in_world(test)


def test_a_grave_that_was_written_again_meanwhile_is_not_removed() -> None:
    """The tombstone would stand behind the new row, and compaction would keep the tombstone only."""

    async def test(world: World) -> None:
        store, grave = world.store, row(1, 5, deleted=True)
        await store.write(encoded(grave), None, None, owner)
        await store.write(encoded(row(1, 6, "back")), None, None, owner)
        await store.bury([grave], owner)
        records = (await world.log())[partition_of(grave.key.canonical, PARTITIONS)]
        assert [type(one).__name__ for one in records] == ["StateRow", "StateRow"]

    in_world(test)


def test_who_is_not_the_owner_writes_nothing() -> None:
    class LostError(Exception):
        pass

    def lost() -> None:
        raise LostError

    async def test(world: World) -> None:
        store = world.store
        with pytest.raises(LostError):
            await store.write(encoded(row(1, 1)), None, Progress(1), lost)
        with pytest.raises(LostError):
            await store.bury([row(1, 1, deleted=True)], lost)
        assert all(not records for records in (await world.log()).values())

    in_world(test)


def test_a_frozen_process_sees_that_it_slept_before_it_writes() -> None:
    pulse = Pulse(0.2)
    pulse.check()
    time.sleep(0.2)  # the freeze itself
    with pytest.raises(FencedError, match="stood still"):
        pulse.check()


def test_a_process_that_joins_for_longer_than_a_session_was_not_frozen() -> None:
    pulse = Pulse(1.0)
    time.sleep(0.8)  # the joining itself

    async def test() -> None:
        beating = asyncio.create_task(pulse.run())
        done, _ = await asyncio.wait({beating}, timeout=0.2)
        assert not done
        beating.cancel()

    asyncio.run(test())


def test_an_older_truncate_and_an_older_progress_behind_the_newest_are_repaired() -> None:
    """A write of who owned it before, long on its way: compaction would keep it, and the rows come back."""

    async def test(world: World) -> None:
        store = world.store
        await store.write(encoded(row(1, 20)), Truncate(10), None, owner)
        await store.write([], Truncate(30), Progress(31), owner)
        await store._send([], [(1, Truncate(10)), (2, Progress(11))])
        await store.catch_up()
        assert store.table.regressed_marks == [(1, Truncate(30)), (2, Progress(31))]
        assert await store.repair(owner) == 2
        log = await world.log()
        assert log[1][-1] == Truncate(30)
        assert log[2][-1] == Progress(31)
        await store.catch_up()
        assert await store.repair(owner) == 0

    in_world(test)


def test_what_the_owner_wrote_itself_is_not_taken_for_regressed_while_it_is_read_back() -> None:
    async def test(world: World) -> None:
        for turn in range(50):
            await world.store.write(encoded(row(turn, turn)), Truncate(turn + 1), Progress(turn + 1), owner)
            assert not world.store.table.regressed_marks
        await world.store.catch_up()
        assert not world.store.table.regressed_marks

    in_world(test)
