"""The worker whole over one embedded log and one index in memory; workers come and go."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from core.clock import Clock, SystemClock
from core.errors import TransientError
from core.keys import RowKey, TableId
from core.metrics import RAW_RECORDS
from core.settings import DocumentSettings, Settings
from core.topics import required_topics, state_topic
from embed.cutter import Cutter
from embed.encoder import HashingEncoder
from embed.memory_index import MemoryCollection, MemoryIndex
from embed.model import Change, Manifest, Sparse, manifest_id
from embed.pace import Priority
from embed.pipeline import Applied, Pipeline
from embed.render import Renderer
from embed.store import VectorStore
from ingest.agents.index_agent import Indexer
from ingest.embedded_log import EmbeddedLog
from ingest.worker import Worker

TABLE = TableId("shop", "public.articles")
RAW = "shop.public.articles"
EPOCH = 3
PARTITIONS = 2
DEADLINE_SECONDS = 40.0


def settings(**ingest: Any) -> Settings:
    return Settings.model_validate(
        {
            "app": "shop",
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing"},
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
            "documents": {
                "articles": {"table": str(TABLE), "title": "{{ title }}", "text": "{{ body }}"},
            },
            # The embedded log lets a member return after its session less a second.
            "ingest": {"session_seconds": 4, "state_partitions": PARTITIONS, **ingest},
        }
    )


def change(op: str, number: int, body: str | None = None, *, lsn: int) -> tuple[bytes | None, bytes]:
    """Key and value as the connector writes them. A truncate (`t`) has neither key nor row."""
    row = {"id": number, "title": f"Article {number}", "body": body}
    source = {
        "connector": "postgresql",
        "name": "shop",
        "ts_ms": 1_780_000_000_000 + lsn,
        "snapshot": "false",
        "sequence": json.dumps([str(lsn - 1), str(lsn)]),
        "schema": "public",
        "table": "articles",
        "lsn": lsn,
    }
    after = row if op in "cru" else None
    before = {**row, "title": None, "body": None} if op == "d" else None
    value = {"before": before, "after": after, "source": source, "op": op, "ts_ms": 1_780_000_000_000 + lsn}
    key = None if op == "t" else json.dumps({"id": number}).encode()
    return key, json.dumps(value).encode()


class Flaky(Pipeline):
    """Fails as often as it is told to: the index is away."""

    failures = 0
    tries = 0

    def apply(self, changes: Sequence[Change], *, rewrite: bool = False) -> Applied:
        self.tries += 1
        if self.failures:
            self.failures -= 1
            raise TransientError("the index is away")
        return super().apply(changes, rewrite=rewrite)


@dataclass
class World:
    """One log and one index; workers come and go."""

    brokers: list[str]
    settings: Settings
    producer: AIOKafkaProducer
    collection: MemoryCollection
    pipeline: Flaky
    indexer: Indexer
    fatal: list[BaseException] = field(default_factory=list)
    lsn: int = 1000

    def worker(self, epoch: int = EPOCH, clock: Clock | None = None) -> Worker:
        return Worker(
            self.settings,
            self.brokers,
            {RAW: epoch},
            [self.indexer],
            clock=clock or SystemClock(),
            on_fatal=self.fatal.append,
            priority=Priority(),
        )

    async def write(self, *changes: tuple[str, int, str | None]) -> None:
        for op, number, body in changes:
            self.lsn += 10
            key, value = change(op, number, body, lsn=self.lsn)
            await self.raw(key, value)

    async def raw(self, key: bytes | None, value: bytes | None) -> None:
        await self.producer.send_and_wait(RAW, value, key, partition=0)

    async def write_many(self, numbers: Sequence[int]) -> None:
        sent = []
        for number in numbers:
            self.lsn += 10
            key, value = change("c", number, f"text of {number}", lsn=self.lsn)
            sent.append(await self.producer.send(RAW, value, key, partition=0))
        await asyncio.gather(*sent)

    def manifest(self, number: int) -> Manifest | None:
        one = manifest_id("articles", RowKey.of({"id": number}).canonical)
        return self.collection.manifests([one]).get(one)

    def text(self, number: int) -> str | None:
        """What a search would quote; None without a live document."""
        found = self.manifest(number)
        if found is None or found.deleted:
            return None
        return " ".join(chunk.text for chunk in self.collection.chunks(found.chunks).values())

    async def read(self, topic: str) -> list[Any]:
        """Every record that stands in a topic now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.brokers, group_id=None, fetch_max_wait_ms=20)
        await consumer.start()
        try:
            await consumer._client.force_metadata_update()
            consumer._client.add_topic(topic)
            await consumer._client.force_metadata_update()
            partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[Any] = []
            while len(found) < sum(ends.values()):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.brokers, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = range(1 if topic == RAW else PARTITIONS)
            return {n: await consumer.committed(TopicPartition(topic, n)) or 0 for n in partitions}
        finally:
            await consumer.stop()


async def eventually(true: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not true():  # noqa: ASYNC110 - the index says nothing of its own
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {DEADLINE_SECONDS:.0f} s: {what}")


@contextmanager
def log_of(wanted: Settings) -> Iterator[list[str]]:
    log = EmbeddedLog()
    try:
        yield log.start(required_topics(wanted))
    finally:
        log.stop()


def sparse(texts: Sequence[str]) -> list[Sparse]:
    return [Sparse((1,), (1.0,)) for _ in texts]


def in_world(test: Callable[[World], Awaitable[None]], **ingest: Any) -> None:
    made = settings(**ingest)
    encoder, index = HashingEncoder(), MemoryIndex()
    index.create("articles", encoder.dimensions)
    collection = index.open("articles")
    assert isinstance(collection, MemoryCollection)
    document = DocumentSettings.model_validate(made.documents["articles"].model_dump())
    cutter = Cutter(document.cut, encoder.count, encoder.max_tokens)
    store = VectorStore(None, 1 << 20, SystemClock())
    pipeline = Flaky("articles", collection, encoder, store, cutter, sparse)
    indexer = Indexer(
        "articles", 1, state_topic("shop", TABLE), Renderer("articles", document), pipeline, collection
    )

    async def play(brokers: list[str]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=2)
        await producer.start()
        try:
            await test(World(brokers, made, producer, collection, pipeline, indexer))
        finally:
            await producer.stop()

    with log_of(made) as brokers:
        asyncio.run(play(brokers))


@asynccontextmanager
async def running(world: World, clock: Clock | None = None) -> AsyncIterator[Worker]:
    worker = world.worker(clock=clock)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()
    assert not world.fatal


def outcomes() -> dict[str, float]:
    kinds = ("applied", "superseded", "ignored", "parked")
    return {kind: RAW_RECORDS.labels(str(TABLE), kind)._value.get() for kind in kinds}
