"""A worker process without a process: log and index outlive it, so it can end and begin again."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from core.clock import SystemClock
from core.keys import RowKey
from core.settings import Settings
from core.topics import alias_name, generations_topic, raw_topic, required_topics
from embed.encoder import HashingEncoder
from embed.index import Collection, Index
from embed.memory_index import MemoryIndex
from embed.model import manifest_id
from ingest.embedded_log import EmbeddedLog
from ingest.generation_plan import started
from ingest.generations import Frozen, Generation, Pointer, Record, Registry, dropped, encode_record
from ingest.registry import RegistryTail, write_registry
from ingest.worker import Worker
from tailrace.encoders import EncoderBook
from tailrace.keeper import Keeper
from tailrace.preparation import settle_generations
from tailrace.rewind import rewind
from tailrace.worker import Indexers

APP = "shop"
PARTITIONS = 2
ROWS = 120
DEADLINE_SECONDS = 40.0
DOCUMENTS: Mapping[str, Mapping[str, Any]] = {
    "articles": {
        "table": "shop.public.articles",
        "title": "{{ title }}",
        "text": "{{ body }}",
        "metadata": ["category"],
    },
    "notes": {"table": "shop.public.notes", "title": "{{ title }}", "text": "{{ body }}"},
}


def settings(documents: Mapping[str, Mapping[str, Any]], dimensions: int = 64, **ingest: Any) -> Settings:
    return Settings.model_validate(
        {
            "app": APP,
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing", "dimensions": dimensions},
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles", "public.notes"]}},
            "documents": documents,
            # The embedded log lets a member return after its session less a second.
            "ingest": {"session_seconds": 4, "state_partitions": PARTITIONS, **ingest},
        }
    )


def frozen(given: Settings) -> dict[str, Frozen]:
    encoder = HashingEncoder(getattr(given.encoder, "dimensions", 64))
    return {
        name: Frozen(section, given.encoder, encoder.fingerprint, encoder.dimensions)
        for name, section in given.documents.items()
    }


def change(
    op: str, number: int, body: str | None, *, lsn: int, table: str = "articles"
) -> tuple[bytes | None, bytes]:
    """Key and value as the connector writes them. A truncate (`t`) has neither key nor row."""
    row = {"id": number, "title": f"Row {number}", "body": body, "category": f"c{number % 3}"}
    source = {
        "connector": "postgresql",
        "name": "shop",
        "ts_ms": 1_780_000_000_000 + lsn,
        "snapshot": "false",
        "sequence": json.dumps([str(lsn - 1), str(lsn)]),
        "schema": "public",
        "table": table,
        "lsn": lsn,
    }
    after = row if op in "cru" else None
    before = {"id": number, "title": None, "body": None, "category": None} if op == "d" else None
    value = {"before": before, "after": after, "source": source, "op": op, "ts_ms": 1_780_000_000_000 + lsn}
    return None if op == "t" else json.dumps({"id": number}).encode(), json.dumps(value).encode()


async def eventually(true: Callable[[], bool], what: str | Callable[[], str]) -> None:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not true():  # noqa: ASYNC110 - the index says nothing of its own
                await asyncio.sleep(0.02)
    except TimeoutError:
        said = what if isinstance(what, str) else what()
        pytest.fail(f"not within {DEADLINE_SECONDS:.0f} s: {said}")


@dataclass
class Running:
    """One life of the process."""

    worker: Worker
    keeper: Keeper
    tail: RegistryTail
    said: Sequence[str]


@dataclass
class World:
    brokers: list[str]
    settings: Settings
    producer: AIOKafkaProducer
    index: Index = field(default_factory=MemoryIndex)
    fatal: list[BaseException] = field(default_factory=list)
    rows: dict[str, dict[int, str]] = field(default_factory=dict)
    """What must be in the index, by table."""
    lsn: int = 1000

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        """As tailrace.runtime composes it, without HTTP."""
        given, clock = self.settings, SystemClock()
        run, said = await settle_generations(given, self.brokers, self.index, frozen(given), clock.now_ms())
        with capture_logs() as logs:
            await rewind(given, self.brokers, self.index, run)
        said = (*said, *(one["event"] for one in logs if one["log_level"] == "warning"))
        tail = RegistryTail(APP, self.brokers)
        await tail.start()
        indexers = Indexers(given, self.index, EncoderBook(APP, given.encoder), tail, clock)
        raw = [raw_topic("shop", f"public.{table}") for table in ("articles", "notes")]
        worker = Worker(
            given,
            self.brokers,
            dict.fromkeys(raw, 3),
            [indexers.build(one) for one in run],
            on_fatal=self.fatal.append,
            priority=indexers.priority,
            clock=clock,
        )
        keeper = Keeper(
            given,
            self.brokers,
            self.index,
            tail,
            worker,
            indexers.build,
            on_fatal=self.fatal.append,
            clock=clock,
        )
        try:
            await worker.start()
            await keeper.start()
            yield Running(worker, keeper, tail, said)
        finally:
            await keeper.stop()
            await worker.stop()
            await tail.stop()
        assert not self.fatal

    async def write(self, *changes: tuple[str, int, str | None], table: str = "articles") -> None:
        rows, sent = self.rows.setdefault(table, {}), []
        for op, number, body in changes:
            self.lsn += 10
            key, value = change(op, number, body, lsn=self.lsn, table=table)
            sent.append(await self.producer.send(f"shop.public.{table}", value, key, partition=0))
            if op == "t":
                rows.clear()
            elif op == "d":
                rows.pop(number, None)
            else:
                rows[number] = body or ""
        await asyncio.gather(*sent)

    async def record(self, *records: Record) -> None:
        await write_registry(self.brokers, generations_topic(APP), [encode_record(one) for one in records])

    async def begin(self, registry: Registry, document: str, **fields: Any) -> Generation:
        """A new generation of a document, built with these settings."""
        made = settings({document: {**DOCUMENTS[document], **fields.pop("section", {})}}, **fields)
        one = started(registry, document, frozen(made)[document], APP, 1)
        await self.record(one)
        return one

    async def promote(self, one: Generation, previous: int | None = None) -> None:
        await self.record(Pointer(one.document, one.number, previous, 2))

    async def drop(self, one: Generation) -> None:
        await self.record(dropped(one))

    def collection(self, one: Generation) -> Collection:
        return self.index.open(one.collection(APP))

    def stands(self, one: Generation) -> bool:
        return one.collection(APP) in self.index.collections()

    def answers(self, one: Generation) -> bool:
        return self.index.alias(alias_name(APP, one.document)) == one.collection(APP)

    def texts(self, one: Generation) -> dict[int, str]:
        """What a search would quote of every live document."""
        if not self.stands(one):
            return {}
        collection = self.collection(one)
        found = collection.scroll(None, 10_000).manifests
        return {
            int(m.key): " ".join(chunk.text for chunk in collection.chunks(m.chunks).values()) for m in found
        }

    def holds(self, one: Generation) -> bool:
        """Whether it holds exactly the rows, and nothing that no manifest lists."""
        if self.texts(one) != self.rows.get(one.document, {}):
            return False
        collection = self.collection(one)
        listed = sum(len(m.chunks) for m in collection.scroll(None, 10_000).manifests)
        return collection.counts().chunks == listed

    def facts(self, one: Generation) -> list[tuple[Any, ...]]:
        """Ids, texts, metadata and manifests, as bytes would be compared."""
        collection = self.collection(one)
        chunks, _ = collection.scroll_chunks(None, 100_000)
        manifests = collection.scroll(None, 100_000).manifests
        return [
            *((c.id, c.key, c.text, sorted(c.metadata.items())) for c in chunks),
            *((m.id, m.version, m.chunks, m.title, m.url, m.position, m.committed_at) for m in manifests),
        ]

    def missing(self, *generations: Generation) -> Callable[[], str]:
        def said() -> str:
            lines = []
            for one in generations:
                found, wanted = self.texts(one), self.rows.get(one.document, {})
                wrong = {k for k in {*found, *wanted} if found.get(k) != wanted.get(k)}
                lines.append(
                    f"generation {one.number}: {len(found)} of {len(wanted)}, wrong {sorted(wrong)[:9]}"
                )
            return "; ".join(lines)

        return said


def manifest_of(world: World, one: Generation, number: int) -> Any:
    wanted = manifest_id(one.document, RowKey.of({"id": number}).canonical)
    return world.collection(one).manifests([wanted]).get(wanted)


def in_world(
    test: Callable[[World], Awaitable[None]],
    documents: Mapping[str, Mapping[str, Any]] | None = None,
    index: Index | None = None,
) -> None:
    made = settings(documents or {"articles": DOCUMENTS["articles"]})

    async def play(brokers: list[str]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=2)
        await producer.start()
        try:
            await test(World(brokers, made, producer, index or MemoryIndex()))
        finally:
            await producer.stop()

    log = EmbeddedLog()
    try:
        asyncio.run(play(log.start(required_topics(made))))
    finally:
        log.stop()


async def filled(world: World, run: Running, rows: int = ROWS, document: str = "articles") -> Generation:
    """The first generation, with so many rows."""
    one = run.tail.registry.live(document)
    assert one is not None
    await world.write(*[("c", n, f"text {n} of {document}") for n in range(rows)], table=document)
    await eventually(lambda: world.holds(one), world.missing(one))
    return one
