"""A state topic in memory, and the parts that work out what a reindex over it would cost."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from random import Random
from typing import Any

from core.keys import RowKey
from core.settings import Cut, DocumentSettings, HashingEncoderSettings, Settings
from core.state import Progress, Removed, StateRow, Truncate, encode_state, encode_tombstone
from core.state_table import StateTable
from embed.encoder import HashingEncoder
from embed.estimate import Rates
from embed.model import Document
from embed.render import Renderer
from ingest.generations import Frozen, Generation, Registry, Report
from tailrace.reindex.counting import Counted, Counting, Read
from tailrace.reindex.sampling import Raw, Window
from tailrace.reindex.stored import StoredTexts

DOCUMENT = DocumentSettings(
    table="shop.public.articles",
    title="{{ title }}",
    text="{{ body }}",
    where="published",
    cut=Cut(min_tokens=5, max_tokens=20),
)
ENCODER = HashingEncoder(16)
NOWHERE = StoredTexts(None, "")


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - the same rows every time


def frozen(document: DocumentSettings = DOCUMENT, dimensions: int = 16) -> Frozen:
    return Frozen(
        document, HashingEncoderSettings(dimensions=dimensions), f"hashing-{dimensions}", dimensions
    )


def body(chance: Random, sentences: int) -> str:
    words = ["order", "return", "refund", "parcel", "account", "invoice", "carrier", "delay", "stock"]
    return " ".join(
        " ".join(chance.choices(words, k=9)).capitalize() + f" {chance.randrange(10**6)}."
        for _ in range(sentences)
    )


def row(number: int, version: int, text: str, *, published: bool = True, deleted: bool = False) -> StateRow:
    columns: dict[str, Any] = {"id": number, "title": f"No {number}", "body": text, "published": published}
    return StateRow(RowKey.of({"id": number}), version, columns, deleted=deleted)


class MemoryLog:
    """A state topic in memory, with holes where records were compacted away."""

    def __init__(self, partitions: int = 2) -> None:
        self.records: dict[int, list[Raw]] = {number: [] for number in range(partitions)}
        self.ends = dict.fromkeys(range(partitions), 0)
        self.table = StateTable()

    def append(self, partition: int, record: StateRow | Truncate | Progress | Removed) -> None:
        key, value, headers = (
            encode_tombstone(record) if isinstance(record, Removed) else (*encode_state(record), [])
        )
        offset = self.ends[partition]
        self.records[partition].append(Raw(partition, offset, key, value, dict(headers)))
        self.ends[partition] += 1
        self.table.apply(partition, offset, record)

    def put(self, made: StateRow) -> None:
        self.append(int(made.key.columns[0][1]) % len(self.ends), made)

    async def bounds(self) -> Mapping[int, tuple[int, int]]:
        return {number: (0, end) for number, end in self.ends.items()}

    async def read(self, windows: Sequence[Window]) -> list[list[Raw]]:
        return [self.records[w.partition][self._at(w, w.start) : self._at(w, w.end)] for w in windows]

    def _at(self, window: Window, offset: int) -> int:
        return bisect_left(self.records[window.partition], offset, key=attrgetter("offset"))

    async def follow(self, windows: Sequence[Window]) -> AsyncIterator[list[Raw]]:
        for records in await self.read(windows):
            for at in range(0, len(records), 100):
                yield records[at : at + 100]

    def live(self, document: DocumentSettings = DOCUMENT) -> Iterator[Document]:
        renderer = Renderer("articles", document)
        for one in self.table.rows():
            made = renderer.render(one)
            if isinstance(made, Document):
                yield made


def settings_at(folder: Path, **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "app": "shop",
            "log": {"kind": "kafka", "brokers": ["127.0.0.1:1"]},
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing", "dimensions": 16},
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
            "documents": {"articles": DOCUMENT.model_dump()},
            "ingest": {"vector_store": str(folder / "vectors.db")},
            **more,
        }
    )


def counting(
    folder: Path, log: MemoryLog, new: DocumentSettings, *reports: Report, old: Frozen | None = None
) -> Counting:
    live = Generation("articles", 1, "running", old or frozen())
    registry = Registry((live,), {}, {}, reports)
    return Counting(settings_at(folder), registry, live, frozen(new), ENCODER, log)


SLOW = Rates(0.0, 0.0, 1.0)
"""So slow that batches are as short as they get."""


def read(made: Counting, *, exact: bool = False, rows: int = 1500) -> Read:
    return asyncio.run(made.read(exact=exact, rows=rows, progress=lambda _done, _all: None))


def counted(made: Counting, *, exact: bool = False, rows: int = 1500, rates: Rates = SLOW) -> Counted:
    return asyncio.run(made.counted(read(made, exact=exact, rows=rows), rates))


def corpus(rows: int, seed: int = 3) -> MemoryLog:
    """Each row in ten is a draft, one in ten was edited, one in twenty is deleted."""
    chance, log, version = seeded(seed), MemoryLog(), 0
    for number in range(rows):
        version += 1
        log.put(row(number, version, body(chance, chance.randint(1, 12)), published=number % 10 != 7))
    for number in chance.sample(range(rows), rows // 10):
        version += 1
        log.put(row(number, version, body(chance, chance.randint(1, 12)), published=number % 10 != 7))
    for number in chance.sample(range(rows), rows // 20):
        version += 1
        log.put(row(number, version, "", deleted=True))
    for partition in log.ends:
        log.append(partition, Progress(version))
    return log


RECUT = DOCUMENT.model_copy(update={"cut": Cut(min_tokens=6, max_tokens=30)})
