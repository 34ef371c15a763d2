"""The words of this floor: a row becomes a document, a document becomes chunks under a manifest."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.state import Json

Vector: TypeAlias = NDArray[np.float32]

NAMESPACE: Final = uuid.UUID("7f0bb0f0-37a2-5c1f-8d43-1c4f3c6f2a11")
"""Ours, for uuid5: a fixed random value."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a live row says, rendered. Pure function of row and configuration: no time, no randomness.

    `key` is the row key's text, `canonical` its machine form. `groups` is None where the
    document has no access list; an empty tuple means that nobody may read it.
    """

    name: str
    key: str
    canonical: bytes
    version: int
    title: str
    text: str
    url: str | None
    tenant: str | None
    groups: tuple[str, ...] | None
    metadata: Mapping[str, Json]
    position: str
    committed_at: int


@dataclass(frozen=True, slots=True)
class Removal:
    """The row is gone, or no longer matches: the document must not be found at this version."""

    name: str
    key: str
    canonical: bytes
    version: int
    tenant: str | None
    position: str
    committed_at: int
    truncated: bool = False
    """By a truncate of this version, at which a row may live: the first of a snapshot that begins anew."""


Change: TypeAlias = Document | Removal


@dataclass(frozen=True, slots=True)
class Chunk:
    """One immutable piece. Its id says everything that a search may filter by, and its text."""

    id: uuid.UUID
    text: str


@dataclass(frozen=True, slots=True)
class Sparse:
    """A BM25 vector: token ids and weights, of one length."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ChunkPoint:
    """A chunk as the index stores it. `version` fences writes: a lower one never replaces a higher.

    `manifest` is the id of its row's: rows of equal key text are told apart by it.
    """

    chunk: Chunk
    manifest: uuid.UUID
    document: str
    key: str
    tenant: str | None
    groups: tuple[str, ...] | None
    metadata: Mapping[str, Json]
    version: int
    dense: Vector
    sparse: Sparse


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk read back."""

    id: uuid.UUID
    manifest: uuid.UUID
    """Of its row, whether it lists the chunk or not, and whether it stands yet or not."""
    key: str
    text: str
    version: int
    metadata: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The commit point of one (document, key): a chunk counts only if this lists it.

    A removed document keeps its manifest, `deleted` and without chunks: the fence against a
    worker that wakes up late.
    """

    id: uuid.UUID
    document: str
    key: str
    canonical: bytes
    version: int
    tenant: str | None
    groups: tuple[str, ...] | None
    deleted: bool
    chunks: tuple[uuid.UUID, ...]
    title: str
    url: str | None
    position: str
    committed_at: int
    fingerprint: str
    """Of the encoder that made the chunks' vectors."""


@dataclass(frozen=True, slots=True)
class Covered:
    """The index holds everything up to these versions of one state partition's raw records."""

    topic: str
    partition: int
    offset: int
    """Next offset of the state topic: everything below is in the index, flushed."""
    version: int
    """Of the newest progress record below `offset` (see core.state.Progress)."""
    position: str
    committed_at: int

    @property
    def reach(self) -> tuple[int, int]:
        """What orders the marks of a partition.

        The offset decides between equal versions only: a topic that was made anew begins at 0 again, and
        its epoch, the head of the version, is above the one before.
        """
        return self.version, self.offset


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rows a query may see. Not optional: every search takes one.

    `tenant` must equal the manifest's and the chunk's; None only matches documents that declare
    no tenant. `groups`: a document with an access list is seen by its groups only.
    """

    tenant: str | None
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that a search found; its manifest decides whether it counts.

    `score` is the channel's own (cosine for dense, BM25 for sparse) and only orders one channel.
    """

    id: uuid.UUID
    score: float


def manifest_id(document: str, canonical: bytes) -> uuid.UUID:
    """Of the manifest of this row's document; the same in every generation."""
    return uuid.uuid5(NAMESPACE, f"manifest\0{document}\0{canonical.hex()}")
