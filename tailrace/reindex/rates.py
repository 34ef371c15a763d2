"""How fast this machine builds: the encoder timed on texts of the sample, the rest by a small build."""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from core.clock import SystemClock
from core.settings import EdgeIndex, MemoryIndexSettings, Settings
from embed.cutter import Cutter
from embed.encoder import Encoder, Kind, PausingEncoder
from embed.index import Index
from embed.indexes import bm25
from embed.model import Document, Vector
from embed.pace import PacedEncoder, Spent, Turns
from embed.payload import manifest_payload
from embed.pipeline import Pipeline
from embed.plan import desired, manifest
from embed.store import VectorStore
from tailrace.adapters import build_index

TIMED_SECONDS: Final = 1.5
"""Of timing the encoder."""

TIMED_TEXTS: Final = 32
"""Of one call meanwhile."""

INVENTED: Final = 16
"""Texts for an endpoint that costs."""

RECORD_SECONDS: Final = 1e-4
"""Of one record's way from the broker to the index stage and its acknowledgement, beside decoding and
rendering: Faust takes 65 us of CPU for an event, its consumer and the marks of what is covered the rest."""

PAYLOAD: Final = 1.6
"""Bytes on the disk for one of a chunk's payload: the index keeps it with its keywords indexed."""

POINT_BYTES: Final = 220
"""Of a point beside vectors and payload: ids, versions, links."""


class _Free:
    """The real encoder's limits and counts, and vectors for nothing."""

    def __init__(self, real: Encoder) -> None:
        self._vectors = np.random.default_rng(1).standard_normal((64, real.dimensions), np.float32)
        self._vectors /= np.linalg.norm(self._vectors, axis=1, keepdims=True)
        self.fingerprint, self.dimensions = real.fingerprint, real.dimensions
        self.max_tokens, self.count = real.max_tokens, real.count

    def encode(self, texts: Sequence[str], *, kind: Kind) -> Vector:  # noqa: ARG002 - the seam's
        return np.resize(self._vectors, (len(texts), self.dimensions))

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Of building the sampled documents into an index that is thrown away."""

    chunk_seconds: float
    overhead_bytes: float
    """On the disk, of one chunk beside its dense vector and twice its text."""


def token_seconds(
    encoder: PausingEncoder, texts: Sequence[str], limit: float = TIMED_SECONDS
) -> float | None:
    """Seconds of the encoder for one token of such texts, as a build calls it. None without texts.

    Raises what `encode` raises.
    """
    if not texts:
        return None
    mixed = list(texts)
    random.Random(5).shuffle(mixed)  # noqa: S311 - when the time is over, short and long ones have had it
    calls = [mixed[at : at + TIMED_TEXTS] for at in range(0, len(mixed), TIMED_TEXTS)]
    building = PacedEncoder(encoder, Turns(background=lambda: True), Spent())
    building.encode(calls[0], kind="document")  # warms up
    spent, tokens = 0.0, 0
    while spent < limit:
        for call in calls:
            began = time.perf_counter()
            building.encode(call, kind="document")
            spent += time.perf_counter() - began
            tokens += sum(encoder.count(call))
            if spent >= limit:
                break
    return spent / max(tokens, 1)


def invented(texts: Sequence[str], most: int = INVENTED) -> list[str]:
    """Texts as long as some of these that say nothing: what a priced or foreign endpoint is timed with."""
    return [("word " * (len(text) // 5 + 1)).strip() for text in texts[:most]]


def rehearse(
    settings: Settings, cutter: Cutter, encoder: Encoder, documents: Sequence[Document]
) -> Rehearsal:
    """Build these documents as the index stage does, with vectors for nothing. Takes about half a second."""
    free = _Free(encoder)
    with TemporaryDirectory(prefix="tailrace-plan-") as name:
        folder = Path(name)
        index = _stand_in(settings, folder)
        store = VectorStore(folder / "vectors.db", 1 << 28, SystemClock())
        try:
            index.create("rehearsal", free.dimensions)
            collection = index.open("rehearsal")
            pipeline = Pipeline("rehearsal", collection, free, store, cutter, bm25.documents)
            batch = settings.ingest.index_batch_records
            half = max(1, min(batch, len(documents) // 2))
            pipeline.apply(documents[:half])  # warms up
            pipeline.flush()
            before, began = collection.counts().chunks, time.perf_counter()
            for at in range(half, len(documents), batch):
                pipeline.apply(documents[at : at + batch])
                pipeline.flush()
            spent = time.perf_counter() - began
            chunks = collection.counts().chunks - before
        finally:
            store.close()
            index.close()
    return Rehearsal(spent / max(chunks, 1), _overhead(cutter, documents[:32]))


def _stand_in(settings: Settings, folder: Path) -> Index:
    """Of the configured kind; for a server, which must not be written to, the embedded one."""
    if isinstance(settings.index, MemoryIndexSettings):
        return build_index(settings.index)
    return build_index(EdgeIndex(path=folder / "index"))


def _overhead(cutter: Cutter, documents: Sequence[Document]) -> float:
    size, chunks = 0.0, 0
    for document in documents:
        made = desired(document, cutter.cut(document.text))
        fixed = len(json.dumps([document.name, document.key, document.tenant, document.groups])) + 120
        fixed += 2 * len(json.dumps(dict(document.metadata)))
        size += PAYLOAD * len(json.dumps(manifest_payload(manifest(document, made, ""))))
        size += sum(8 * len(one.indices) * 2 for one in bm25.documents([chunk.text for chunk in made]))
        size += len(made) * (POINT_BYTES + PAYLOAD * fixed)
        chunks += len(made)
    return size / max(chunks, 1)
