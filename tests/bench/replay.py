"""Unchanged documents through the index stage again: what a restart, a replay or a reindex costs.

State records are decoded, rendered, cut with the real tokenizer's counts and applied; the vectors
come from a cheap encoder, for none is made twice.
"""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from core.state import StateRow as Row
from core.state import decode_state, encode_state
from embed.encoder import HASHED_PIECE, Encoder, HashingEncoder, Kind, Pauses, encode_in_pieces
from embed.model import Vector
from tests.bench.path import IngestPath, Writer, articles, default_model, ingest_path
from tests.bench.rounds import quiet_rounds

ROWS: Final = 150
BATCH: Final = 128
"""Rows of one flush, as the worker's default."""

ROUNDS: Final = 6
STEP: Final = 1 << 20

Records = list[tuple[bytes, bytes]]


class Cheap:
    """The real tokenizer and limits, and vectors for nothing."""

    def __init__(self, real: Encoder) -> None:
        self._hashing = HashingEncoder(real.dimensions)
        self.fingerprint, self.dimensions = real.fingerprint, real.dimensions
        self.max_tokens = real.max_tokens
        self.count, self.close = real.count, real.close
        self.embedded = 0

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:
        self.embedded += len(texts)
        return self._hashing.encode([text[:40] for text in texts], kind=kind)

    def encode_with_pauses(self, texts: Sequence[str], *, kind: Kind, pauses: Pauses) -> Vector:
        return encode_in_pieces(self, texts, HASHED_PIECE, kind=kind, pauses=pauses)


def later(records: Records, by: int) -> Records:
    """The same rows at higher versions: a column that no document shows has changed."""
    made = []
    for key, value in records:
        row = decode_state(key, value)
        assert isinstance(row, Row)
        made.append(encode_state(replace(row, version=row.version + by)))
    return made


def apply(path: IngestPath, records: Records) -> float:
    """Seconds."""
    start = time.perf_counter()
    for at in range(0, len(records), BATCH):
        path.index(records[at : at + BATCH])
    return time.perf_counter() - start


def run(rows: int = ROWS, rounds: int = ROUNDS) -> dict[str, object]:
    encoder = Cheap(default_model().encoder(threads=1))
    chance = random.Random(22)  # noqa: S311 - the same articles every time
    with ingest_path(encoder) as path:
        records = path.resolve(Writer().records(articles(chance, rows, most_paragraphs=160)))
        first = apply(path, records)
        chunks = path.collection.counts().chunks
        paid = encoder.embedded

        def play(number: int) -> tuple[float, float]:
            newer = later(records, (number + 1) * STEP)
            return apply(path, newer), apply(path, newer)

        played = quiet_rounds(play, rounds)
        assert path.collection.counts().chunks == chunks
    encoder.close()
    return {
        "chunks/s, higher versions": statistics.median(chunks / one for one, _ in played.results),
        "chunks/s, same versions": statistics.median(chunks / one for _, one in played.results),
        "chunks/s, first write": chunks / first,
        "chunks": chunks,
        "embedded": encoder.embedded - paid,
        "rounds repeated": played.repeated,
        "rounds under load": played.noisy,
    }
