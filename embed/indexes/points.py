"""What the adapters that keep points share: reading them, as our words."""

from abc import ABC, abstractmethod
from collections.abc import Collection as Many
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar
from uuid import UUID

from core.state import Json
from embed import payload as codec
from embed.index import Counts, Page
from embed.model import Candidate, Covered, Manifest, Scope, Sparse, StoredChunk, Vector
from embed.payload import Payload

BATCH: Final = 200
"""Points of one write. The embedded index holds the interpreter meanwhile: 5 ms, not 43 as with 1,000."""

_KINDS: Final = {
    None: [codec.MANIFEST, codec.GRAVE],
    True: [codec.GRAVE],
    False: [codec.MANIFEST],
}

Item = TypeVar("Item")


def batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def visible(scope: Scope, filters: Mapping[str, Many[Json]]) -> list[tuple[str, list[str]]]:
    """What a hit must have: for each key, one of these tokens. Only chunks have readers."""
    facets = [("facets", tokens) for tokens in codec.filter_tokens(filters)]
    return [("readers", codec.scope_tokens(scope)), *facets]


class Points(ABC):
    """The reading half of a collection."""

    def __init__(self, name: str, dimensions: int) -> None:
        self.name = name
        self.dimensions = dimensions

    @abstractmethod
    def _read(self, ids: Sequence[UUID], fields: list[str] | None) -> list[tuple[UUID, Payload]]:
        """Points that exist, whatever their kind; no fields: all."""

    @abstractmethod
    def _page(
        self, after: UUID | None, limit: int, kinds: list[str], below: int | None, fields: list[str] | None
    ) -> tuple[list[tuple[UUID, Payload]], bool]:
        """Points of these kinds above an id, in order of id, and whether there are more."""

    @abstractmethod
    def _nearest(
        self,
        queries: Sequence[Vector | Sparse],
        scope: Scope,
        filters: Mapping[str, Many[Json]],
        limit: int,
    ) -> list[list[Candidate]]:
        """As `search`; dense vectors have length 1, sparse ones a token."""

    @abstractmethod
    def _count(self, kind: str) -> int: ...

    def manifests(self, ids: Sequence[UUID]) -> dict[UUID, Manifest]:
        return {point: codec.manifest_of(point, payload) for point, payload in self._read(ids, None)}

    def chunks(self, ids: Sequence[UUID]) -> dict[UUID, StoredChunk]:
        found = self._read(ids, codec.CHUNK_FIELDS)
        return {point: codec.stored_chunk(point, payload) for point, payload in found}

    def search(
        self,
        queries: Sequence[Vector | Sparse],
        scope: Scope,
        filters: Mapping[str, Many[Json]],
        limit: int,
    ) -> list[list[Candidate]]:
        # Without texts: a search finds five times as many as it shows, and reading them takes as long
        # as finding them.
        asked = [
            query if isinstance(query, Sparse) else codec.unit(query, self.dimensions, self.name)
            for query in queries
            if not isinstance(query, Sparse) or query.indices
        ]
        found = iter(self._nearest(asked, scope, filters, limit) if asked else [])
        return [[] if isinstance(query, Sparse) and not query.indices else next(found) for query in queries]

    def scroll(
        self, after: UUID | None, limit: int, *, deleted: bool | None = False, below: int | None = None
    ) -> Page:
        records, more = self._page(after, limit, _KINDS[deleted], below, None)
        found = tuple(codec.manifest_of(point, payload) for point, payload in records)
        return Page(found, found[-1].id if more else None)

    def scroll_chunks(self, after: UUID | None, limit: int) -> tuple[list[StoredChunk], UUID | None]:
        records, more = self._page(after, limit, [codec.CHUNK], None, codec.CHUNK_FIELDS)
        found = [codec.stored_chunk(point, payload) for point, payload in records]
        return found, found[-1].id if more else None

    def covered(self) -> list[Covered]:
        found: list[Covered] = []
        after, more = None, True
        while more:
            records, more = self._page(after, BATCH, [codec.MARK], None, None)
            found += [codec.mark_of(point, payload) for point, payload in records]
            after = records[-1][0] if records else None
        return found

    def counts(self) -> Counts:
        return Counts(self._count(codec.MANIFEST), self._count(codec.CHUNK))
