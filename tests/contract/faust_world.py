"""An agent of Faust over the embedded log, with a body that a test writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from core.settings import Ingest
from core.topics import TopicSpec
from ingest.app import make_app, raw_bytes_topic
from ingest.embedded_log import EmbeddedLog

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
