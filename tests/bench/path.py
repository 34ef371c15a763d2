"""Generated articles as change events, and their way into an index without a broker between."""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from core.clock import SystemClock
from core.keys import TableId
from core.settings import DocumentSettings, OpenVinoEncoder, Source
from core.state import StateRow, decode_state, encode_state
from embed.cutter import Cutter
from embed.encoder import Encoder, Kind, Pauses, PausingEncoder
from embed.encoders.model_folder import read_json, resolve_model
from embed.encoders.openvino import OpenVinoModel
from embed.indexes import bm25
from embed.indexes.edge import EdgeIndex
from embed.model import Change, Vector
from embed.pipeline import Applied, Pipeline
from embed.render import Renderer
from embed.store import VectorStore
from ingest.record import RawRecord
from ingest.resolve import Resolver
from tests.bench.edits import document

TABLE: Final = TableId("shop", "public.articles")
SOURCE: Final = Source(prefix="shop", tables=["public.articles"])
DOCUMENT: Final = DocumentSettings(
    table=str(TABLE), title="{{ title }}", text="{{ body }}", metadata=["category"]
)
STORE_BYTES: Final = 1 << 28

Row = dict[str, str | int]


def articles(chance: random.Random, count: int, first: int = 0, most_paragraphs: int = 24) -> list[Row]:
    """Made-up rows of mixed lengths: with 24 paragraphs at most one to a dozen pieces each."""
    return [
        {
            "id": first + place,
            "title": f"Article {first + place}",
            "body": prose(chance, document(chance, chance.randint(2, most_paragraphs))),
            "category": chance.choice(["orders", "returns", "accounts"]),
            "stock": 0,
        }
        for place in range(count)
    ]


def prose(chance: random.Random, form: str) -> str:
    """The same text with as many different words as a language has.

    They come from the model's vocabulary, which is ordered by frequency: the n-th about 1/n as often
    as the first, and one in twelve is two of them joined, a word that the tokenizer has to divide.
    """
    words, weights = _vocabulary()

    def word(place: re.Match[str]) -> str:
        made = "".join(chance.choices(words, cum_weights=weights, k=2 if chance.random() < 1 / 12 else 1))
        return made.capitalize() if place[0][0].isupper() else made

    return re.sub(r"[A-Za-z]+", word, form)


@cache
def _vocabulary() -> tuple[list[str], list[float]]:
    stored = read_json(resolve_model(OpenVinoEncoder().model) / "tokenizer.json")["model"]["vocab"]
    ordered = sorted(stored.items(), key=itemgetter(1))
    words = [word for word, _ in ordered if word.isascii() and word.isalpha() and len(word) > 1]
    return words, list(accumulate(1 / (place + 5) for place in range(len(words))))


class Writer:
    """Rows become raw records, as the connector writes them, at ever higher offsets."""

    def __init__(self) -> None:
        self.offset = 0

    def records(self, rows: Sequence[Mapping[str, str | int]], op: str = "c") -> list[RawRecord]:
        return [self._record(row, op) for row in rows]

    def _record(self, row: Mapping[str, str | int], op: str) -> RawRecord:
        self.offset += 1
        now = 1_780_000_000_000 + self.offset
        where = {
            "version": "3.3.1.Final",
            "connector": "postgresql",
            "name": "shop",
            "ts_ms": now,
            "snapshot": "false",
            "db": "shop",
            "sequence": json.dumps([str(self.offset * 100 - 50), str(self.offset * 100)]),
            "schema": "public",
            "table": "articles",
            "txId": self.offset,
            "lsn": self.offset * 100,
            "xmin": None,
        }
        value = {"before": None, "after": row, "source": where, "op": op, "ts_ms": now, "transaction": None}
        return RawRecord(
            "shop.public.articles",
            0,
            self.offset,
            now,
            json.dumps({"id": row["id"]}).encode(),
            json.dumps(value).encode(),
        )


class RecordingEncoder:
    """Hands everything on, and keeps the batches that were encoded."""

    def __init__(self, inner: PausingEncoder) -> None:
        self._inner = inner
        self.fingerprint, self.dimensions = inner.fingerprint, inner.dimensions
        self.max_tokens = inner.max_tokens
        self.count, self.close = inner.count, inner.close
        self.calls: list[list[str]] = []

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        self.calls.append(list(texts))
        return self._inner.encode(texts, kind=kind)

    def encode_with_pauses(self, texts: Sequence[str], *, kind: Kind, pauses: Pauses) -> Vector:
        self.calls.append(list(texts))
        return self._inner.encode_with_pauses(texts, kind=kind, pauses=pauses)

    def taken(self) -> list[list[str]]:
        """The batches since the last call."""
        calls, self.calls = self.calls, []
        return calls


class IngestPath:
    """Everything between a raw record and a searchable chunk but the broker: both stages, in one thread."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self._index = EdgeIndex(folder / "index")
        self._index.create("articles", encoder.dimensions)
        self._store = VectorStore(folder / "vectors.db", STORE_BYTES, SystemClock())
        cutter = Cutter(DOCUMENT.cut, encoder.count, encoder.max_tokens)
        self.collection = self._index.open("articles")
        self.pipeline = Pipeline("articles", self.collection, encoder, self._store, cutter, bm25.documents)
        self._resolver = Resolver(TABLE, SOURCE, epoch=0)
        self._renderer = Renderer("articles", DOCUMENT)
        self.rows: dict[bytes, StateRow] = {}

    def resolve(self, records: Sequence[RawRecord]) -> list[tuple[bytes, bytes]]:
        """The state records that the first stage would write."""
        written = []
        for record in records:
            resolved = self._resolver.resolve(record, self.rows.get, record.timestamp_ms)
            for row in resolved.rows:
                self.rows[row.key.canonical] = row
                written.append(encode_state(row))
        return written

    def index(self, state: Sequence[tuple[bytes, bytes]]) -> Applied:
        """What the second stage does with state records: durable and searchable on return."""
        changes: list[Change] = []
        for key, value in state:
            row = decode_state(key, value)
            assert isinstance(row, StateRow)
            changes.append(self._renderer.render(row))
        applied = self.pipeline.apply(changes)
        assert not applied.failed
        self.pipeline.flush()
        return applied

    def close(self) -> None:
        self._index.close()
        self._store.close()


@contextmanager
def ingest_path(encoder: Encoder) -> Iterator[IngestPath]:
    """In a folder of its own, removed afterwards."""
    with TemporaryDirectory(prefix="tailrace-bench-") as folder:
        made = IngestPath(Path(folder), encoder)
        try:
            yield made
        finally:
            made.close()


def default_model() -> OpenVinoModel:
    return OpenVinoModel.load(OpenVinoEncoder().model)
