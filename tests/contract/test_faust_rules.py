"""What the agents lean on in faust-streaming 0.15.3 and aiokafka 0.14, private attributes included.

Each test fails if a release changes the ground under ingest/agents: then read docs/adr on Faust
before anything else. What needs a rebalance between two workers stands in the end-to-end tests: the
embedded log answers a follower wrongly.
"""

import asyncio
import inspect
import time
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.transport.consumer import Consumer, ConsumerThread

from ingest.agents.drainer import ack, assigned_generation, batches, release, still_owner
from ingest.agents.transport import EMBEDDED_FETCH_WAIT_MS
from tests.contract.faust_world import (
    DEADLINE_SECONDS,
    TOPIC,
    Body,
    app_on,
    committed,
    eventually,
    fill,
    log_of,
    values,
)

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


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


def test_a_partition_of_which_nothing_is_committed_is_set_back_to_its_beginning() -> None:
    """At each rebalance, for what was fetched around it is thrown away."""

    async def test(brokers: list[str]) -> None:
        offsets: list[int] = []

        async def body(app: Any, stream: Any) -> None:
            async for batch in batches(app, stream, 100, 0.001):
                offsets.extend(event.message.offset for event in batch)
                release(app, batch)

        await fill(brokers, values(20))
        async with app_on(brokers, body) as app:
            await eventually(lambda: len(offsets) == 20, "all records")
            await app.consumer.perform_seek()
            await eventually(lambda: len(offsets) >= 40, "all of them again")
        assert offsets[20:40] == list(range(20))
        assert await committed(brokers) == 0

    with log_of() as brokers:
        asyncio.run(test(brokers))


def test_a_partition_is_known_as_ours_without_any_record_in_it() -> None:
    async def test(brokers: list[str]) -> None:
        async def body(app: Any, stream: Any) -> None:
            async for batch in batches(app, stream, 10, 0.001):
                assert assigned_generation(app, TOPIC) == batch[0].message.generation_id
                ack(app, batch)

        async with app_on(brokers, body) as app:
            await eventually(lambda: assigned_generation(app, TOPIC) is not None, "the assignment")
            generation = assigned_generation(app, TOPIC)
            assert generation is not None
            assert still_owner(app, generation)
            assert assigned_generation(app, "another") is None
            await fill(brokers, values(1))
            await eventually(lambda: app.consumer._n_acked == 1, "a record of the same generation")
            app.flow_control.suspend()
            assert assigned_generation(app, TOPIC) is None

    with log_of() as brokers:
        asyncio.run(test(brokers))


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
