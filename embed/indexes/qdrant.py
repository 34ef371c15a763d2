"""Qdrant over HTTP: any number of processes, each write carrying its own condition.

A refused conditional write answers like an accepted one, so a swap reads back. A conditional
upsert alone would re-insert a removed manifest; `update_only` does not. Needs a server of 1.19
or newer: an older one ignores the corpus of the BM25 statistics, silently, and lets other
tenants' rows move scores. A write is acknowledged when it is in the server's write-ahead log
and applied; how that log meets a loss of power is the server's replication and disks.
"""

import re
from collections.abc import Collection as Many
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from json import JSONDecodeError
from math import ceil
from typing import Any, Final, Literal, cast
from uuid import UUID

import numpy as np
from pydantic import ValidationError
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from core.errors import ConfigurationError, TransientError
from core.state import Json
from embed import payload as codec
from embed.index import Collection, Drop, Swap
from embed.indexes.points import Points, batches, visible
from embed.model import Candidate, ChunkPoint, Covered, Manifest, Scope, Sparse, Vector
from embed.payload import Payload

OLDEST: Final = (1, 19)
"""First server with a corpus for BM25 statistics (and with `update_mode`)."""

_RETRY_LATER: Final = frozenset({408, 409, 423, 425, 429})

_FOREIGN: Final = (ValidationError, JSONDecodeError, UnicodeDecodeError, AssertionError)
"""What the client raises for an answer that it cannot read; it asserts that there is a result."""


class QdrantCollection(Points):
    """One collection of a server. Calls may come from several threads."""

    def __init__(self, client: QdrantClient, name: str, dimensions: int) -> None:
        super().__init__(name, dimensions)
        self._client = client

    def write_chunks(self, points: Sequence[ChunkPoint]) -> None:
        for batch in batches(points):
            # A condition belongs to a whole operation, so each version has its own.
            versions: dict[int, list[models.PointStruct]] = {}
            for point in batch:
                dense = codec.unit(point.dense, self.dimensions, self.name)
                versions.setdefault(point.version, []).append(_chunk_point(point, dense))
            self._update([_upsert(made, only=[_range(lte=version)]) for version, made in versions.items()])

    def swap_manifests(self, swaps: Sequence[Swap]) -> set[UUID]:
        held: set[UUID] = set()
        for batch in batches(swaps):
            first = [_manifest_point(swap.manifest) for swap in batch if swap.expect is None]
            later = [
                _upsert(
                    [_manifest_point(swap.manifest)], models.UpdateMode.UPDATE_ONLY, [_exactly(swap.expect)]
                )
                for swap in batch
                if swap.expect is not None
            ]
            self._update([*([_upsert(first, models.UpdateMode.INSERT_ONLY)] if first else []), *later])
            stored = self.manifests([swap.manifest.id for swap in batch])
            held |= {swap.manifest.id for swap in batch if stored.get(swap.manifest.id) == swap.manifest}
        return held

    def drop_chunks(self, drops: Sequence[Drop]) -> None:
        doomed: dict[int, list[UUID]] = {}
        for drop in drops:
            doomed.setdefault(drop.below, []).extend(drop.chunks)
        every = [(below, batch) for below, points in doomed.items() for batch in batches(points)]
        self._update([_delete(batch, _range(lt=below)) for below, batch in every])

    def erase_manifests(self, ids: Sequence[UUID], below: int) -> None:
        only = (_any("kind", [codec.GRAVE]), _range(lt=below))
        self._update([_delete(batch, *only) for batch in batches(ids)])

    def cover(self, marks: Sequence[Covered]) -> None:
        made = {codec.mark_id(mark.topic, mark.partition): codec.mark_payload(mark) for mark in marks}
        points = [models.PointStruct(id=str(p), vector={}, payload=load) for p, load in made.items()]
        self._update([_upsert(points)] if points else [])

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
        with _border(f"collection {self.name}"):
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
        with _border(f"collection {self.name}"):
            records, following = self._client.scroll(
                self.name,
                models.Filter(must=only),
                limit,
                offset=str(start),
                with_payload=True if fields is None else fields,
            )
        return [(UUID(str(r.id)), r.payload or {}) for r in records], following is not None

    def _count(self, kind: str) -> int:
        with _border(f"collection {self.name}"):
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
        with _border(f"collection {self.name}"):
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
        with _border(f"collection {self.name}"):
            # Strong ordering: replicas must agree on who won a swap.
            results = self._client.batch_update_points(
                self.name, operations, wait=True, ordering=models.WriteOrdering.STRONG
            )
        late = [str(r.status) for r in results if r.status != models.UpdateStatus.COMPLETED]
        if late:
            raise TransientError(f"collection {self.name}: the server did not finish a write: {late[0]}")


class QdrantIndex:
    """All collections of one server, given by its address or as a client (also one of local mode).

    `timeout_seconds` bounds one request. Connects with the first call. Raises ConfigurationError
    for an address that is none, and with the first call for a server that is too old.
    """

    def __init__(
        self, target: str | QdrantClient, *, api_key: str | None = None, timeout_seconds: float = 10.0
    ) -> None:
        self._checked = False
        if isinstance(target, str):
            try:
                target = QdrantClient(
                    url=target, api_key=api_key, timeout=ceil(timeout_seconds), check_compatibility=False
                )
            except ValueError as error:
                raise ConfigurationError(f"index.url: {error}; write http://host:6333") from error
        self._client = target

    def create(self, name: str, dimensions: int) -> None:
        self._check()
        with _border(f"collection {name}"):
            if not self._client.collection_exists(name):
                vector = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
                sparse = models.SparseVectorParams(modifier=models.Modifier.IDF)
                try:
                    self._client.create_collection(
                        name, {codec.DENSE: vector}, sparse_vectors_config={codec.SPARSE: sparse}
                    )
                except UnexpectedResponse:
                    if not self._client.collection_exists(name):  # else another process was faster
                        raise
        stored = self._dimensions(name)
        if stored != dimensions:
            raise ConfigurationError(
                f"collection {name} on the server has {stored} dimensions, not {dimensions}:"
                " another encoder needs a new generation"
            )
        # Also on one that stands: a process may have died between the two.
        with _border(f"collection {name}"):
            for key in codec.KEYWORDS:
                tenant = key == "readers" or None
                params = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=tenant)
                self._client.create_payload_index(name, key, params, wait=True)
            number = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=True)
            self._client.create_payload_index(name, "version", number, wait=True)

    def open(self, name: str) -> Collection:
        self._check()
        return QdrantCollection(self._client, name, self._dimensions(name))

    def collections(self) -> list[str]:
        with _border("collections"):
            return sorted(found.name for found in self._client.get_collections().collections)

    def drop(self, name: str) -> None:
        with _border(f"collection {name}"):
            if self._client.collection_exists(name):
                self._client.delete_collection(name)

    def alias(self, name: str) -> str | None:
        with _border("aliases"):
            found = self._client.get_aliases().aliases
        return next((alias.collection_name for alias in found if alias.alias_name == name), None)

    def point(self, alias: str, collection: str) -> None:
        self._dimensions(collection)
        changes: list[models.AliasOperations] = [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
            )
        ]
        if self.alias(alias) is not None:
            changes.insert(0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        with _border(f"alias {alias}"):
            self._client.update_collection_aliases(changes)

    def close(self) -> None:
        self._client.close()

    def _dimensions(self, name: str) -> int:
        with _border(f"collection {name}"):
            found = self._client.get_collection(name).config.params.vectors
        if not isinstance(found, dict) or codec.DENSE not in found:
            raise ConfigurationError(
                f"collection {name} on the server was not made by Tailrace: rename the app"
            )
        return found[codec.DENSE].size

    def _check(self) -> None:
        if self._checked:
            return
        with _border("version of the server"):
            stated = self._client.info().version
        parts = re.match(r"(\d+)\.(\d+)", stated)
        if parts is None or (int(parts[1]), int(parts[2])) < OLDEST:
            raise ConfigurationError(
                f"Qdrant {stated} cannot keep tenants apart in BM25 statistics:"
                f" update the server to {OLDEST[0]}.{OLDEST[1]} or newer"
            )
        self._checked = True


@contextmanager
def _border(place: str) -> Iterator[None]:
    """Foreign errors by consequence; local mode's ValueError for what a server answers with 404."""
    try:
        yield
    except ResourceExhaustedResponse as error:
        raise TransientError(f"Qdrant, {place}: {error}", retry_after=error.retry_after_s) from error
    except UnexpectedResponse as error:
        raise _answered(place, error) from error
    except ResponseHandlingException as error:
        if isinstance(error.source, _FOREIGN):
            raise _foreign(place) from error
        raise TransientError(f"Qdrant, {place}: no answer: {error.source!r}") from error
    except _FOREIGN as error:
        raise _foreign(place) from error
    except ValueError as error:
        if "not found" not in str(error):
            raise
        raise ConfigurationError(f"Qdrant, {place}: {error}") from error


def _foreign(place: str) -> ConfigurationError:
    return ConfigurationError(
        f"Qdrant, {place}: the answer was not Qdrant's; check index.url and the server's version"
    )


def _answered(place: str, error: UnexpectedResponse) -> ConfigurationError | TransientError:
    status = error.status_code or 500
    said = error.content[:200].decode("utf-8", "replace")
    if status in _RETRY_LATER or status >= 500:  # noqa: PLR2004 - the server's own trouble
        return TransientError(f"Qdrant, {place}: status {status}: {said}")
    advice = {
        401: "index.api_key is missing or wrong",
        403: "index.api_key does not allow this",
        404: "it does not exist; check index.url, and that the generation was made and not dropped",
    }.get(status, "the request was refused; the server may be too old, or limited by its strict mode")
    return ConfigurationError(f"Qdrant, {place}: status {status}: {advice} ({said})")


def _manifest_point(manifest: Manifest) -> models.PointStruct:
    return models.PointStruct(id=str(manifest.id), vector={}, payload=codec.manifest_payload(manifest))


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
