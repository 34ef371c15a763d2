"""How fast a generation is filled, on a broker alone.

Rows of a state topic go through a worker into a new generation on Edge. Once every vector is there
already; then with a model whose vectors nobody has, against the bare encoder on the very same
batches. The clock runs from the first batch that is done, so that joining the group does not count.
"""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from core.clock import SystemClock
from core.consumer import fetch_wait_ms
from core.keys import RowKey, TableId
from core.settings import HashingEncoderSettings, Settings
from core.state import Progress, StateRow, encode_state
from core.topics import generations_topic, required_topics, state_topic
from embed.encoder import Encoder, Kind, Pauses, PausingEncoder
from embed.indexes.edge import EdgeIndex
from embed.model import Vector
from embed.pipeline import PART
from ingest.generations import Frozen, Generation, dropped, encode_record
from ingest.registry import RegistryTail, RegistryWriter
from ingest.state_store import partition_of
from ingest.worker import Worker
from tailrace.adapters import Encoders
from tailrace.encoders import EncoderBook
from tailrace.keeper import Keeper
from tailrace.preparation import settle_generations
from tailrace.worker import Indexers
from tests.bench.path import DOCUMENT, RecordingEncoder, articles, default_model
from tests.bench.replay import Cheap

LOOK_SECONDS: Final = 0.01
INDEX_LOOK_SECONDS: Final = 0.5
"""Between two looks into the index where no batch has ended: each stops the threads that fill it."""
DEADLINE_SECONDS: Final = 120.0


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - the index says nothing of its own
        await asyncio.sleep(LOOK_SECONDS)


class Book(EncoderBook):
    """Gives one encoder to every generation, whatever it says."""

    def __init__(self, app: str, encoder: PausingEncoder) -> None:
        super().__init__(app, HashingEncoderSettings())
        self.encoder = encoder

    def of(self, generation: Generation) -> Encoders:
        return Encoders(self.encoder, self.encoder)


class Renamed(RecordingEncoder):
    """The same encoder under another name: none of its vectors is known. `first`: when it was called."""

    def __init__(self, inner: PausingEncoder, name: str) -> None:
        super().__init__(inner)
        self.fingerprint = f"{inner.fingerprint}-{name}"
        self.first: float | None = None

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        self.first = self.first or time.perf_counter()
        return super().encode(texts, kind=kind)

    def encode_with_pauses(self, texts: Sequence[str], *, kind: Kind, pauses: Pauses) -> Vector:
        self.first = self.first or time.perf_counter()
        return super().encode_with_pauses(texts, kind=kind, pauses=pauses)


@dataclass
class Bench:
    """A worker without resolving to do, and the topic of its table."""

    settings: Settings
    brokers: list[str]
    tail: RegistryTail
    worker: Worker
    writer: RegistryWriter
    book: Book
    ends: dict[int, int]

    async def build(self, frozen: Frozen, number: int) -> "Built":
        """One more generation, to its end; it is dropped again."""
        one = Generation("articles", number, "running", frozen, SystemClock().now_ms())
        await self.writer.write([encode_record(one)])
        key = ("articles", number)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await until(lambda: key in (found := self.worker.following()) and found[key].done.rows > 0)
            start, collection = time.perf_counter(), self.worker.following()[key].indexer.collection
            before = collection.counts().chunks
            await self._level(key)
            made = Built(start, time.perf_counter(), collection.counts().chunks - before)
            await self.writer.write([encode_record(dropped(one))])
            await until(lambda: key not in self.worker.following())
        return made

    async def _level(self, key: tuple[str, int]) -> None:
        """Until the generation has covered what there is, looked at after each of its batches."""
        one = self.worker.following()[key]
        rows, looked = -1, 0.0

        def covered_all() -> bool:
            nonlocal rows, looked
            now = time.perf_counter()
            if one.done.rows == rows and now < looked + INDEX_LOOK_SECONDS:
                return False
            rows, looked = one.done.rows, now
            return {mark.partition: mark.offset for mark in one.indexer.collection.covered()} == self.ends

        await until(covered_all)


@dataclass(frozen=True, slots=True)
class Built:
    """When its first batch was done and when it held everything, and the chunks between."""

    start: float
    end: float
    chunks: int


async def _fill(brokers: list[str], topic: str, partitions: int, rows: int, first: int) -> dict[int, int]:
    """Rows, and behind them the progress of each partition. The end offsets."""
    chance = random.Random(41 + first)  # noqa: S311 - the same articles every time
    ends: dict[int, int] = {}
    producer = AIOKafkaProducer(bootstrap_servers=brokers, max_batch_size=1 << 19, linger_ms=5)
    await producer.start()
    try:
        for place, row in enumerate(articles(chance, rows, first, most_paragraphs=160)):
            made = StateRow(RowKey.of({"id": row["id"]}), first + place, dict(row), position="0/1")
            key, value = encode_state(made)
            await producer.send(topic, value, key, partition=partition_of(key, partitions))
        for number in range(partitions):
            key, value = encode_state(Progress(first + rows, "0/1", 1, 1))
            done = await producer.send_and_wait(topic, value, key, partition=number)
            ends[number] = done.offset + 1
    finally:
        await producer.stop()
    return ends


@asynccontextmanager
async def _bench(brokers: list[str], encoder: PausingEncoder, rows: int) -> AsyncIterator[Bench]:
    app, clock = f"bench{time.time_ns() % 10**9}", SystemClock()
    async with AsyncExitStack() as after:
        folder = Path(after.enter_context(TemporaryDirectory(prefix="tailrace-bench-")))
        made = Settings.model_validate(
            {
                "app": app,
                "log": {"kind": "kafka", "brokers": brokers},
                "index": {"kind": "edge", "path": str(folder / "index")},
                "sources": {"shop": {"prefix": app, "tables": ["public.articles"]}},
                "documents": {"articles": DOCUMENT.model_dump(exclude_defaults=True)},
            }
        )
        topics = required_topics(made)
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
        await admin.start()
        await admin.create_topics([NewTopic(one.name, one.partitions, 1) for one in topics])
        await admin.close()
        topic = state_topic(app, TableId("shop", "public.articles"))
        ends = await _fill(brokers, topic, made.ingest.state_partitions, rows, 0)
        index = EdgeIndex(folder / "index")
        after.callback(index.close)
        frozen = frozen_of(made, encoder)
        await settle_generations(made, brokers, index, {"articles": frozen}, clock.now_ms())
        tail = RegistryTail(app, brokers, fetch_wait_ms=fetch_wait_ms(made.log))
        await tail.start()
        after.push_async_callback(tail.stop)
        book = Book(app, encoder)
        indexers = Indexers(made, index, book, tail, clock)
        fatal: list[BaseException] = []
        live = tail.registry.live("articles")
        assert live is not None
        raw = {one.name: 0 for one in topics}
        worker = Worker(
            made,
            brokers,
            raw,
            [indexers.build(live)],
            on_fatal=fatal.append,
            priority=indexers.priority,
            clock=clock,
        )
        after.push_async_callback(worker.stop)
        await worker.start()
        keeper = Keeper(
            made, brokers, index, tail, worker, indexers.build, on_fatal=fatal.append, clock=clock
        )
        after.push_async_callback(keeper.stop)
        await keeper.start()
        writer = RegistryWriter(brokers, generations_topic(app))
        after.push_async_callback(writer.stop)
        collection = index.open(live.collection(app))
        async with asyncio.timeout(DEADLINE_SECONDS):
            await until(lambda: {m.partition: m.offset for m in collection.covered()} == ends)
        yield Bench(made, brokers, tail, worker, writer, book, ends)
        assert not fatal, fatal


def frozen_of(made: Settings, encoder: Encoder) -> Frozen:
    return Frozen(made.documents["articles"], made.encoder, encoder.fingerprint, encoder.dimensions)


async def replay(brokers: list[str], rows: int, rounds: int) -> dict[str, object]:
    encoder = Cheap(default_model().encoder(threads=1))
    async with _bench(brokers, encoder, rows) as bench:
        paid = encoder.embedded
        played = [
            await bench.build(frozen_of(bench.settings, encoder), 2 + number) for number in range(rounds)
        ]
        again = encoder.embedded - paid
    encoder.close()
    return {
        "replay, chunks/s": statistics.median(one.chunks / (one.end - one.start) for one in played),
        "replay, chunks": played[0].chunks,
        "replay, embedded": again,
    }


async def new_model(brokers: list[str], rows: int, rounds: int) -> dict[str, object]:
    real = default_model().encoder()
    async with _bench(brokers, Cheap(default_model().encoder(threads=1)), rows) as bench:
        ratios, speeds = [], []
        for number in range(rounds):
            recording = Renamed(real, str(number))
            bench.book.encoder = recording
            built = await bench.build(frozen_of(bench.settings, recording), 2 + number)
            calls = recording.taken()
            assert recording.first is not None
            bare = await asyncio.to_thread(_bare, real, calls)
            ratios.append(bare / (built.end - recording.first))
            speeds.append(sum(map(len, calls)) / (built.end - recording.first))
    real.close()
    return {
        "new model, share of the bare encoder": statistics.median(ratios),
        "new model, ratios": [round(ratio, 3) for ratio in ratios],
        "new model, chunks/s": statistics.median(speeds),
    }


def _bare(encoder: Encoder, calls: Sequence[Sequence[str]]) -> float:
    """Seconds of the encoder alone, in calls as large as the index stage makes where nothing goes first."""
    texts = [text for call in calls for text in call]
    start = time.perf_counter()
    for at in range(0, len(texts), PART):
        encoder.encode(texts[at : at + PART], kind="document")
    return time.perf_counter() - start
