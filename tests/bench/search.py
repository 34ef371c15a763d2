"""One question, in process, at 10,000 chunks: idle, and while ingest keeps every core busy.

A: the whole retrieval, from question to joined evidence. B: its two unavoidable parts called
directly, the encoder and one dense search. Idle and loaded segments alternate.
"""

import asyncio
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from core.clock import SystemClock
from core.keys import RowKey
from core.settings import Settings
from embed.cutter import Cutter
from embed.encoder import Encoder, HashingEncoder
from embed.index import Collection
from embed.indexes import bm25
from embed.indexes.edge import EdgeIndex
from embed.model import Change, Document, Scope
from embed.pipeline import Pipeline
from embed.store import VectorStore
from retrieve.model import Question
from tests.bench.edits import WORDS
from tests.bench.path import DOCUMENT, Row, articles, default_model
from tests.unit.retrieval_world import ARTICLES, World

CHUNKS: Final = 10_000
QUESTIONS: Final = 150
"""Of one segment."""

ROUNDS: Final = 6
BATCH: Final = 8
"""Rows that the worker indexes in one go meanwhile."""

NOBODY: Final = Scope(None)

SETTINGS: Final = Settings.model_validate(
    {
        "app": "shop",
        "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
        "documents": {"articles": DOCUMENT.model_dump()},
    }
)


@dataclass(frozen=True, slots=True)
class Round:
    idle: list[float]
    loaded: list[float]
    direct: list[float]
    ingested: int


def fill(world: World, chance: random.Random) -> Collection:
    """Rows through view and index until there are so many chunks; the bulk has cheap vectors."""
    collection = world.index.open("shop-articles-g1")
    first = 0
    while collection.counts().chunks < CHUNKS:
        for row in articles(chance, 200, first):
            world.commit(ARTICLES, int(row["id"]), dict(row))
        first += 200
        world.settle()
        collection.flush()
    return collection


@contextmanager
def ingesting(collection: Collection, encoder: Encoder, done: list[int]) -> Iterator[None]:
    """A worker's index stage on other rows, batch after batch, in its own thread."""
    stop, failures = threading.Event(), list[BaseException]()
    pipeline = Pipeline(
        "articles",
        collection,
        encoder,
        VectorStore(None, 1 << 26, SystemClock()),
        Cutter(DOCUMENT.cut, encoder.count, encoder.max_tokens),
        bm25.documents,
    )
    chance = random.Random(time.time_ns())  # noqa: S311 - new texts each time

    def work() -> None:
        try:
            flushed = time.monotonic()
            while not stop.is_set():
                made = [document(row) for row in articles(chance, BATCH, first=10**6)]
                done[0] += pipeline.apply(made).embedded
                if time.monotonic() - flushed > 1:
                    pipeline.flush()
                    flushed = time.monotonic()
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def document(row: Row) -> Change:
    """Of a tenant that nobody asks for: what is measured is the load, not what it finds."""
    key = RowKey.of({"id": row["id"]})
    version = time.time_ns() >> 20
    return Document(
        "articles", key.text, key.canonical, version, "", str(row["body"]), None, "load", None, {}, "", 0
    )


def questions(chance: random.Random) -> Sequence[str]:
    return [" ".join(chance.choices(WORDS, k=chance.randint(4, 12))) for _ in range(QUESTIONS)]


async def asked(world: World, texts: Sequence[str]) -> list[float]:
    spent = []
    for text in texts:
        begun = time.perf_counter()
        found = await world.retriever.retrieve(Question(text, ("articles",), NOBODY))
        spent.append((time.perf_counter() - begun) * 1000)
        assert len(found.hits) == 6
        await asyncio.sleep(0.002)  # questions come one by one, not in a closed loop
    return spent


def direct(collection: Collection, encoder: Encoder, texts: Sequence[str]) -> list[float]:
    spent = []
    for text in texts:
        begun = time.perf_counter()
        collection.search([encoder.encode([text], kind="query")[0]], NOBODY, {}, 6)[0]
        spent.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.002)
    return spent


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def run(rounds: int = ROUNDS) -> dict[str, object]:
    chance = random.Random(5)  # noqa: S311 - the same corpus every time
    model = default_model()
    query, ingest = model.encoder(threads=1), model.encoder()
    with TemporaryDirectory() as folder:
        index = EdgeIndex(Path(folder))
        world = World(index=index, settings=SETTINGS, encoder=HashingEncoder(query.dimensions))
        collection = fill(world, chance)
        world.encoder = query  # type: ignore[assignment]  # the bulk was encoded by the cheap one
        held = collection.counts()

        async def play() -> Round:
            texts = questions(chance)
            idle = await asked(world, texts)
            plain = await asyncio.to_thread(direct, collection, query, texts)
            done = [0]
            with ingesting(collection, ingest, done):
                await asyncio.sleep(0.5)
                done[0] = 0
                loaded = await asked(world, texts)
            return Round(idle, loaded, plain, done[0])

        async def all_rounds() -> list[Round]:
            await play()
            return [await play() for _ in range(rounds)]

        played = asyncio.run(all_rounds())
        index.close()
    for encoder in (query, ingest):
        encoder.close()
    pooled: Callable[[Callable[[Round], list[float]]], list[float]] = lambda of: [  # noqa: E731 - a short name
        one for each in played for one in of(each)
    ]
    idle, loaded, plain = pooled(lambda r: r.idle), pooled(lambda r: r.loaded), pooled(lambda r: r.direct)
    return {
        "chunks": held.chunks,
        "documents": held.documents,
        "questions": len(idle),
        "idle p50, ms": statistics.median(idle),
        "idle p99, ms": percentile(idle, 0.99),
        "loaded p50, ms": statistics.median(loaded),
        "loaded p99, ms": percentile(loaded, 0.99),
        "direct p50, ms": statistics.median(plain),
        "times direct": statistics.median(
            statistics.median(r.idle) / statistics.median(r.direct) for r in played
        ),
        "loaded p99 over idle p99": percentile(loaded, 0.99) / percentile(idle, 0.99),
        "chunks ingested meanwhile": sum(r.ingested for r in played),
    }
