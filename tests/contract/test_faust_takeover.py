"""A worker that had nothing to do is given a partition: Faust's consumer, fed by hand, without a broker."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

import pytest
from faust.types import TP

from ingest.agents.drainer import ack, batches
from ingest.app import make_app, raw_bytes_topic
from tests.contract.faust_world import SETTINGS, TOPIC, eventually

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

RECORDS: Final = 5000
FETCHED: Final = 4000
TURNS: Final = 400
"""Of the event loop, at most, in which the seek waits for the broker."""


class _Broker:
    """What Faust asks of its consumer's thread: one partition, of which `committed` records are done.

    A seek takes until something is in the queue `delivered`, and not all of it.
    """

    def __init__(self, committed: int | None, delivered: Any) -> None:
        self.committed, self._position, self._delivered = committed, committed or 0, delivered
        self.assigned: set[TP] = set()
        self.seeking = asyncio.Event()

    def assignment(self) -> set[TP]:
        return set(self.assigned)

    def highwater(self, _: TP) -> int:
        return RECORDS

    async def getmany(self, active: Any, timeout: float) -> Mapping[TP, list[Any]]:  # noqa: ASYNC109 - Faust's own
        await asyncio.sleep(0)
        first = self._position
        self._position = min(first + FETCHED, RECORDS)
        if first == self._position:
            await asyncio.sleep(0.01)
            return {}
        return {TP(TOPIC, 0): [_record(offset) for offset in range(first, self._position)]}

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        self.seeking.set()
        for _ in range(TURNS):
            if self._delivered.qsize():
                break
            await asyncio.sleep(0)
        self._position = self.committed or 0
        return {TP(TOPIC, 0): self.committed}


def _record(offset: int) -> Any:
    return SimpleNamespace(
        topic=TOPIC,
        partition=0,
        offset=offset,
        timestamp=1,
        timestamp_type=0,
        headers=(),
        key=b"k",
        value=b"v",
        checksum=None,
        serialized_key_size=1,
        serialized_value_size=1,
    )


class _Fetcher:
    _stopped = asyncio.Event()

    async def maybe_start(self) -> None:
        pass


async def _assigned(app: Any, generation: int, partitions: set[TP]) -> None:
    """As Faust does at the end of a rebalance."""
    app.consumer_generation_id = generation
    await app.consumer.on_partitions_assigned(partitions, generation)
    app.tables.recovery.signal_recovery_start.clear()
    await app.tables.recovery._resume_streams(generation)


@pytest.mark.parametrize("committed", [None, 1000])
def test_a_worker_that_had_no_partition_skips_no_record_of_its_first(committed: int | None) -> None:
    """Faust leaves the flow of such a worker on: it delivers what it fetches before it is set back."""

    async def test() -> None:
        app: Any = make_app("idle", ["127.0.0.1:1"], SETTINGS, embedded=True)
        topic = raw_bytes_topic(app, TOPIC)
        app.finalize()
        consumer = app.consumer
        consumer._thread.thread_loop.close()
        broker = consumer._thread = _Broker(committed, topic.queue)
        app._fetcher = _Fetcher()
        app.topics.add(topic)
        await app.topics._update_indices()
        app.topics._subscription_done = None
        stream = SimpleNamespace(channel=SimpleNamespace(queue=topic.queue), should_stop=False)
        seen: list[int] = []

        async def agent() -> None:
            async for batch in batches(app, stream, 500, 0.001):
                seen.extend(event.message.offset for event in batch)
                ack(app, batch)

        async def drain() -> None:
            await broker.seeking.wait()
            await consumer._drain_messages(_Fetcher())

        tasks = [asyncio.create_task(work()) for work in (agent, drain)]
        await _assigned(app, 1, set())
        await consumer.on_partitions_revoked(set())
        broker.assigned = {TP(TOPIC, 0)}
        await _assigned(app, 2, broker.assigned)
        await eventually(lambda: bool(seen) and seen[-1] == RECORDS - 1, "the last record")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(set(seen)) == list(range(committed or 0, RECORDS))

    asyncio.run(test())


def test_what_is_taken_away_while_it_is_set_back_is_left_alone() -> None:
    """A second rebalance begins while the first one's offsets are asked for."""
    kept, lost, fresh = (TP(TOPIC, number) for number in range(3))

    class Shrinking:
        def __init__(self) -> None:
            self.assigned, self.sought, self.begun = {kept, lost, fresh}, dict[TP, int](), set[TP]()

        def assignment(self) -> set[TP]:
            return set(self.assigned)

        async def committed(self, partition: TP) -> int | None:
            self.assigned.discard(lost)
            return None if partition == fresh else 7

        def seek(self, partition: TP, offset: int) -> None:
            assert partition in self.assigned, "aiokafka raises IllegalStateError"
            self.sought[partition] = offset

        async def seek_to_beginning(self, *partitions: TP) -> None:
            assert self.assigned.issuperset(partitions)
            self.begun.update(partitions)

    async def test() -> None:
        app: Any = make_app("shrinking", ["127.0.0.1:1"], SETTINGS, embedded=True)
        thread = app.consumer._thread
        thread.thread_loop.close()
        consumer = thread._consumer = Shrinking()
        assert await thread._seek_to_committed() == {kept: 7, fresh: None}
        assert (consumer.sought, consumer.begun) == ({kept: 7}, {fresh})

    asyncio.run(test())
