"""Points of an index, made from few words: chunks, manifests, and a search with what it found."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import numpy as np

from core.state import Json
from embed.index import Collection, Swap
from embed.model import Chunk, ChunkPoint, Manifest, Scope, Sparse, StoredChunk, Vector, manifest_id

ALL = Scope(None)
TOP = 2**53 - 1
D = 8


def unit(*parts: float) -> Vector:
    vector = np.zeros(D, np.float32)
    vector[: len(parts)] = parts
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def chunk(
    version: int = 1,
    *,
    id: UUID | None = None,  # noqa: A002 - the field's name
    dense: Vector | None = None,
    sparse: Sparse | None = None,
    tenant: str | None = None,
    groups: tuple[str, ...] | None = None,
    metadata: Mapping[str, Json] | None = None,
    text: str = "a text",
) -> ChunkPoint:
    return ChunkPoint(
        Chunk(id or uuid4(), text),
        manifest_id("articles", b"1"),
        "articles",
        "id=1",
        tenant,
        groups,
        metadata or {},
        version,
        unit(1) if dense is None else dense,
        sparse or Sparse((7,), (1.0,)),
    )


def manifest(version: int = 1, **changes: Any) -> Manifest:
    made = Manifest(
        id=uuid4(),
        document="articles",
        key="id=1",
        canonical=b"\x00\xff",
        version=version,
        tenant="acme",
        groups=("a", "b"),
        deleted=False,
        chunks=(uuid4(), uuid4()),
        title='A title with "quotes" and äöü 🜁',
        url=None,
        position="0/16B3748",
        committed_at=1_700_000_000_000,
        fingerprint="hashing-8",
    )
    return replace(made, **changes)


class Hit(NamedTuple):
    chunk: StoredChunk
    score: float


def search(
    collection: Collection, query: Vector | Sparse, scope: Scope, filters: Mapping[str, Any], limit: int
) -> list[Hit]:
    """One query's, with what was found."""
    [best] = collection.search([query], scope, filters, limit)
    chunks = collection.chunks([one.id for one in best])
    return [Hit(chunks[one.id], one.score) for one in best]


def put(collection: Collection, *manifests: Manifest) -> None:
    assert collection.swap_manifests([Swap(m, None) for m in manifests]) == {m.id for m in manifests}
