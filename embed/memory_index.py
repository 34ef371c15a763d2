"""The twin of the index seam: dictionaries behind one lock. For tests and experiments, gone at exit."""

from collections import Counter
from collections.abc import Collection as Many
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log
from threading import RLock
from uuid import UUID

import numpy as np

from core.errors import ConfigurationError
from core.state import Json
from embed.index import Collection, Counts, Drop, Page, Swap
from embed.model import (
    Candidate,
    ChunkPoint,
    Covered,
    Manifest,
    Scope,
    Sparse,
    StoredChunk,
    Vector,
)
from embed.payload import facet_tokens, filter_tokens, reader_tokens, scope_tokens, unit


@dataclass
class MemoryCollection:
    name: str
    dimensions: int
    _lock: RLock
    _chunks: dict[UUID, ChunkPoint] = field(default_factory=dict)
    _manifests: dict[UUID, Manifest] = field(default_factory=dict)
    _marks: dict[tuple[str, int], Covered] = field(default_factory=dict)

    def manifests(self, ids: Sequence[UUID]) -> dict[UUID, Manifest]:
        with self._lock:
            return {point: self._manifests[point] for point in ids if point in self._manifests}

    def write_chunks(self, points: Sequence[ChunkPoint]) -> None:
        ready = [replace(point, dense=unit(point.dense, self.dimensions, self.name)) for point in points]
        with self._lock:
            for point in ready:
                stored = self._chunks.get(point.chunk.id)
                if stored is None or stored.version <= point.version:
                    self._chunks[point.chunk.id] = point

    def swap_manifests(self, swaps: Sequence[Swap]) -> set[UUID]:
        with self._lock:
            for swap in swaps:
                stored = self._manifests.get(swap.manifest.id)
                if (None if stored is None else stored.version) == swap.expect:
                    self._manifests[swap.manifest.id] = swap.manifest
            return {
                swap.manifest.id for swap in swaps if self._manifests.get(swap.manifest.id) == swap.manifest
            }

    def drop_chunks(self, drops: Sequence[Drop]) -> None:
        with self._lock:
            for drop in drops:
                for point in drop.chunks:
                    if point in self._chunks and self._chunks[point].version < drop.below:
                        del self._chunks[point]

    def chunks(self, ids: Sequence[UUID]) -> dict[UUID, StoredChunk]:
        with self._lock:
            return {point: _stored(self._chunks[point]) for point in ids if point in self._chunks}

    def vectors(self, ids: Sequence[UUID]) -> dict[UUID, Vector]:
        with self._lock:
            return {point: self._chunks[point].dense for point in ids if point in self._chunks}

    def search(
        self,
        queries: Sequence[Vector | Sparse],
        scope: Scope,
        filters: Mapping[str, Many[Json]],
        limit: int,
    ) -> list[list[Candidate]]:
        return [
            self._by_words(query, scope, filters, limit)
            if isinstance(query, Sparse)
            else self._by_meaning(query, scope, filters, limit)
            for query in queries
        ]

    def _by_meaning(
        self, vector: Vector, scope: Scope, filters: Mapping[str, Many[Json]], limit: int
    ) -> list[Candidate]:
        asked = unit(vector, self.dimensions, self.name)
        with self._lock:
            found = [(float(np.dot(point.dense, asked)), point) for point in self._visible(scope, filters)]
        return _best(found, limit)

    def _by_words(
        self, query: Sparse, scope: Scope, filters: Mapping[str, Many[Json]], limit: int
    ) -> list[Candidate]:
        asked = dict(zip(query.indices, query.values, strict=True))
        with self._lock:
            corpus = [point for point in self._visible(scope, {}) if point.sparse.indices]
            matching = list(self._visible(scope, filters))
        having = Counter(token for point in corpus for token in point.sparse.indices if token in asked)
        weights = {
            token: weight * log(1 + (len(corpus) - having[token] + 0.5) / (having[token] + 0.5))
            for token, weight in asked.items()
        }
        found = [
            (sum(value * weights[token] for token, value in pairs if token in weights), point)
            for point in matching
            if (pairs := list(zip(point.sparse.indices, point.sparse.values, strict=True)))
            and not asked.keys().isdisjoint(point.sparse.indices)
        ]
        return _best(found, limit)

    def scroll(
        self, after: UUID | None, limit: int, *, deleted: bool | None = False, below: int | None = None
    ) -> Page:
        with self._lock:
            wanted = [
                manifest
                for _, manifest in sorted(self._manifests.items())
                if (after is None or manifest.id > after)
                and (deleted is None or manifest.deleted is deleted)
                and (below is None or manifest.version < below)
            ]
        page = tuple(wanted[:limit])
        return Page(page, page[-1].id if len(wanted) > limit else None)

    def scroll_chunks(self, after: UUID | None, limit: int) -> tuple[list[StoredChunk], UUID | None]:
        with self._lock:
            wanted = sorted(point for point in self._chunks if after is None or point > after)
            page = [_stored(self._chunks[point]) for point in wanted[:limit]]
        return page, page[-1].id if len(wanted) > limit else None

    def erase_manifests(self, ids: Sequence[UUID], below: int) -> None:
        with self._lock:
            for point, manifest in self.manifests(ids).items():
                if manifest.deleted and manifest.version < below:
                    del self._manifests[point]

    def cover(self, marks: Sequence[Covered]) -> None:
        with self._lock:
            for mark in marks:
                stored = self._marks.setdefault((mark.topic, mark.partition), mark)
                if stored.reach <= mark.reach:
                    self._marks[mark.topic, mark.partition] = mark

    def covered(self) -> list[Covered]:
        with self._lock:
            return list(self._marks.values())

    def counts(self) -> Counts:
        with self._lock:
            live = sum(not manifest.deleted for manifest in self._manifests.values())
            return Counts(live, len(self._chunks))

    def flush(self) -> None:
        """Nothing here outlives the process."""

    def _visible(self, scope: Scope, filters: Mapping[str, Many[Json]]) -> Iterator[ChunkPoint]:
        readers, wanted = set(scope_tokens(scope)), filter_tokens(filters)
        for point in self._chunks.values():
            if not readers.isdisjoint(reader_tokens(point.tenant, point.groups)):
                facets = set(facet_tokens(point.metadata)) if wanted else set()
                if all(not facets.isdisjoint(tokens) for tokens in wanted):
                    yield point


class MemoryIndex:
    """All collections of one process. Calls may come from several threads."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._collections: dict[str, MemoryCollection] = {}
        self._aliases: dict[str, str] = {}

    def create(self, name: str, dimensions: int) -> None:
        with self._lock:
            made = self._collections.setdefault(name, MemoryCollection(name, dimensions, RLock()))
        if made.dimensions != dimensions:
            raise ConfigurationError(
                f"collection {name} has {made.dimensions} dimensions, not {dimensions}:"
                " another encoder needs a new generation"
            )

    def open(self, name: str) -> Collection:
        with self._lock:
            if name not in self._collections:
                raise ConfigurationError(f"no collection {name} in the index: create it first")
            return self._collections[name]

    def collections(self) -> list[str]:
        with self._lock:
            return sorted(self._collections)

    def drop(self, name: str) -> None:
        with self._lock:
            self._collections.pop(name, None)
            self._aliases = {alias: at for alias, at in self._aliases.items() if at != name}

    def alias(self, name: str) -> str | None:
        with self._lock:
            return self._aliases.get(name)

    def point(self, alias: str, collection: str) -> None:
        with self._lock:
            self.open(collection)
            self._aliases[alias] = collection

    def close(self) -> None:
        """Nothing to close."""


def _stored(point: ChunkPoint) -> StoredChunk:
    return StoredChunk(
        point.chunk.id, point.manifest, point.key, point.chunk.text, point.version, dict(point.metadata)
    )


def _best(found: list[tuple[float, ChunkPoint]], limit: int) -> list[Candidate]:
    ranked = sorted(found, key=lambda pair: -pair[0])[:limit]
    return [Candidate(point.chunk.id, score) for score, point in ranked]
