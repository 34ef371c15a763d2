"""The index seam: collections of points behind aliases.

A collection is one generation of one document. It holds chunk points (dense and sparse
vectors), a manifest per row without a vector, and what the index agent has covered. All calls
block and may be made from several threads. Adapters are the embedded index (Edge), Qdrant,
and the in-memory twin beside this file; one contract suite holds all three to this page.

Every method raises TransientError if the store may answer later and ConfigurationError if it is
wrongly set up (unknown collection, wrong dimension).
"""

from collections.abc import Collection as Many
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from core.state import Json
from embed.model import Candidate, ChunkPoint, Covered, Manifest, Scope, Sparse, StoredChunk, Vector


@dataclass(frozen=True, slots=True)
class Swap:
    """Write `manifest` only if the stored one still has version `expect` (None: only if there is none).

    A version stands for one content: a document is a pure function of its row's version and the
    generation's configuration.
    """

    manifest: Manifest
    expect: int | None


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete these chunks where the stored version is below `below`, in one conditional operation."""

    chunks: tuple[UUID, ...]
    below: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Live documents (not deleted ones) and chunk points, listed or not."""

    documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Page:
    """Manifests in order of id; `after` continues, None at the end."""

    manifests: tuple[Manifest, ...]
    after: UUID | None


class Collection(Protocol):
    """One generation's points."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def manifests(self, ids: Sequence[UUID]) -> dict[UUID, Manifest]:
        """Those that exist, deleted ones included."""
        ...

    def write_chunks(self, points: Sequence[ChunkPoint]) -> None:
        """Insert, or replace where the stored version is not above the point's. Found at once."""
        ...

    def swap_manifests(self, swaps: Sequence[Swap]) -> set[UUID]:
        """Compare-and-set, each on its own. The ids that now hold exactly what was asked for.

        An id that is not in the answer was changed by somebody else: read it and plan again.
        """
        ...

    def drop_chunks(self, drops: Sequence[Drop]) -> None: ...

    def chunks(self, ids: Sequence[UUID]) -> dict[UUID, StoredChunk]:
        """Those that exist, listed or not."""
        ...

    def vectors(self, ids: Sequence[UUID]) -> dict[UUID, Vector]:
        """Dense vectors of the chunks that exist."""
        ...

    def search(
        self,
        queries: Sequence[Vector | Sparse],
        scope: Scope,
        filters: Mapping[str, Many[Json]],
        limit: int,
    ) -> list[list[Candidate]]:
        """For each query its best chunks, best first, all in one go.

        By cosine for a dense vector; by BM25 for a sparse one: chunks without a common token are no
        candidates, and the corpus whose statistics weigh the tokens is what the scope may read: rows
        of other tenants and groups never move a score. `filters`: metadata column -> the values it
        may have.
        """
        ...

    def scroll(
        self, after: UUID | None, limit: int, *, deleted: bool | None = False, below: int | None = None
    ) -> Page:
        """Manifests with an id above `after`; `deleted` None gives both; `below`: versions under it only."""
        ...

    def scroll_chunks(self, after: UUID | None, limit: int) -> tuple[list[StoredChunk], UUID | None]:
        """All chunk points in order of id, listed or not: for audits and oracles."""
        ...

    def erase_manifests(self, ids: Sequence[UUID], below: int) -> None:
        """Remove *deleted* manifests with a version below `below`, conditionally, for good."""
        ...

    def cover(self, marks: Sequence[Covered]) -> None:
        """Store what has been covered, by (topic, partition), unless what is stored reaches further.

        Conditionally, in one operation: a worker that has lost the partition must not set it back, for on
        a quiet table nobody would mend that. Nothing has a reason to go back: a log that is read again
        covers what it had covered, and another epoch is further. Durable with the next flush.
        """
        ...

    def covered(self) -> list[Covered]: ...

    def counts(self) -> Counts: ...

    def flush(self) -> None:
        """Everything written before is durable on return."""
        ...


class Index(Protocol):
    """All collections of one store, and the aliases that point at the live ones."""

    def create(self, name: str, dimensions: int) -> None:
        """Make an empty collection; nothing if it stands. ConfigurationError if its dimension differs."""
        ...

    def open(self, name: str) -> Collection:
        """Raises ConfigurationError if it does not exist."""
        ...

    def collections(self) -> list[str]: ...

    def drop(self, name: str) -> None:
        """Delete a collection with everything in it and the aliases that point at it.

        Nothing if it does not exist. Calls on an open handle of it raise ConfigurationError from
        then on: resolve the alias again.
        """
        ...

    def alias(self, name: str) -> str | None:
        """The collection an alias points at."""
        ...

    def point(self, alias: str, collection: str) -> None:
        """Create or move an alias, atomically and durably."""
        ...

    def close(self) -> None: ...
