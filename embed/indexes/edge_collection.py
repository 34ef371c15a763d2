"""One collection of the embedded index: a shard, and a lock that makes its writes conditional."""

from collections.abc import Collection as Many
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, cast
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from core.errors import ConfigurationError, TransientError
from core.state import Json
from core.telemetry import logger
from embed import payload as codec
from embed.index import Drop, Swap
from embed.indexes.points import Points, batches, visible
from embed.indexes.room import Room
from embed.model import Candidate, ChunkPoint, Covered, Scope, Sparse, Vector
from embed.payload import Payload

log = logger(__name__)

_ops = edge.UpdateOperation


class EdgeCollection(Points):
    """One shard. Calls may come from several threads; writes wait for each other."""

    def __init__(self, name: str, dimensions: int, shard: edge.EdgeShard, room: Room) -> None:
        super().__init__(name, dimensions)
        self._shard, self._room = shard, room
        self._writing = Lock()
        self._flushing = Lock()
        self._dirty = True

    def write_chunks(self, points: Sequence[ChunkPoint]) -> None:
        for batch in batches(points):
            ready = [(p, codec.unit(p.dense, self.dimensions, self.name)) for p in batch]
            with self._writing:
                stored = self._versions([point.chunk.id for point in batch])
                made: dict[UUID, edge.Point] = {}
                for point, dense in ready:
                    if stored.get(point.chunk.id, -1) <= point.version:
                        stored[point.chunk.id] = point.version
                        made[point.chunk.id] = _chunk_point(point, dense)
                self._upsert(made)

    def swap_manifests(self, swaps: Sequence[Swap]) -> set[UUID]:
        held: set[UUID] = set()
        for batch in batches(swaps):
            with self._writing:
                stored = self.manifests([swap.manifest.id for swap in batch])
                made: dict[UUID, edge.Point] = {}
                for swap in batch:
                    manifest, now = swap.manifest, stored.get(swap.manifest.id)
                    if (None if now is None else now.version) == swap.expect:
                        stored[manifest.id] = manifest
                        made[manifest.id] = edge.Point(manifest.id, {}, codec.manifest_payload(manifest))
                self._upsert(made)
            held |= {swap.manifest.id for swap in batch if stored.get(swap.manifest.id) == swap.manifest}
        return held

    def drop_chunks(self, drops: Sequence[Drop]) -> None:
        for batch in batches([(point, drop.below) for drop in drops for point in drop.chunks]):
            with self._writing:
                stored = self._versions([point for point, _ in batch])
                self._delete({point for point, below in batch if stored.get(point, below) < below})

    def erase_manifests(self, ids: Sequence[UUID], below: int) -> None:
        for batch in batches(ids):
            with self._writing:
                stored = self.manifests(batch)
                self._delete({m.id for m in stored.values() if m.deleted and m.version < below})

    def cover(self, marks: Sequence[Covered]) -> None:
        made = codec.furthest(marks)
        with self._writing:
            stored = {at: codec.mark_of(at, payload) for at, payload in self._read(list(made), None)}
            further = {at: m for at, m in made.items() if at not in stored or stored[at].reach <= m.reach}
            self._upsert({at: edge.Point(at, {}, codec.mark_payload(m)) for at, m in further.items()})

    def vectors(self, ids: Sequence[UUID]) -> dict[UUID, Vector]:
        with self._border():
            records: list[Any] = self._shard.retrieve(list(ids), False, [codec.DENSE]) if ids else []
        return {record.id: np.asarray(record.vector[codec.DENSE], np.float32) for record in records}

    def flush(self) -> None:
        # The second of two callers waits for the first: its writes may be in that flush.
        with self._flushing:
            if self._dirty:
                self._room.ask()
                self._dirty = False
                try:
                    with self._border():
                        self._shard.flush()
                except BaseException:
                    self._dirty = True
                    raise

    def optimize(self) -> bool:
        """Build graphs, give back the room of what was deleted. True if anything was to be done.

        Stops every thread of this process meanwhile: seconds at 60,000 points. For quiet moments.
        """
        self._room.ask()
        with self._writing, self._border():
            return self._shard.optimize()

    def close(self) -> None:
        """Flush, unless that is refused, and let go of the files. Later calls are refused."""
        try:
            self.flush()
        except TransientError as error:  # what was written is in the log, and nothing of it acknowledged
            log.warning("closed without a flush", collection=self.name, why=str(error))
        with self._writing, self._border():
            self._shard.close()

    def _nearest(
        self,
        queries: Sequence[Vector | Sparse],
        scope: Scope,
        filters: Mapping[str, Many[Json]],
        limit: int,
    ) -> list[list[Candidate]]:
        only, corpus = _must(visible(scope, filters)), _must(visible(scope, {}))
        requests = []
        for query in queries:
            params = None
            if isinstance(query, Sparse):
                sparse = edge.SparseVector(list(query.indices), list(query.values))
                asked = edge.Query.Nearest(sparse, using=codec.SPARSE)
                params = edge.SearchParams(idf=edge.IdfParams(corpus=corpus))
            else:
                asked = edge.Query.Nearest(cast("list[float]", query), using=codec.DENSE)
            requests.append(edge.QueryRequest(limit=limit, query=asked, filter=only, params=params))
        with self._border():
            found: list[list[Any]] = self._shard.query_batch(edge.QueryBatchRequest(requests))
        return [[Candidate(point.id, point.score) for point in points] for points in found]

    def _page(
        self, after: UUID | None, limit: int, kinds: list[str], below: int | None, fields: list[str] | None
    ) -> tuple[list[tuple[UUID, Payload]], bool]:
        start = codec.next_id(after)
        if start is None:
            return [], False
        only = _must([("kind", kinds)], below)
        request = edge.ScrollRequest(offset=start, limit=limit, filter=only, with_payload=_selected(fields))
        with self._border():
            records, following = cast("tuple[list[Any], Any]", self._shard.scroll(request))
        return [(record.id, record.payload) for record in records], following is not None

    def _read(self, ids: Sequence[UUID], fields: list[str] | None) -> list[tuple[UUID, Payload]]:
        with self._border():
            records: list[Any] = self._shard.retrieve(list(ids), _selected(fields), False) if ids else []
        return [(record.id, record.payload) for record in records]

    def _count(self, kind: str) -> int:
        with self._border():
            return self._shard.count(edge.CountRequest(filter=_must([("kind", [kind])])))

    def _versions(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        return {point: payload["version"] for point, payload in self._read(ids, ["version"])}

    def _upsert(self, points: Mapping[UUID, edge.Point]) -> None:
        if points:
            self._update(_ops.upsert_points(list(points.values())))

    def _delete(self, ids: Many[UUID]) -> None:
        if ids:
            self._update(_ops.delete_points(list(ids)))

    def _update(self, operation: edge.UpdateOperation) -> None:
        self._room.ask()
        try:
            with self._border():
                self._shard.update(operation)
        finally:
            self._dirty = True  # after the write: a flush that ran meanwhile may have missed it

    @contextmanager
    def _border(self) -> Iterator[None]:
        """Edge raises plain `Exception`s; what it derives from others is a bug of ours."""
        try:
            yield
        except Exception as error:
            if type(error) is not Exception:
                raise
            if "not initialized" in str(error):
                raise ConfigurationError(
                    f"collection {self.name} was dropped or its index closed: resolve the alias again"
                ) from error
            raise TransientError(f"embedded index, collection {self.name}: {error}") from error


def _chunk_point(point: ChunkPoint, dense: Vector) -> edge.Point:
    sparse = edge.SparseVector(list(point.sparse.indices), list(point.sparse.values))
    vectors: dict[str, Any] = {codec.DENSE: dense}
    if point.sparse.indices:
        vectors[codec.SPARSE] = sparse
    return edge.Point(point.chunk.id, vectors, codec.chunk_payload(point))


def _must(tokens: list[tuple[str, list[str]]], below: int | None = None) -> edge.Filter:
    conditions: list[Any] = [
        # One value has a path of its own: 0.5 ms, not 1.9, for the statistics of 50,000 chunks.
        edge.FieldCondition(
            key=key, match=edge.MatchValue(values[0]) if len(values) == 1 else edge.MatchAny(values)
        )
        for key, values in tokens
    ]
    if below is not None:
        conditions.append(edge.FieldCondition(key="version", range=edge.RangeFloat(lt=float(below))))
    return edge.Filter(must=conditions)


def _selected(fields: list[str] | None) -> list[str] | bool:
    return True if fields is None else list(fields)
