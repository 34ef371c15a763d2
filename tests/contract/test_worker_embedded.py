"""The worker whole, on the embedded log: raw records in, documents out, and what happens between them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from unittest.mock import patch

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from core.clock import SystemClock
from core.errors import ConfigurationError, LimitError, TransientError
from core.keys import RowKey, TableId
from core.metrics import RAW_RECORDS
from core.settings import DocumentSettings, Settings
from core.state import Progress, StateRow, Truncate, decode_state
from core.topics import dead_letters_topic, required_topics, state_topic
from embed.cutter import Cutter
from embed.encoder import HashingEncoder
from embed.memory_index import MemoryCollection, MemoryIndex
from embed.model import Change, Manifest, Sparse, manifest_id
from embed.pipeline import Applied, Pipeline
from embed.render import Renderer
from embed.store import VectorStore
from embed.strays import StraySweep
from ingest.agents.index_agent import Indexer
from ingest.agents.resolve_agent import ResolveAgent
from ingest.embedded_log import EmbeddedLog
from ingest.worker import Worker

pytestmark = [
    pytest.mark.timeout(120),
    # Faust and mode, not ours: loops and clocks of an older asyncio.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TABLE = TableId("shop", "public.articles")
RAW = "shop.public.articles"
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

    def worker(self) -> Worker:
        return Worker(
            self.settings,
            self.brokers,
            {RAW: 3},
            [self.indexer],
            clock=SystemClock(),
            on_fatal=self.fatal.append,
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
async def running(world: World) -> AsyncIterator[Worker]:
    worker = world.worker()
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()
    assert not world.fatal


def outcomes() -> dict[str, float]:
    kinds = ("applied", "superseded", "ignored", "parked")
    return {kind: RAW_RECORDS.labels(str(TABLE), kind)._value.get() for kind in kinds}


def test_insert_update_delete_and_truncate_reach_the_index() -> None:
    async def test(world: World) -> None:
        async with running(world):
            await world.write(("c", 1, "first words"), ("c", 2, "second words"))
            await eventually(
                lambda: (world.text(1), world.text(2)) == ("first words", "second words"), "inserts"
            )
            await world.write(("u", 1, "other words"))
            await eventually(lambda: world.text(1) == "other words", "an update")
            await world.write(("d", 1, None))
            await world.raw(b'{"id": 1}', None)
            await eventually(lambda: world.text(1) is None, "a delete")
            await world.write(("c", 3, "before"), ("t", 0, None), ("c", 4, "after"))
            await eventually(lambda: world.text(4) == "after", "what follows a truncate")
            await eventually(lambda: (world.text(2), world.text(3)) == (None, None), "a truncate")
            await eventually(lambda: len(world.collection.covered()) == PARTITIONS, "marks")
        newest = [decode_state(r.key, r.value) for r in await world.read(state_topic("shop", TABLE))]
        assert {type(one) for one in newest} == {StateRow, Truncate, Progress}

    in_world(test)


def test_what_is_covered_is_the_raw_log_to_its_end_in_every_partition() -> None:
    async def test(world: World) -> None:
        async with running(world):
            await world.write(*[("c", n, f"text {n}") for n in range(20)])
            last = (3 << 40) + 19

            def covered() -> bool:
                marks = world.collection.covered()
                return len(marks) == PARTITIONS and all(mark.version == last for mark in marks)

            await eventually(covered, "marks at the last record")
            assert all(world.text(n) == f"text {n}" for n in range(20))
        ends: dict[int, int] = {}
        for record in await world.read(state_topic("shop", TABLE)):
            ends[record.partition] = record.offset + 1
        assert {mark.partition: mark.offset for mark in world.collection.covered()} == ends

    in_world(test)


def test_poison_is_set_aside_with_its_bytes_and_the_stream_goes_on() -> None:
    poison = [b"", b"null", b"42", b"[]", b'{"op":"c","after":{"id":1', b'{"op":"x"}', b"\xff\xfe"]

    async def test(world: World) -> None:
        before = outcomes()
        async with running(world):
            for place, value in enumerate(poison):
                await world.raw(b'{"id": 900}', value)
                await world.write(("c", place, f"text {place}"))
            await eventually(lambda: world.text(len(poison) - 1) is not None, "the last good record")
            assert all(world.text(n) == f"text {n}" for n in range(len(poison)))
        letters = await world.read(dead_letters_topic("shop"))
        assert [letter.value for letter in letters] == poison
        assert {letter.key for letter in letters} == {b'{"id": 900}'}
        headers = [dict(letter.headers) for letter in letters]
        assert [int(one["tailrace.offset"]) for one in headers] == list(range(0, 2 * len(poison), 2))
        assert {one["tailrace.topic"] for one in headers} == {RAW.encode()}
        after = outcomes()
        assert {kind: after[kind] - before[kind] for kind in after} == {
            "applied": len(poison),
            "superseded": 0,
            "ignored": 0,
            "parked": len(poison),
        }
        assert await world.committed("shop-resolve", RAW) == {0: 2 * len(poison)}

    in_world(test)


def test_a_text_that_cannot_be_indexed_is_set_aside_and_its_old_version_stays() -> None:
    async def test(world: World) -> None:
        async with running(world):
            await world.write(("c", 1, "old words"))
            await eventually(lambda: world.text(1) == "old words", "the first version")
            refused = LimitError("too long")
            with patch.object(Cutter, "cut", side_effect=refused):
                await world.write(("u", 1, "new words"))
                await world.write(("d", 2, None))
                await eventually(lambda: world.manifest(2) is not None, "the record behind it")
            assert world.text(1) == "old words"
        (letter,) = await world.read(dead_letters_topic("shop"))
        headers = dict(letter.headers)
        assert (headers["tailrace.stage"], headers["tailrace.error"]) == (b"index", b"LimitError")
        assert headers["tailrace.topic"] == state_topic("shop", TABLE).encode()

    in_world(test)


def test_an_index_that_is_away_makes_no_dead_letters_and_no_commit() -> None:
    async def test(world: World) -> None:
        world.pipeline.failures = 10**6
        async with running(world) as worker:
            await world.write(("c", 1, "words"))
            await eventually(lambda: world.pipeline.tries >= 3, "several tries")
            assert worker.status().waiting == {"articles": "the index is away"}
            assert await world.committed(
                "shop-index-articles-g1", state_topic("shop", TABLE)
            ) == dict.fromkeys(range(PARTITIONS), 0)
            world.pipeline.failures = 0
            await eventually(lambda: world.text(1) == "words", "the index is back")
            await eventually(lambda: worker.status().waiting == {}, "the status")
        assert await world.read(dead_letters_topic("shop")) == []

    in_world(test)


def test_a_worker_stops_in_time_while_the_index_is_away_and_the_next_one_completes_it() -> None:
    async def test(world: World) -> None:
        world.pipeline.failures = 10**6
        async with running(world):
            await world.write(("c", 1, "words"))
            await eventually(lambda: world.pipeline.tries >= 2, "two tries")
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 9
        world.pipeline.failures = 0
        async with running(world):
            await eventually(lambda: world.text(1) == "words", "the next worker")

    in_world(test)


@pytest.mark.parametrize("batch", [500, 17])
def test_a_restart_over_a_backlog_misses_nothing_and_commits_all(batch: int) -> None:
    backlog = 3000

    async def test(world: World) -> None:
        made = 0
        for _ in range(2):
            await world.write_many(range(made, made + backlog))
            made += backlog
            async with running(world):
                await eventually(
                    lambda made=made: world.collection.counts().documents == made,  # type: ignore[misc]
                    "every document",
                )
            assert await world.committed("shop-resolve", RAW) == {0: made}
        ends: dict[int, int] = {}
        for record in await world.read(state_topic("shop", TABLE)):
            ends[record.partition] = record.offset + 1
        assert await world.committed("shop-index-articles-g1", state_topic("shop", TABLE)) == ends

    in_world(test, batch_records=batch)


def test_a_sweep_that_takes_its_time_holds_up_no_repair() -> None:
    async def test(world: World) -> None:
        async with running(world):
            await world.write(("c", 1, "words"))
            await eventually(lambda: world.text(1) == "words", "the first document")
        hold, began = Event(), Event()
        kept: list[int] = []

        def step(_: StraySweep) -> bool:
            began.set()
            return hold.wait(DEADLINE_SECONDS)

        async def maintain(_: ResolveAgent) -> None:
            kept.append(1)

        with patch.object(StraySweep, "step", step), patch.object(ResolveAgent, "maintain", maintain):
            async with running(world):
                await eventually(began.is_set, "the sweep")
                kept.clear()
                await eventually(lambda: len(kept) >= 2, "repairs beside it")
                hold.set()

    in_world(test)


def test_nearly_everything_unreadable_stops_the_worker_before_it_drains_the_topic() -> None:
    async def test(world: World) -> None:
        worker = world.worker()
        for _ in range(200):
            await world.raw(b'{"id": 1}', b"not what it should be")
        await worker.start()
        try:
            await eventually(lambda: bool(world.fatal), "the guard")
        finally:
            began = asyncio.get_running_loop().time()
            await worker.stop()
        assert asyncio.get_running_loop().time() - began < 9, "what was not acknowledged is released"
        assert isinstance(world.fatal[0], ConfigurationError)
        # What was set aside before there was enough to judge by; nothing of the batch that told.
        parked = len(await world.read(dead_letters_topic("shop")))
        assert parked <= 100
        assert await world.committed("shop-resolve", RAW) == {0: parked}

    in_world(test, poison_share=0.1)


def test_a_row_and_a_letter_past_the_brokers_limit_stop_nothing() -> None:
    """The row is too large for the state topic, the record for the dead letters: one byte under the limit."""
    huge = "x" * 1_030_000

    async def test(world: World) -> None:
        async with running(world):
            await world.write(("c", 1, "small"), ("u", 1, huge), ("c", 2, "behind"))
            await eventually(lambda: world.text(2) == "behind", "the record behind it")
            assert world.text(1) == "small"
        (letter,) = await world.read(dead_letters_topic("shop"))
        headers: Mapping[str, bytes] = dict(letter.headers)
        assert headers["tailrace.error"] == b"LimitError"
        assert len(letter.value) < int(headers["tailrace.value-bytes"])

    in_world(test)
