"""A log with one generation that answers, and commands that write their wishes into it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaProducer

from core.errors import TransientError
from core.keys import TableId
from core.settings import Settings
from core.topics import generations_topic, required_topics, state_topic
from ingest.embedded_log import EmbeddedLog
from ingest.generations import Aliased, Generation, Pointer, Record, encode_record
from ingest.registry import RegistryTail, RegistryWriter, write_registry
from tailrace.reindex.control import Control, configured

PARTITIONS = 2


def settings(brokers: list[str], text: str = "{{ body }}", dimensions: int = 64) -> Settings:
    return Settings.model_validate(
        {
            "app": "shop",
            "log": {"kind": "kafka", "brokers": brokers},
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing", "dimensions": dimensions},
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
            "documents": {"articles": {"table": "shop.public.articles", "text": text}},
            "ingest": {"state_partitions": PARTITIONS},
        }
    )


STATE = state_topic("shop", TableId("shop", "public.articles"))
FIRST = Generation("articles", 1, "running", configured(settings(["none:1"]), "articles"))


async def record(brokers: list[str], *records: Record) -> None:
    await write_registry(brokers, generations_topic("shop"), [encode_record(one) for one in records])


def in_log(test: Callable[[list[str]], Awaitable[None]]) -> None:
    log = EmbeddedLog()
    try:
        brokers = log.start(required_topics(settings(["none:1"])))

        async def play() -> None:
            await record(brokers, FIRST, Pointer("articles", 1), Aliased("articles", 1))
            await test(brokers)

        asyncio.run(play())
    finally:
        log.stop()


async def seen(control: Control, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await control._tail.changed(1.0)


async def fill(brokers: list[str], count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=brokers)
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(STATE, b"{}", str(number).encode(), partition=number % PARTITIONS)
    await producer.stop()


async def obey(brokers: list[str], *, times: int = 1, delay: float = 0.0) -> None:
    """What a worker does: the alias follows the pointer."""
    tail = RegistryTail("shop", brokers)
    await tail.start()
    before = tail.registry.pointers["articles"]
    for _ in range(times):
        while (known := tail.registry).pointers["articles"] == before:
            await tail.changed(10.0, known)
        before = known.pointers["articles"]
        await asyncio.sleep(delay)
        await record(brokers, Aliased("articles", before.live))
    await tail.stop()


async def outcome(work: Awaitable[object]) -> str:
    try:
        return f"done: {await work}"
    except TransientError as error:
        return str(error)


class Late:
    """A writer that somebody else is faster than, once."""

    def __init__(self, writer: RegistryWriter, brokers: list[str], *first: Record) -> None:
        self._writer, self._brokers, self._first = writer, brokers, list(first)

    async def write(self, records: Sequence[tuple[bytes, bytes | None]]) -> list[int]:
        first, self._first = self._first, []
        await record(self._brokers, *first)
        return await self._writer.write(records)

    async def stop(self) -> None:
        await self._writer.stop()
