"""Change events to searchable, durable chunks, against the bare encoder on the very same batches.

A: events are decoded, resolved, rendered, cut, looked up, encoded, written with BM25 and flushed.
B: the batches that A gave the encoder are encoded again, and nothing else. B over A is the share
of the encoder's speed that is left.
"""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.path import IngestPath, RecordingEncoder, Row, Writer, articles, default_model, ingest_path
from tests.bench.rounds import quiet_rounds

ROWS: Final = 128
"""Of one round, and of one flush: the worker's batch while work waits."""

ROUNDS: Final = 6


@dataclass(frozen=True, slots=True)
class Round:
    whole: float
    bare: float
    chunks: int


def play(path: IngestPath, encoder: RecordingEncoder, writer: Writer, rows: Sequence[Row]) -> Round:
    records = writer.records(rows)
    start = time.perf_counter()
    embedded = path.index(path.resolve(records)).embedded
    whole = time.perf_counter() - start
    calls = encoder.taken()
    assert embedded == sum(map(len, calls)) > 0
    start = time.perf_counter()
    for texts in calls:
        encoder.encode(texts, kind="document")
    bare = time.perf_counter() - start
    encoder.taken()
    return Round(whole, bare, embedded)


def unpaid(path: IngestPath, encoder: RecordingEncoder, writer: Writer, rows: list[Row]) -> dict[str, int]:
    """Texts embedded for changes that change no text."""
    path.index(path.resolve(writer.records(rows)))
    first = encoder.taken()
    assert first, "the first delivery is paid for"
    records = writer.records(rows, op="u")
    state = path.resolve(records)
    path.index(state)
    counts = {"state only": sum(map(len, encoder.taken()))}
    assert path.resolve(records) == [], "the ordering rule knows these events"
    path.index(state)
    counts["redelivered"] = sum(map(len, encoder.taken()))
    moved: list[Row] = [{**row, "category": "moved", "stock": 7} for row in rows]
    path.index(path.resolve(writer.records(moved, op="u")))
    counts["metadata only"] = sum(map(len, encoder.taken()))
    return counts


def run(rounds: int = ROUNDS) -> dict[str, object]:
    encoder, writer = RecordingEncoder(default_model().encoder()), Writer()
    chance = random.Random(21)  # noqa: S311 - the same articles every time
    with ingest_path(encoder) as path:
        played = quiet_rounds(
            lambda at: play(path, encoder, writer, articles(chance, ROWS, at * ROWS)), rounds
        )
        counts = unpaid(path, encoder, writer, articles(chance, ROWS // 4, first=10**6))
        held = path.collection.counts()
    encoder.close()
    ratios = [one.bare / one.whole for one in played.results]
    return {
        "ratio": statistics.median(ratios),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "chunks/s": statistics.median(one.chunks / one.whole for one in played.results),
        "chunks/s, bare encoder": statistics.median(one.chunks / one.bare for one in played.results),
        "chunks of a round": statistics.mean(one.chunks for one in played.results),
        "chunks in the index": held.chunks,
        "rounds repeated": played.repeated,
        "rounds under load": played.noisy,
        "embedded": counts,
    }
