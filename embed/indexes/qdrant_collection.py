"""One collection on a Qdrant server: conditional writes, read back to know who won."""

from collections.abc import Collection as Many
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, cast
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient, models

from core.errors import TransientError
from core.state import Json
from embed import payload as codec
from embed.index import Drop, Swap
from embed.indexes.points import BATCH, Points, batches, visible
from embed.indexes.qdrant_errors import border
from embed.model import Candidate, ChunkPoint, Covered, Manifest, Scope, Sparse, Vector
from embed.payload import Payload

REQUEST_BYTES: Final = 8 << 20
"""Of the points of one request, unless one alone is longer: a server refuses more than 32 MB by default."""

Item = TypeVar("Item")


class QdrantCollection(Points):
    """One collection of a server. Calls may come from several threads."""

    def __init__(self, client: QdrantClient, name: str, dimensions: int) -> None:
        super().__init__(name, dimensions)
        self._client = client

    def write_chunks(self, points: Sequence[ChunkPoint]) -> None:
        made = (
            (point.version, _chunk_point(point, codec.unit(point.dense, self.dimensions, self.name)))
            for point in points
        )
        for batch in _requests(made):
            # A condition belongs to a whole operation, so each version has its own.
            versions: dict[int, list[models.PointStruct]] = {}
            for version, point in batch:
                versions.setdefault(version, []).append(point)
            self._update([_upsert(same, only=[_range(lte=version)]) for version, same in versions.items()])

    def swap_manifests(self, swaps: Sequence[Swap]) -> set[UUID]:
        held: set[UUID] = set()
        for batch in _requests((swap, _manifest_point(swap.manifest)) for swap in swaps):
            first = [point for swap, point in batch if swap.expect is None]
            later = [
                _upsert([point], models.UpdateMode.UPDATE_ONLY, [_exactly(swap.expect)])
                for swap, point in batch
                if swap.expect is not None
            ]
            self._update([*([_upsert(first, models.UpdateMode.INSERT_ONLY)] if first else []), *later])
            asked = [swap.manifest for swap, _ in batch]
            stored = self.manifests([one.id for one in asked])
            held |= {one.id for one in asked if stored.get(one.id) == one}
        return held

    def drop_chunks(self, drops: Sequence[Drop]) -> None:
        for batch in batches([(point, drop.below) for drop in drops for point in drop.chunks]):
            doomed: dict[int, list[UUID]] = {}
            for point, below in batch:
                doomed.setdefault(below, []).append(point)
            self._update([_delete(points, _range(lt=below)) for below, points in doomed.items()])

    def erase_manifests(self, ids: Sequence[UUID], below: int) -> None:
        only = (_any("kind", [codec.GRAVE]), _range(lt=below))
        for batch in batches(ids):
            self._update([_delete(batch, *only)])

    def cover(self, marks: Sequence[Covered]) -> None:
        made = codec.furthest(marks).items()
        for batch in batches(list(made)):
            self._update([_upsert([_mark_point(at, mark)], only=[_reached(mark)]) for at, mark in batch])

    def vectors(self, ids: Sequence[UUID]) -> dict[UUID, Vector]:
        found: dict[UUID, Vector] = {}
        for record in self._retrieve(ids, False, [codec.DENSE]):
            named = cast("dict[str, list[float]]", record.vector)
            found[UUID(str(record.id))] = np.asarray(named[codec.DENSE], np.float32)
        return found

    def flush(self) -> None:
        """Nothing to do: every write waited for the server's write-ahead log."""

    def _nearest(
        self,
        queries: Sequence[Vector | Sparse],
        scope: Scope,
        filters: Mapping[str, Many[Json]],
        limit: int,
    ) -> list[list[Candidate]]:
        only = models.Filter(must=_visible(scope, filters))
        corpus = models.IdfCorpusParams(corpus=models.Filter(must=_visible(scope, {})))
        requests = []
        for query in queries:
            asked: list[float] | models.SparseVector
            if isinstance(query, Sparse):
                asked = models.SparseVector(indices=list(query.indices), values=list(query.values))
                using, params = codec.SPARSE, models.SearchParams(idf=corpus)
            else:
                asked, using, params = query.tolist(), codec.DENSE, None
            requests.append(
                models.QueryRequest(query=asked, using=using, filter=only, params=params, limit=limit)
            )
        with border(f"collection {self.name}"):
            found = self._client.query_batch_points(self.name, requests)
        return [[Candidate(UUID(str(point.id)), point.score) for point in one.points] for one in found]

    def _page(
        self, after: UUID | None, limit: int, kinds: list[str], below: int | None, fields: list[str] | None
    ) -> tuple[list[tuple[UUID, Payload]], bool]:
        start = codec.next_id(after)
        if start is None:
            return [], False
        only: list[models.Condition] = [_any("kind", kinds)]
        if below is not None:
            only.append(_range(lt=below))
        with border(f"collection {self.name}"):
            records, following = self._client.scroll(
                self.name,
                models.Filter(must=only),
                limit,
                offset=str(start),
                with_payload=True if fields is None else fields,
            )
        return [(UUID(str(r.id)), r.payload or {}) for r in records], following is not None

    def _count(self, kind: str) -> int:
        with border(f"collection {self.name}"):
            return self._client.count(self.name, models.Filter(must=[_any("kind", [kind])])).count

    def _read(self, ids: Sequence[UUID], fields: list[str] | None) -> list[tuple[UUID, Payload]]:
        found = self._retrieve(ids, True if fields is None else fields, False)
        return [(UUID(str(record.id)), record.payload or {}) for record in found]

    def _retrieve(
        self,
        ids: Sequence[UUID],
        payload: list[str] | Literal[True, False],
        vectors: list[str] | Literal[False],
    ) -> list[models.Record]:
        with border(f"collection {self.name}"):
            return [
                record
                for batch in batches(ids)
                for record in self._client.retrieve(
                    self.name,
                    list(map(str, batch)),
                    with_payload=payload,
                    with_vectors=vectors,
                    consistency=models.ReadConsistencyType.MAJORITY,  # a replica may be behind
                )
            ]

    def _update(self, operations: list[models.UpdateOperation]) -> None:
        if not operations:
            return
        with border(f"collection {self.name}"):
            # Strong ordering: replicas must agree on who won a swap.
            results = self._client.batch_update_points(
                self.name, operations, wait=True, ordering=models.WriteOrdering.STRONG
            )
        late = [str(r.status) for r in results if r.status != models.UpdateStatus.COMPLETED]
        if late:
            raise TransientError(f"collection {self.name}: the server did not finish a write: {late[0]}")


def _requests(
    items: Iterable[tuple[Item, models.PointStruct]],
) -> Iterator[list[tuple[Item, models.PointStruct]]]:
    """Each with its point; as many as go into one request, by number and by length."""
    some: list[tuple[Item, models.PointStruct]] = []
    room = REQUEST_BYTES
    for item, point in items:
        length = len(point.model_dump_json().encode())
        if some and (len(some) == BATCH or length > room):
            yield some
            some, room = [], REQUEST_BYTES
        some.append((item, point))
        room -= length
    if some:
        yield some


def _manifest_point(manifest: Manifest) -> models.PointStruct:
    return models.PointStruct(id=str(manifest.id), vector={}, payload=codec.manifest_payload(manifest))


def _mark_point(at: UUID, mark: Covered) -> models.PointStruct:
    return models.PointStruct(id=str(at), vector={}, payload=codec.mark_payload(mark))


def _chunk_point(point: ChunkPoint, dense: Vector) -> models.PointStruct:
    vectors: dict[str, Any] = {codec.DENSE: dense.tolist()}
    if point.sparse.indices:
        vectors[codec.SPARSE] = models.SparseVector(
            indices=list(point.sparse.indices), values=list(point.sparse.values)
        )
    return models.PointStruct(id=str(point.chunk.id), vector=vectors, payload=codec.chunk_payload(point))


def _upsert(
    points: list[models.PointStruct],
    mode: models.UpdateMode | None = None,
    only: list[models.Condition] | None = None,
) -> models.UpsertOperation:
    condition = models.Filter(must=only) if only else None
    return models.UpsertOperation(
        upsert=models.PointsList(points=points, update_mode=mode, update_filter=condition)
    )


def _delete(ids: Iterable[UUID], *only: models.Condition) -> models.DeleteOperation:
    chosen = models.HasIdCondition(has_id=list(map(str, ids)))
    return models.DeleteOperation(delete=models.FilterSelector(filter=models.Filter(must=[chosen, *only])))


def _visible(scope: Scope, filters: Mapping[str, Many[Json]]) -> list[models.Condition]:
    return [_any(key, values) for key, values in visible(scope, filters)]


def _any(key: str, values: list[str]) -> models.FieldCondition:
    single = len(values) == 1
    match = models.MatchValue(value=values[0]) if single else models.MatchAny(any=values)
    return models.FieldCondition(key=key, match=match)


def _exactly(version: int) -> models.FieldCondition:
    return models.FieldCondition(key="version", match=models.MatchValue(value=version))


def _range(*, lt: int | None = None, lte: int | None = None) -> models.FieldCondition:
    return models.FieldCondition(key="version", range=models.Range(lt=lt, lte=lte))


def _reached(mark: Covered) -> models.Filter:
    """Of a stored mark that does not reach further than this one."""
    offset = models.FieldCondition(key="offset", range=models.Range(lte=mark.offset))
    level = models.Filter(must=[_exactly(mark.version), offset])
    return models.Filter(should=[_range(lt=mark.version), level])
