"""Payloads of index points: the one place that turns them into our words and back.

Four kinds of point share a collection: chunks, manifests, graves (manifests of what was
removed) and marks (what the index agent has covered). Each carries a format number; a newer
one than ours is refused by name, since an old process must not guess at what a newer one wrote.

What a search filters by is stored as tokens, made here for both sides, so that every store
needs nothing but exact matches on indexed keywords, whatever a column is called or holds.
Everything that is not filtered by is stored as text, which no store rounds.
"""

import json
from collections.abc import Collection as Many
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid5

import numpy as np

from core.errors import ConfigurationError
from core.state import Json
from embed.model import NAMESPACE, ChunkPoint, Covered, Manifest, Scope, StoredChunk, Vector

FORMAT: Final = 1

DENSE: Final = "dense"
SPARSE: Final = "bm25"
"""Names of the two vectors of a chunk."""

CHUNK: Final = "chunk"
MANIFEST: Final = "manifest"
GRAVE: Final = "grave"
MARK: Final = "mark"

KEYWORDS: Final = ("kind", "readers", "facets")
"""Indexed as exact keywords; beside them only `version`, as an integer."""

CHUNK_FIELDS: Final = ["format", "kind", "manifest", "key", "text", "version", "metadata"]
"""What `stored_chunk` reads."""

NOBODYS: Final = str(UUID(int=0))
"""Manifest of chunks from before they named one: no row's, so no sweep takes them for a stray."""

Payload: TypeAlias = dict[str, Any]


def chunk_payload(point: ChunkPoint) -> Payload:
    return {
        "format": FORMAT,
        "kind": CHUNK,
        "manifest": str(point.manifest),
        "document": point.document,
        "key": point.key,
        "version": point.version,
        "tenant": point.tenant,
        "readers": reader_tokens(point.tenant, point.groups),
        "facets": facet_tokens(point.metadata),
        "metadata": json.dumps(dict(point.metadata), separators=(",", ":")),
        "text": point.chunk.text,
    }


def stored_chunk(point: UUID, payload: Payload) -> StoredChunk:
    """Raises ConfigurationError for a newer format, or for a point that is no chunk of ours."""
    _checked(point, payload, CHUNK)
    return StoredChunk(
        id=point,
        manifest=UUID(payload.get("manifest", NOBODYS)),
        key=payload["key"],
        text=payload["text"],
        version=payload["version"],
        metadata=json.loads(payload["metadata"]),
    )


def manifest_payload(manifest: Manifest) -> Payload:
    return {
        "format": FORMAT,
        "kind": GRAVE if manifest.deleted else MANIFEST,
        "document": manifest.document,
        "key": manifest.key,
        "canonical": manifest.canonical.hex(),
        "version": manifest.version,
        "tenant": manifest.tenant,
        "groups": None if manifest.groups is None else list(manifest.groups),
        "chunks": " ".join(map(str, manifest.chunks)),
        "title": manifest.title,
        "url": manifest.url,
        "position": manifest.position,
        "committed_at": manifest.committed_at,
        "fingerprint": manifest.fingerprint,
    }


def manifest_of(point: UUID, payload: Payload) -> Manifest:
    """Raises ConfigurationError for a newer format, or for a point that is no manifest of ours."""
    _checked(point, payload, MANIFEST, GRAVE)
    return Manifest(
        id=point,
        document=payload["document"],
        key=payload["key"],
        canonical=bytes.fromhex(payload["canonical"]),
        version=payload["version"],
        tenant=payload["tenant"],
        groups=None if payload["groups"] is None else tuple(payload["groups"]),
        deleted=payload["kind"] == GRAVE,
        chunks=tuple(map(UUID, payload["chunks"].split())),
        title=payload["title"],
        url=payload["url"],
        position=payload["position"],
        committed_at=payload["committed_at"],
        fingerprint=payload["fingerprint"],
    )


def mark_id(topic: str, partition: int) -> UUID:
    return uuid5(NAMESPACE, f"mark\0{topic}\0{partition}")


def furthest(marks: Iterable[Covered]) -> dict[UUID, Covered]:
    """One mark of each partition, by the id of its point; of equals the last."""
    found: dict[UUID, Covered] = {}
    for mark in sorted(marks, key=lambda one: one.reach):
        found[mark_id(mark.topic, mark.partition)] = mark
    return found


def mark_payload(mark: Covered) -> Payload:
    return {
        "format": FORMAT,
        "kind": MARK,
        "topic": mark.topic,
        "partition": mark.partition,
        "offset": mark.offset,
        "version": mark.version,
        "position": mark.position,
        "committed_at": mark.committed_at,
    }


def mark_of(point: UUID, payload: Payload) -> Covered:
    """Raises ConfigurationError for a newer format, or for a point that is no mark of ours."""
    _checked(point, payload, MARK)
    return Covered(
        payload["topic"],
        payload["partition"],
        payload["offset"],
        payload["version"],
        payload["position"],
        payload["committed_at"],
    )


def reader_tokens(tenant: str | None, groups: Many[str] | None) -> list[str]:
    """Who may read a chunk: everybody of its tenant, or groups of it; an empty list is nobody.

    Tenant and group are one token, so no search can ask for the one and forget the other, and
    a store has one condition to test: half the time of an exact search with two.
    """
    return [_token(tenant)] if groups is None else [_token(tenant, group) for group in groups]


def scope_tokens(scope: Scope) -> list[str]:
    """What a caller may read: chunks with any of these among their readers."""
    return [_token(scope.tenant), *(_token(scope.tenant, group) for group in sorted(scope.groups))]


def facet_tokens(metadata: Mapping[str, Json]) -> list[str]:
    """One token for each value of each column; each element of a list is a value."""
    return sorted(
        {
            _facet(column, element)
            for column, value in metadata.items()
            for element in (value if isinstance(value, list) else [value])
        }
    )


def filter_tokens(filters: Mapping[str, Many[Json]]) -> list[list[str]]:
    """For each column the tokens of which a chunk must have one; an empty list can match nothing."""
    return [sorted({_facet(column, value) for value in values}) for column, values in filters.items()]


def _facet(column: str, value: Json) -> str:
    # JSON has one kind of number: 1 and 1.0 are the same value; true is none.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _token(column, value)


def _token(*parts: Json) -> str:
    return json.dumps(parts, separators=(",", ":"), sort_keys=True)


def unit(vector: Vector, dimensions: int, collection: str) -> Vector:
    """`vector` at length 1, as stores with cosine keep it. ConfigurationError if its length is another."""
    if vector.shape != (dimensions,):
        raise ConfigurationError(
            f"collection {collection} holds vectors of {dimensions} dimensions, not of shape {vector.shape}:"
            " it was made for another encoder; start a new generation with `tailrace reindex start`"
        )
    length = float(np.linalg.norm(vector))
    return vector if abs(length - 1) < 1e-6 or length == 0 else np.asarray(vector / length, np.float32)  # noqa: PLR2004 - one float32 step


def next_id(after: UUID | None) -> UUID | None:
    """The least id above `after`, for stores whose pages start at an id; None past the last one."""
    least = 0 if after is None else after.int + 1
    return UUID(int=least) if least < 1 << 128 else None


def _checked(point: UUID, payload: Payload, *kinds: str) -> None:
    found = payload.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise ConfigurationError(
            f"index point {point} has format {found}, this version reads up to {FORMAT}: "
            "a newer Tailrace wrote it; update this process, or reindex"
        )
    if found != FORMAT or payload.get("kind") not in kinds:
        raise ConfigurationError(
            f"index point {point} is no {' or '.join(kinds)} that Tailrace wrote"
            f" (format {found!r}, kind {payload.get('kind')!r}): the collection must be used by nothing else"
        )
