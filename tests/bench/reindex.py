"""A reindex: how fast a generation is filled, and what that costs those who wait for an edit.

First on a broker alone: rows of a state topic through a worker into a new generation on Edge. Once
every vector is there already; then with a model whose vectors nobody has, against the bare encoder
on the very same batches. The clock runs from the first batch that is done, so that joining the
group does not count.

Then on the whole stack: edits of single articles are searched for, in turns with nothing else going
on and while a generation with another cut is embedded. And the time from the wish to the alias.
"""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

import httpx2
import psycopg
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from core.clock import SystemClock
from core.keys import RowKey, TableId
from core.settings import Cut, Settings
from core.state import Progress, StateRow, encode_state
from core.topics import generations_topic, index_group, required_topics, state_topic
from embed.encoder import Encoder, Kind
from embed.indexes.edge import EdgeIndex
from embed.model import Vector
from infra.stack import Stack
from ingest.generations import Frozen, Generation, Pointer, dropped, encode_record
from ingest.registry import RegistryTail, RegistryWriter
from ingest.state_store import partition_of
from ingest.topics_admin import TopicsAdmin
from ingest.worker import Worker
from tailrace.adapters import Encoders
from tailrace.encoders import EncoderBook
from tailrace.keeper import Keeper
from tailrace.preparation import settle_generations
from tailrace.worker import Indexers
from tests.bench.edits import document
from tests.bench.freshness import WARM_UP, Shop, percentile
from tests.bench.path import DOCUMENT, RecordingEncoder, articles, default_model, prose
from tests.bench.replay import Cheap

ROWS: Final = 150
NEW_ROWS: Final = 60
"""Of one round with a new model: some hundred chunks."""

ROUNDS: Final = 3
EDITS: Final = 300
"""A side, in turns of TURN."""

TURN: Final = 30
FILLERS: Final = 500
"""Articles that a reindex has to embed meanwhile, of ten chunks or so."""

FIRST_FILLER: Final = 7_000_000
MOVES: Final = 6
LOOK_SECONDS: Final = 0.01
DEADLINE_SECONDS: Final = 120.0


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - the index says nothing of its own
        await asyncio.sleep(LOOK_SECONDS)


class Book(EncoderBook):
    """Gives one encoder to every generation, whatever it says."""

    def __init__(self, app: str, encoder: Encoder) -> None:
        super().__init__(app)
        self.encoder = encoder

    def of(self, generation: Generation) -> Encoders:
        return Encoders(self.encoder, self.encoder)


class Renamed(RecordingEncoder):
    """The same encoder under another name: none of its vectors is known. `first`: when it was called."""

    def __init__(self, inner: Encoder, name: str) -> None:
        super().__init__(inner)
        self.fingerprint = f"{inner.fingerprint}-{name}"
        self.first: float | None = None

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        self.first = self.first or time.perf_counter()
        return super().encode(texts, kind=kind)


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
            await until(lambda: {m.partition: m.offset for m in collection.covered()} == self.ends)
            made = Built(start, time.perf_counter(), collection.counts().chunks - before)
            await self.writer.write([encode_record(dropped(one))])
            await until(lambda: key not in self.worker.following())
        return made


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
async def _bench(brokers: list[str], encoder: Encoder, rows: int) -> AsyncIterator[Bench]:
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
        tail = RegistryTail(app, brokers)
        await tail.start()
        after.push_async_callback(tail.stop)
        book = Book(app, encoder)
        indexers = Indexers(made, index, book, tail, clock)
        fatal: list[BaseException] = []
        live = tail.registry.live("articles")
        assert live is not None
        raw = {one.name: 0 for one in topics}
        worker = Worker(made, brokers, raw, [indexers.build(live)], on_fatal=fatal.append, clock=clock)
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


async def _replay(brokers: list[str], rows: int, rounds: int) -> dict[str, object]:
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


async def _new_model(brokers: list[str], rows: int, rounds: int) -> dict[str, object]:
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
    """Seconds of the encoder alone."""
    start = time.perf_counter()
    for texts in calls:
        encoder.encode(texts, kind="document")
    return time.perf_counter() - start


class Reindexes:
    """Begins, promotes and drops generations of the stack's articles by records, as the commands do."""

    def __init__(self, stack: Stack) -> None:
        self._app, self._brokers = stack.settings.app, [stack.brokers]

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._tail = RegistryTail(self._app, self._brokers)
        self._writer = RegistryWriter(self._brokers, generations_topic(self._app))
        self._runner.run(self._tail.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._writer.stop())
        self._runner.run(self._tail.stop())
        self._runner.close()

    def begin(self, most_tokens: int) -> Generation:
        """Another cut. On return its worker embeds."""
        return self._runner.run(self._begin(most_tokens))

    def busy(self, one: Generation) -> bool:
        """Whether it has yet to embed."""
        return self._runner.run(self._lag(one)) > 0

    def drop(self, one: Generation) -> None:
        self._runner.run(self._drop(one))

    def level(self, one: Generation) -> None:
        self._runner.run(self._level(one))

    def move(self, to: Generation, previous: Generation) -> float:
        """Seconds from the wish to the word that the alias has moved."""
        return self._runner.run(self._move(to, previous))

    def live(self) -> Generation:
        found = self._tail.registry.live("articles")
        assert found is not None
        return found

    async def _begin(self, most_tokens: int) -> Generation:
        live = self.live()
        number = max(one.number for one in self._tail.registry.of("articles")) + 1
        cut = Cut(min_tokens=most_tokens // 3, max_tokens=most_tokens)
        section = live.frozen.document.model_copy(update={"cut": cut})
        one = replace(live, number=number, frozen=replace(live.frozen, document=section))
        await self._writer.write([encode_record(one)])
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not any(r.embedded for r in self._tail.registry.reports_of(one)):
                await self._tail.changed(1.0)
        return one

    async def _lag(self, one: Generation) -> int:
        topic = state_topic(self._app, TableId.parse(one.frozen.document.table))
        admin = TopicsAdmin(self._brokers)
        bounds, done = await asyncio.to_thread(
            lambda: (
                admin.bounds([topic]),
                admin.committed(index_group(self._app, one.document, one.number)),
            )
        )
        return sum(bound.end - done.get(place, 0) for place, bound in bounds.items())

    async def _level(self, one: Generation) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await self._lag(one) > 0:  # noqa: ASYNC110 - it is the broker that is asked
                await asyncio.sleep(0.2)

    async def _drop(self, one: Generation) -> None:
        await self._writer.write([encode_record(dropped(one))])
        async with asyncio.timeout(DEADLINE_SECONDS):
            # Its reports go last, when its collection and its group are gone.
            while (
                left := self._tail.registry.find(one.document, one.number)
            ) and self._tail.registry.reports_of(left):
                await self._tail.changed(1.0)

    async def _move(self, to: Generation, previous: Generation) -> float:
        start = time.perf_counter()
        pointer = Pointer(to.document, to.number, previous.number, SystemClock().now_ms())
        await self._writer.write([encode_record(pointer)])
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (said := self._tail.registry.aliased.get(to.document)) is None or said.number != to.number:
                await self._tail.changed(1.0)
        return time.perf_counter() - start


def paused_edit(shop: Shop) -> float:
    shop.pause()
    return shop.edit()


def _fillers(database: "psycopg.Connection[tuple[object, ...]]", count: int) -> None:
    chance = random.Random(43)  # noqa: S311 - the same articles every time
    for number in range(count):
        body = prose(chance, document(chance, 30))
        database.execute(
            "INSERT INTO articles VALUES (%s, %s, %s, 'filler', 'en', true, now())"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            [FIRST_FILLER + number, f"Filler {number}", body],
        )


def _live(stack: Stack, edits: int, fillers: int) -> dict[str, object]:
    """Both sides have the same articles in the index; only one of them has something to build."""
    idle: list[float] = []
    loaded: list[float] = []
    unloaded = 0
    with (
        psycopg.connect(stack.dsn(), autocommit=True) as database,
        httpx2.Client(base_url=stack.http_url, timeout=60.0, trust_env=False) as client,
    ):
        shop = Shop(database, client)
        try:
            _fillers(database, fillers)
            last = f"/v1/documents/articles/{FIRST_FILLER + fillers - 1}"
            deadline = time.monotonic() + DEADLINE_SECONDS
            while client.get(last).status_code != httpx2.codes.OK and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
            with Reindexes(stack) as reindexes:
                reindexes.level(reindexes.live())
                for _ in range(WARM_UP):
                    shop.edit()
                for turn in range(-(-edits // TURN)):
                    idle += [paused_edit(shop) for _ in range(TURN)]
                    one = reindexes.begin(60 + 7 * (turn % 15))
                    for number in range(TURN):
                        loaded.append(paused_edit(shop))
                        if number % 10 == 9 and not reindexes.busy(one):
                            unloaded += 1
                    reindexes.drop(one)
                one, live = reindexes.begin(150), reindexes.live()
                reindexes.level(one)
                moves = []
                for turn in range(MOVES):
                    shop.edit()
                    to, previous = (live, one) if turn % 2 else (one, live)
                    moves.append(reindexes.move(to, previous))
                reindexes.drop(one)
        finally:
            shop.restore()
            database.execute("DELETE FROM articles WHERE id >= %s", [FIRST_FILLER])
    medians = {"idle": statistics.median(idle), "loaded": statistics.median(loaded)}
    return {
        "edits a side": len(idle),
        "live p50, idle, ms": 1000 * medians["idle"],
        "live p99, idle, ms": 1000 * percentile(idle, 0.99),
        "live p50, reindexing, ms": 1000 * medians["loaded"],
        "live p99, reindexing, ms": 1000 * percentile(loaded, 0.99),
        "live p99, times idle": percentile(loaded, 0.99) / percentile(idle, 0.99),
        "looks that found the reindex at its end": unloaded,
        "promote, longest, ms": 1000 * max(moves),
        "promote, median, ms": 1000 * statistics.median(moves),
    }


def run(
    stack: Stack, edits: int = EDITS, rows: int = ROWS, new_rows: int = NEW_ROWS, rounds: int = ROUNDS
) -> dict[str, object]:
    """Figures by name. The broker's part first, with everything else of the stack stopped."""
    stack.tailrace.stop()
    stack.connect.stop()
    brokers = [stack.brokers]
    figures: dict[str, object] = {}
    figures |= uvloop.run(_replay(brokers, rows, rounds))
    figures |= uvloop.run(_new_model(brokers, new_rows, rounds))
    stack.up()
    return figures | _live(stack, edits, FILLERS if edits >= EDITS else 60)
