"""The state view over a real log: it loads, follows, and finds rows by the keys that people write."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from core.clock import SystemClock
from core.errors import ConfigurationError, TransientError
from core.keys import RowKey, TableId
from core.metrics import STATE_UNREADABLE
from core.settings import StateView as ViewSettings
from core.state import Progress, Removed, StateRow, Truncate, encode_state, encode_tombstone
from core.topics import TopicSpec, state_topic
from embed.model import Scope
from ingest.embedded_log import EmbeddedLog
from retrieve.raw_ends import KafkaRawEnds
from retrieve.state_view import StateView

TABLE = TableId("shop", "public.orders")
TOPIC = state_topic("app", TABLE)
VIEWS = {"by_customer": ViewSettings(table=str(TABLE), by=["customer"], order_by="-id", limit=2)}


@pytest.fixture
def brokers() -> Iterator[list[str]]:
    log = EmbeddedLog()
    yield log.start(
        [TopicSpec(TOPIC, 2, "compact", "rows"), TopicSpec("shop.public.orders", 1, "delete", "raw")]
    )
    log.stop()


def row(key: object, version: int, customer: object, *, deleted: bool = False) -> StateRow:
    return StateRow(RowKey.of({"id": key}), version, {"id": key, "customer": customer}, deleted=deleted)  # type: ignore[dict-item]


async def send(
    producer: AIOKafkaProducer, *records: StateRow | Progress | Truncate, partition: int = 0
) -> None:
    for record in records:
        key, value = encode_state(record)
        await producer.send_and_wait(TOPIC, value, key=key, partition=partition)


def run(brokers: list[str], test: Callable[[StateView, AIOKafkaProducer], Awaitable[None]]) -> None:
    async def main() -> None:
        failures: list[BaseException] = []
        view = StateView("app", brokers, [TABLE], VIEWS, on_error=failures.append)
        producer = AIOKafkaProducer(bootstrap_servers=brokers)
        await producer.start()
        try:
            await test(view, producer)
        finally:
            await view.stop()
            await producer.stop()
        assert failures == []

    asyncio.run(main())


def soon() -> float:
    return SystemClock().monotonic() + 20


def test_it_loads_what_stands_and_follows_what_comes(brokers: list[str]) -> None:
    async def test(view: StateView, producer: AIOKafkaProducer) -> None:
        await send(producer, row(1, 1, 7), row(2, 2, 7), Progress(2))
        await send(producer, row(3, 3, 7), partition=1)
        assert not view.ready
        await view.start()
        assert await view.wait_for(lambda: view.ready, soon())
        assert view.loading.total == 4
        assert [one["id"] for one in view.entry("by_customer", "7", Scope(None))] == [3, 2]
        assert not view.covers(TABLE, 2)  # one partition has told no progress yet
        await send(producer, Progress(3), partition=1)
        assert await view.wait_for(lambda: view.covers(TABLE, 2), soon())
        assert not view.covers(TABLE, 3)

        await send(producer, row(2, 4, 8), row(1, 5, 7, deleted=True))
        assert await view.wait_for(
            lambda: (one := view.row(TABLE, _key(1))) is not None and one.deleted, soon()
        )
        assert [one["id"] for one in view.entry("by_customer", "7", Scope(None))] == [3]
        assert [one["id"] for one in view.entry("by_customer", "8", Scope(None))] == [2]
        await send(producer, row(2, 3, 7))  # an older one, later: a worker that was frozen
        key, value, headers = encode_tombstone(Removed(RowKey.of({"id": 1}), 5))
        await producer.send_and_wait(TOPIC, value, key=key, headers=headers, partition=0)
        assert await view.wait_for(lambda: view.row(TABLE, _key(1)) is None, soon())
        assert view.entry("by_customer", "8", Scope(None))[0]["id"] == 2
        await send(producer, Truncate(9))
        await send(producer, Truncate(9), partition=1)
        assert await view.wait_for(lambda: not view.entry("by_customer", "7", Scope(None)), soon())
        assert view.entry("by_customer", "8", Scope(None)) == ()

    run(brokers, test)


def test_a_record_that_cannot_be_read_is_passed_counted_and_named(brokers: list[str]) -> None:
    async def test(view: StateView, producer: AIOKafkaProducer) -> None:
        before = STATE_UNREADABLE.labels(TOPIC)._value.get()
        await send(producer, row(1, 1, 7))
        strays: list[tuple[bytes | None, bytes | None]] = [
            (b"stray", b"hello"),
            (None, b"hello"),
            (_key(1), None),
            (_key(1), b'{"f":1,"v":-1}'),
        ]
        for key, value in strays:
            await producer.send_and_wait(TOPIC, value, key=key, partition=0)
        await send(producer, row(2, 2, 7), Progress(2))
        with capture_logs() as logs:
            await view.start()
            assert await view.wait_for(lambda: view.ready, soon())
        assert [one["id"] for one in view.entry("by_customer", "7", Scope(None))] == [2, 1]
        assert STATE_UNREADABLE.labels(TOPIC)._value.get() == before + 4
        told = [(one["topic"], one["partition"], one["offset"]) for one in logs if "todo" in one]
        assert told == [(TOPIC, 0, offset) for offset in (1, 2, 3, 4)]

    run(brokers, test)


def test_a_record_of_a_newer_release_ends_the_view_and_is_named(brokers: list[str]) -> None:
    async def main() -> None:
        failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        view = StateView("app", brokers, [TABLE], VIEWS, on_error=failed.set_result)
        producer = AIOKafkaProducer(bootstrap_servers=brokers)
        await producer.start()
        await producer.send_and_wait(TOPIC, b'{"f":99,"v":1}', key=_key(1), partition=1)
        await producer.stop()
        await view.start()
        failure = await asyncio.wait_for(failed, 20)
        await view.stop()
        assert isinstance(failure, ConfigurationError)
        assert f"{TOPIC}, partition 1, offset 0" in str(failure)

    asyncio.run(main())


def test_a_wait_ends_at_its_deadline(brokers: list[str]) -> None:
    async def test(view: StateView, producer: AIOKafkaProducer) -> None:
        await view.start()
        begun = SystemClock().monotonic()
        assert not await view.wait_for(lambda: False, begun + 0.05)
        assert SystemClock().monotonic() - begun < 5

    run(brokers, test)


def test_keys_are_found_as_people_write_them(brokers: list[str]) -> None:
    async def test(view: StateView, producer: AIOKafkaProducer) -> None:
        assert view.key_of(TABLE, "1") is None  # nothing is known of this table yet
        await send(producer, row("42", 1, 7), row("a b", 2, 7))
        await view.start()
        assert await view.wait_for(lambda: view.ready, soon())
        for text in ("42", '"42"'):
            found = view.key_of(TABLE, text)
            assert found == RowKey.of({"id": "42"})
        for key in ("42", "a b"):
            assert view.key_of(TABLE, RowKey.of({"id": key}).text) == RowKey.of({"id": key})
        await send(producer, row(7, 3, 7))  # the key column was retyped
        assert await view.wait_for(lambda: view.row(TABLE, _key(7)) is not None, soon())
        assert view.key_of(TABLE, "7") == RowKey.of({"id": 7})
        assert view.key_of(TABLE, "42") == RowKey.of({"id": "42"})

    run(brokers, test)


def test_a_number_too_large_for_its_column_is_no_key(brokers: list[str]) -> None:
    async def test(view: StateView, producer: AIOKafkaProducer) -> None:
        await send(producer, row(1.5, 1, 7))
        await view.start()
        assert await view.wait_for(lambda: view.ready, soon())
        assert view.key_of(TABLE, "2") == RowKey.of({"id": 2.0})
        for text in ("9" * 400, "9" * 5000, "[" * 3000):
            found = view.key_of(TABLE, text)
            assert found is None or view.row(TABLE, found.canonical) is None

    run(brokers, test)


def test_a_broker_that_is_away_is_worth_another_try() -> None:
    async def main() -> None:
        view = StateView("app", ["127.0.0.1:1"], [TABLE], {}, on_error=lambda _: None)
        with pytest.raises(TransientError):
            await view.start()

    asyncio.run(main())


def test_ends_of_raw_topics(brokers: list[str]) -> None:
    async def main() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=brokers)
        await producer.start()
        ends = KafkaRawEnds(brokers)
        assert await ends.ends(["shop.public.orders"]) == {"shop.public.orders": 0}
        for _ in range(3):
            await producer.send_and_wait("shop.public.orders", b"{}")
        assert await ends.ends(["shop.public.orders"]) == {"shop.public.orders": 3}
        await ends.stop()
        await ends.stop()
        await producer.stop()
        with pytest.raises(TransientError):
            await KafkaRawEnds(["127.0.0.1:1"]).ends(["shop.public.orders"])

    asyncio.run(main())


def _key(value: int) -> bytes:
    return RowKey.of({"id": value}).canonical
