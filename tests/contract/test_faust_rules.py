"""What the agents lean on in faust-streaming 0.15.3 and aiokafka 0.14, private attributes included.

Each test fails if a release changes the ground under ingest/agents: then read docs/adr on Faust
before anything else. What needs a rebalance between two workers stands in the end-to-end tests: the
embedded log answers a follower wrongly.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.transport.consumer import Consumer, ConsumerThread
from faust.types import TP

from core.errors import TransientError
from core.settings import Ingest
from core.topics import TopicSpec
from ingest.agents.drainer import ack, batches, release, still_owner
from ingest.agents.transport import EMBEDDED_FETCH_WAIT_MS
from ingest.agents.watchdog import watch
from ingest.app import make_app, raw_bytes_topic
from ingest.embedded_log import EmbeddedLog

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TOPIC = "raw"
DEADLINE_SECONDS = 20.0
SETTINGS = Ingest(session_seconds=3)

Body = Callable[[Any, Any], Awaitable[None]]


@contextmanager
def log_of(partitions: int = 1) -> Iterator[list[str]]:
    log = EmbeddedLog()
    try:
        yield log.start([TopicSpec(TOPIC, partitions, "delete", "a test")])
    finally:
        log.stop()


@asynccontextmanager
async def app_on(brokers: Sequence[str], body: Body, group: str = "rules") -> AsyncIterator[Any]:
    app = make_app(group, brokers, SETTINGS, embedded=True)

    async def agent(stream: Any) -> None:
        await body(app, stream)

    app.agent(raw_bytes_topic(app, TOPIC), name="rules", concurrency=1)(agent)
    app.finalize()
    await app.start()
    try:
        yield app
    finally:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await app.stop()


async def fill(brokers: Sequence[str], values: Sequence[bytes | None], **more: Any) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=list(brokers))
    await producer.start()
    sent = [await producer.send(TOPIC, value, b"key", partition=0, **more) for value in values]
    await asyncio.gather(*sent)
    await producer.stop()


async def committed(brokers: Sequence[str], group: str = "rules") -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=list(brokers), group_id=group, enable_auto_commit=False)
    await consumer.start()
    found = await consumer.committed(TopicPartition(TOPIC, 0))
    await consumer.stop()
    return found or 0


async def eventually(true: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not true():  # noqa: ASYNC110 - Faust says nothing of its own
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not within {DEADLINE_SECONDS:.0f} s: {what}")


def values(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


def test_bytes_arrive_as_they_are_and_none_of_them_is_an_error() -> None:
    sent = [b"", b"null", b"\xff\xfe", None, b'{"__faust": {"ns": "os.system"}}']

    async def test(brokers: list[str]) -> None:
        got: list[Any] = []

        async def body(app: Any, stream: Any) -> None:
            async for batch in batches(app, stream, 10, 0.001):
                got.extend(batch)
                ack(app, batch)

        await fill(brokers, sent, headers=[("Faust-Ag-ReplyTo", b"elsewhere")])
        async with app_on(brokers, body):
            await eventually(lambda: len(got) == len(sent), "all records")
        assert [event.message.value for event in got] == sent
        assert {event.message.key for event in got} == {b"key"}
        assert list(got[0].message.headers) == [("Faust-Ag-ReplyTo", b"elsewhere")]
        assert await committed(brokers) == len(sent)

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_a_worker_leaves_nothing_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust of itself makes a folder for tables there, one for each consumer group."""

    async def test(brokers: list[str]) -> None:
        async def body(app: Any, stream: Any) -> None:
            async for batch in batches(app, stream, 10, 0.001):
                ack(app, batch)

        await fill(brokers, values(3))
        async with app_on(brokers, body) as app:
            assert app.started

    monkeypatch.chdir(tmp_path)
    with log_of() as brokers:
        asyncio.run(test(brokers))
    assert list(tmp_path.iterdir()) == []


def test_batches_take_what_is_queued_at_once_and_never_more_than_asked_for() -> None:
    async def test(brokers: list[str]) -> None:
        sizes: list[int] = []

        async def body(app: Any, stream: Any) -> None:
            async for batch in batches(app, stream, 50, 0.001):
                sizes.append(len(batch))
                ack(app, batch)

        await fill(brokers, values(500))
        async with app_on(brokers, body):
            await eventually(lambda: sum(sizes) == 500, "all records")
            await fill(brokers, values(1))
            await eventually(lambda: sizes[-1] == 1, "a lone record")
        assert max(sizes) == 50

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_nothing_is_committed_past_what_was_acknowledged() -> None:
    async def test(brokers: list[str]) -> None:
        done = 0

        async def body(app: Any, stream: Any) -> None:
            nonlocal done
            async for batch in batches(app, stream, 10, 0.001):
                if done == 30:
                    release(app, batch)
                    return
                ack(app, batch)
                done += len(batch)

        await fill(brokers, values(100))
        async with app_on(brokers, body):
            await eventually(lambda: done == 30, "three batches")
        assert await committed(brokers) == 30

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_a_stop_waits_for_a_batch_in_work_and_commits_it() -> None:
    async def test(brokers: list[str]) -> None:
        begun, done = asyncio.Event(), False

        async def body(app: Any, stream: Any) -> None:
            nonlocal done
            async for batch in batches(app, stream, 10, 0.001):
                begun.set()
                await asyncio.sleep(1.5)  # the work itself: longer than a tick of the commit
                ack(app, batch)
                done = True

        await fill(brokers, values(10))
        async with app_on(brokers, body):
            await begun.wait()
        assert done
        assert await committed(brokers) == 10

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_a_released_batch_holds_up_no_stop_and_is_read_again() -> None:
    async def test(brokers: list[str]) -> None:
        begun = asyncio.Event()
        got: list[bytes] = []

        async def hold(app: Any, stream: Any) -> None:
            async for batch in batches(app, stream, 10, 0.001):
                begun.set()
                generation = batch[-1].message.generation_id
                while still_owner(app, generation):  # noqa: ASYNC110 - as with an index that is away
                    await asyncio.sleep(0.01)
                release(app, batch)

        async def take(app: Any, stream: Any) -> None:
            async for batch in batches(app, stream, 10, 0.001):
                got.extend(event.message.value for event in batch)
                ack(app, batch)

        await fill(brokers, values(10))
        async with app_on(brokers, hold):
            await begun.wait()
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert await committed(brokers) == 0
        async with app_on(brokers, take):
            await eventually(lambda: len(got) >= 10, "the batch again")
        assert got == values(10)

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_a_full_queue_costs_no_second() -> None:
    """Faust sleeps one whenever every partition waits for room: 4,096 records a second at most."""

    async def test(brokers: list[str]) -> None:
        got = 0
        first = last = 0.0

        async def body(app: Any, stream: Any) -> None:
            nonlocal got, first, last
            async for batch in batches(app, stream, 500, 0.001):
                first = first or time.monotonic()
                await asyncio.sleep(0.03)  # slower than the fetch: the queue fills
                got += len(batch)
                ack(app, batch)
                last = time.monotonic()

        await fill(brokers, values(30_000))
        async with app_on(brokers, body):
            await eventually(lambda: got == 30_000, "all records")
        assert await committed(brokers) == 30_000
        assert last - first < 4

    with log_of() as brokers:
        asyncio.run(test(brokers))


class _Record:
    """What Faust uses of a fetched record."""

    timestamp, timestamp_type, headers, key, value, checksum = 0, 0, (), b"k", b"v", None
    serialized_key_size = serialized_value_size = 1
    topic, partition = TOPIC, 0

    def __init__(self, offset: int) -> None:
        self.offset = offset


def lone_consumer() -> tuple[Any, Any, TP]:
    """Not started: records are put into it by hand."""
    app = make_app("holes", ["127.0.0.1:1"], SETTINGS, embedded=True)
    consumer: Any = app.consumer
    consumer._thread.thread_loop.close()
    return app, consumer, TP(TOPIC, 0)


@pytest.mark.parametrize(
    "offsets",
    [
        list(range(50)),
        [0, 5, 6, 7],
        [0, 40],
        [3, 4, 9, 10, 25],
        [0, *range(2, 100, 2)],
        [1, 1000],
        [0, 1, 5, 6, 100],
    ],
)
def test_the_holes_of_a_compacted_topic_hold_up_no_commit(offsets: list[int]) -> None:
    """The consumer alone: the embedded log does not compact."""

    async def test() -> None:
        app, consumer, tp = lone_consumer()
        app.topics._acking_topics.add(TOPIC)
        given: list[Any] = []
        committing: list[int] = []

        async def getmany(timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - Faust's own
            for offset in offsets:
                yield tp, consumer._to_message(tp, _Record(offset))
            consumer._stopped.set()

        async def take(message: Any) -> None:
            given.append(message)

        consumer.getmany, consumer.callback = getmany, take
        await consumer._drain_messages(consumer)
        for message in given:
            message.ack(consumer)
            offset = consumer._new_offset(tp)
            if offset is not None:
                committing.append(offset)
                consumer._committed_offset[tp] = offset
        assert [message.offset for message in given] == offsets
        assert committing[-1] == offsets[-1] + 1
        acknowledged = zip(offsets, committing, strict=True)
        assert all(offset + 1 == commit for offset, commit in acknowledged), "one commit behind each"

    asyncio.run(test())


def test_a_record_in_work_behind_a_hole_is_not_committed() -> None:
    """As Faust ships it, a hole takes in the record behind it: committed before it is done."""

    async def test() -> None:
        _, consumer, tp = lone_consumer()
        await consumer._add_gap(tp, 11, 15)
        await Consumer._add_gap(consumer, tp, 21, 25)
        held = sorted((one.begin, one.end) for one in consumer._gap[tp])
        assert held == [(11, 15), (21, 26)], "the second is Faust's own: if it is mended, drop ours"

    asyncio.run(test())


def test_a_coordinators_refusal_reaches_the_watchdog() -> None:
    async def test(brokers: list[str]) -> None:
        async def body(app: Any, stream: Any) -> None:
            async for batch in batches(app, stream, 10, 0.001):
                ack(app, batch)

        async with app_on(brokers, body) as app:
            seeing = asyncio.create_task(watch(app, lambda: None, lambda: False, 60.0))
            await eventually(lambda: bool(app.consumer.assignment()), "the assignment")
            app.consumer._thread._consumer._coordinator._pending_exception = RuntimeError("refused")
            with pytest.raises(TransientError, match="refused"):
                await asyncio.wait_for(seeing, DEADLINE_SECONDS)

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_records_that_nobody_takes_are_seen_by_the_watchdog_unless_it_waits_rightly() -> None:
    async def test(brokers: list[str]) -> None:
        async def body(app: Any, stream: Any) -> None:
            await asyncio.Event().wait()

        rightly = True
        async with app_on(brokers, body) as app:
            await eventually(lambda: bool(app.consumer.assignment()), "the assignment")
            await fill(brokers, values(20_000))
            seeing = asyncio.create_task(watch(app, lambda: None, lambda: rightly, 1.0))
            done, _ = await asyncio.wait({seeing}, timeout=3)
            assert not done
            rightly = False
            with pytest.raises(TransientError, match="records wait"):
                await asyncio.wait_for(seeing, DEADLINE_SECONDS)

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_an_idle_worker_and_a_busy_one_are_not_stuck() -> None:
    async def test(brokers: list[str]) -> None:
        got = 0

        async def body(app: Any, stream: Any) -> None:
            nonlocal got
            async for batch in batches(app, stream, 500, 0.001):
                await asyncio.sleep(0.1)
                got += len(batch)
                ack(app, batch)

        async with app_on(brokers, body) as app:
            seeing = asyncio.create_task(watch(app, lambda: None, lambda: False, 1.5))
            await fill(brokers, values(10_000))
            await eventually(lambda: got == 10_000 or seeing.done(), "all records")
            done, _ = await asyncio.wait({seeing}, timeout=2)
            assert not done
            seeing.cancel()

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_the_attributes_that_the_agents_lean_on_exist() -> None:
    async def test(brokers: list[str]) -> None:
        ready = asyncio.Event()

        async def body(app: Any, stream: Any) -> None:
            assert stream.channel.queue is not None
            assert stream.should_stop is False
            ready.set()
            async for batch in batches(app, stream, 10, 0.001):
                ack(app, batch)

        async with app_on(brokers, body) as app:
            await asyncio.wait_for(ready.wait(), DEADLINE_SECONDS)
            await eventually(lambda: bool(app.consumer.assignment()), "the assignment")
            assert isinstance(app.consumer._thread, ConsumerThread)
            thread: Any = app.consumer._thread
            assert thread._consumer._fetch_max_wait_ms == EMBEDDED_FETCH_WAIT_MS
            assert app.consumer._unacked_messages is not None
            assert isinstance(app.consumer._n_acked, int)
            assert app.consumer._buffered_partitions == set()
            assert isinstance(app.rebalancing, bool)
            assert app.crashed is False
            state = thread._consumer._subscription.subscription.assignment
            assert {tp.topic for tp in state.tps} == {TOPIC}

    with log_of() as brokers:
        asyncio.run(test(brokers))
    assert faust.__version__ == "0.15.3"
    assert "await self.sleep(1)" in inspect.getsource(Consumer._wait_next_records)


def test_two_apps_live_in_one_event_loop() -> None:
    async def test(brokers: list[str]) -> None:
        got: dict[str, list[bytes]] = {"one": [], "two": []}

        def into(group: str) -> Body:
            async def body(app: Any, stream: Any) -> None:
                async for batch in batches(app, stream, 10, 0.001):
                    got[group].extend(event.message.value for event in batch)
                    ack(app, batch)

            return body

        await fill(brokers, values(100))
        async with app_on(brokers, into("one"), "one"), app_on(brokers, into("two"), "two"):
            await eventually(lambda: [len(one) for one in got.values()] == [100, 100], "both groups")
        assert got["one"] == got["two"] == values(100)

    with log_of() as brokers:
        asyncio.run(test(brokers))
