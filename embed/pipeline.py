"""Changes become points: the one writer of a collection's chunks and manifests.

Order of effects: new chunks, then the manifest by compare-and-set, then the drop of what it no longer
lists. A crash between any two leaves the old version or the new one searchable, and applying the same
changes again completes them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeAlias, TypeVar
from uuid import UUID

import numpy as np

from core.errors import ConfigurationError, LimitError, PermanentError, TransientError
from core.metrics import EMBEDDED, ENCODE, INDEX_FLUSH, INDEX_WRITE, INDEXED, REUSED, UNCHANGED
from core.telemetry import logger
from embed.cutter import Cutter
from embed.encoder import Encoder
from embed.index import Collection, Drop
from embed.model import (
    Change,
    Chunk,
    ChunkPoint,
    Document,
    Manifest,
    Removal,
    Sparse,
    Vector,
    manifest_id,
)
from embed.plan import Plan, desired, plan, strays
from embed.store import VectorStore

log = logger(__name__)

T = TypeVar("T")
Sparsify: TypeAlias = Callable[[Sequence[str]], list[Sparse]]

ENCODED_TOGETHER: Final = 256
"""Texts of one call of the encoder, which sorts and pads within it: what a crash may cost twice."""

WRITTEN_TOGETHER: Final = 200
"""Points of one write: the embedded index holds the GIL meanwhile."""

PAGE: Final = 1000
"""Manifests or chunks of one page of a sweep."""

ROUNDS: Final = 10
"""Plans of one change before the caller is asked to try later: each lost round is somebody else's success."""


@dataclass(slots=True)
class Applied:
    """What one `apply` did. Each change given is in exactly one of the last five."""

    embedded: int = 0
    """Texts that the encoder was paid for."""
    reused: int = 0
    """Chunks written with a vector that was there: stored, in the index, or of an equal text."""
    written: int = 0
    """Documents put."""
    removed: int = 0
    """Documents removed."""
    unchanged: int = 0
    """Redelivered: no index write."""
    superseded: int = 0
    """Older than what the index holds, or than another change of the batch."""
    failed: list[tuple[Change, PermanentError]] = field(default_factory=list)
    """To be parked. What the index held before is still searchable."""


@dataclass(slots=True)
class _Work:
    """One change on its way, until it is planned and done."""

    change: Change
    old: Manifest | None
    chunks: tuple[Chunk, ...] = ()
    plan: Plan = field(default_factory=lambda: Plan("superseded"))
    written: tuple[Chunk, ...] = ()


class Pipeline:
    """Applies changes of one document to one collection. Blocking; for one worker thread.

    `sparse` gives the BM25 vectors of texts. `failpoint` is called by name between effects: after_chunk,
    after_embed, before_upsert, after_upsert, before_delete_extra.

    Raises ConfigurationError if encoder and collection differ in dimension.
    """

    def __init__(
        self,
        document: str,
        collection: Collection,
        encoder: Encoder,
        store: VectorStore,
        cutter: Cutter,
        sparse: Sparsify,
        *,
        failpoint: Callable[[str], None] = lambda _: None,
    ) -> None:
        if encoder.dimensions != collection.dimensions:
            raise ConfigurationError(
                f"collection {collection.name} holds vectors of {collection.dimensions} dimensions, the encoder"
                f" makes {encoder.dimensions}: start a new generation with `tailrace reindex start {document}`"
            )
        self._document, self._collection = document, collection
        self._encoder, self._store, self._cutter, self._sparse = encoder, store, cutter, sparse
        self._failpoint = failpoint

    def apply(self, changes: Sequence[Change], *, rewrite: bool = False) -> Applied:
        """Make the index hold the newest of these changes by row, unless it holds a newer one.

        Safe to repeat, whole or in part. Not durable before `flush`. With `rewrite` chunks that the
        manifest lists are written again: the repair of a damaged index.

        A change that can never be applied is in `failed`, and fails no other. Raises TransientError
        if index or encoder may answer later: then apply all of them again.
        """
        applied = Applied()
        newest = _newest(changes)
        applied.superseded += len(changes) - len(newest)
        works = [_Work(change, old) for change, old in self._read(newest)]
        works = self._cut(works, applied)
        self._failpoint("after_chunk")
        vectors: dict[str, Vector] = {}
        for _ in range(ROUNDS):
            works = [work for work in works if self._planned(work, applied, rewrite=rewrite)]
            if not works:
                break
            works = self._vectorize(works, vectors, applied)
            self._failpoint("after_embed")
            works = self._write(works, vectors, applied)
        else:
            raise TransientError(
                f"{len(works)} rows of {self._document} are being written by another worker: apply them again"
            )
        self._count(applied)
        return applied

    def flush(self) -> None:
        """Everything applied is durable on return."""
        with INDEX_FLUSH.labels(self._document).time():
            self._collection.flush()

    def truncate(self, version: int, position: str, committed_at: int) -> int:
        """Remove every live document below `version`, as one change at that version. How many were removed."""
        removed = 0
        for page in self._pages(deleted=False, below=version):
            removals = [
                Removal(one.document, one.key, one.canonical, version, one.tenant, position, committed_at)
                for one in page
            ]
            removed += self.apply(removals).removed
        return removed

    def sweep_deleted(self, below: int) -> int:
        """Erase the manifests of documents removed before version `below`. How many there were.

        Only once no worker can wake with an older version: they are what stops it.
        """
        erased = 0
        for page in self._pages(deleted=True, below=below):
            self._collection.erase_manifests([one.id for one in page], below)
            erased += len(page)
        return erased

    def sweep_strays(self) -> int:
        """Drop chunks that their row's manifest does not list: what a crash before a drop leaves.

        They are never found, and take space. Reads the whole collection. Safe beside writers: a chunk
        at or above the version of the manifest that was read stays. How many drops were asked for.
        """
        versions: dict[str, int] = {}
        listed: set[UUID] = set()
        for page in self._pages(deleted=None, below=None):
            for one in page:
                versions[one.key] = one.version
                listed.update(one.chunks)
        dropped, after = 0, None
        while True:
            chunks, after = self._collection.scroll_chunks(after, PAGE)
            drops = [
                Drop((chunk.id,), below=versions[chunk.key])
                for chunk in chunks
                if chunk.id not in listed and chunk.version < versions.get(chunk.key, 0)
            ]
            if drops:
                self._collection.drop_chunks(drops)
            dropped += len(drops)
            if after is None:
                return dropped

    def _read(self, changes: Sequence[Change]) -> Iterator[tuple[Change, Manifest | None]]:
        ids = [manifest_id(change.name, change.canonical) for change in changes]
        stored: dict[UUID, Manifest] = {}
        for some in _batched(ids, PAGE):
            stored |= self._collection.manifests(some)
        return ((change, stored.get(one)) for change, one in zip(changes, ids, strict=True))

    def _cut(self, works: Iterable[_Work], applied: Applied) -> list[_Work]:
        kept = []
        for work in works:
            newer = work.old is not None and work.old.version > work.change.version
            try:
                if isinstance(work.change, Document) and not newer:
                    work.chunks = desired(work.change, self._cutter.cut(work.change.text))
            except PermanentError as error:
                applied.failed.append((work.change, error))
            else:
                kept.append(work)
        return kept

    def _planned(self, work: _Work, applied: Applied, *, rewrite: bool) -> bool:
        """Whether the change still needs effects; if not, it is counted."""
        work.plan = plan(work.old, work.change, work.chunks, self._encoder.fingerprint, rewrite=rewrite)
        if work.plan.outcome == "superseded":
            applied.superseded += 1
            vain = strays(work.written, work.old)
            if vain is not None:
                self._collection.drop_chunks([vain])
        elif work.plan.outcome == "unchanged":
            applied.unchanged += 1
        return work.plan.swap is not None

    def _vectorize(self, works: Sequence[_Work], vectors: dict[str, Vector], applied: Applied) -> list[_Work]:
        """Vectors for everything that the plans add; works whose texts the encoder refuses are failed."""
        wanted = {chunk.text: None for work in works for chunk in work.plan.add if chunk.text not in vectors}
        found = self._store.get(self._encoder.fingerprint, list(wanted))
        vectors.update((text, vector) for text, vector in found.items() if self._usable(vector))
        missing = [text for text in wanted if text not in vectors]
        if missing:
            vectors.update(self._indexed(works, frozenset(missing)))
            missing = [text for text in missing if text not in vectors]
        refused: dict[str, PermanentError] = {}
        for some in _batched(missing, ENCODED_TOGETHER):
            made, errors = self._encode(some)
            self._store.put(self._encoder.fingerprint, made)
            vectors |= made
            refused |= errors
            applied.embedded += len(made)
        applied.reused += sum(len(work.plan.add) for work in works) - len(missing)
        kept = []
        for work in works:
            error = next((refused[chunk.text] for chunk in work.plan.add if chunk.text in refused), None)
            if error is None:
                kept.append(work)
            else:
                applied.failed.append((work.change, error))
        return kept

    def _indexed(self, works: Sequence[_Work], missing: frozenset[str]) -> dict[str, Vector]:
        """Vectors of equal texts that the documents' own old chunks carry: the store is bounded."""
        old = [
            one
            for work in works
            if work.old is not None and work.old.fingerprint == self._encoder.fingerprint and work.plan.drop
            for one in work.plan.drop.chunks
        ]
        found: dict[str, Vector] = {}
        for some in _batched(old, PAGE):
            texts = {one: chunk.text for one, chunk in self._collection.chunks(some).items()}
            ids = [one for one, text in texts.items() if text in missing]
            for one, vector in (self._collection.vectors(ids) if ids else {}).items():
                if self._usable(vector):
                    found[texts[one]] = vector
        return found

    def _encode(self, texts: Sequence[str]) -> tuple[dict[str, Vector], dict[str, PermanentError]]:
        """Vectors by text, and errors by text; a refusal is traced to its texts by halving."""
        try:
            with ENCODE.labels(self._document).time():
                rows = self._encoder.encode(texts, kind="document")
            if rows.shape != (len(texts), self._collection.dimensions):
                raise LimitError(  # noqa: TRY301 - traced to its text like the encoder's own refusals
                    f"the encoder gave an array of {rows.shape} for {len(texts)} texts of"
                    f" {self._collection.dimensions} dimensions: check its model"
                )
        except PermanentError as error:
            if len(texts) == 1:
                return {}, {texts[0]: error}
            half = len(texts) // 2
            (made, refused), (more, others) = self._encode(texts[:half]), self._encode(texts[half:])
            return made | more, refused | others
        made = {text: row for text, row in zip(texts, rows, strict=True) if self._usable(row)}
        wrong = LimitError(
            "the encoder gave a vector without direction (zero, or not a number): check its model"
        )
        return made, {text: wrong for text in texts if text not in made}

    def _usable(self, vector: Vector) -> bool:
        return vector.shape == (self._collection.dimensions,) and 0 < float(np.dot(vector, vector)) < np.inf

    def _write(self, works: Sequence[_Work], vectors: Mapping[str, Vector], applied: Applied) -> list[_Work]:
        """The effects. Gives back the works that somebody else overtook, with what is stored now."""
        with INDEX_WRITE.labels(self._document).time():
            self._failpoint("before_upsert")
            for points in _batched(self._points(works, vectors), WRITTEN_TOGETHER):
                self._collection.write_chunks(points)
            for work in works:
                work.written = work.plan.add
            self._failpoint("after_upsert")
            won: set[UUID] = set()
            for swaps in _batched([work.plan.swap for work in works if work.plan.swap], WRITTEN_TOGETHER):
                won |= self._collection.swap_manifests(swaps)
            done = [work for work in works if work.plan.swap and work.plan.swap.manifest.id in won]
            self._failpoint("before_delete_extra")
            for drops in _batched([work.plan.drop for work in done if work.plan.drop], WRITTEN_TOGETHER):
                self._collection.drop_chunks(drops)
        for work in done:
            if work.plan.outcome == "remove":
                applied.removed += 1
            else:
                applied.written += 1
        lost = [work for work in works if work.plan.swap and work.plan.swap.manifest.id not in won]
        if lost:
            log.debug("overtaken by another writer", document=self._document, rows=len(lost))
            for work, (_, old) in zip(lost, self._read([work.change for work in lost]), strict=True):
                work.old = old
        return lost

    def _points(self, works: Sequence[_Work], vectors: Mapping[str, Vector]) -> Iterator[ChunkPoint]:
        added = [(work.change, chunk) for work in works for chunk in work.plan.add]
        weights = self._sparse([chunk.text for _, chunk in added]) if added else []
        for (change, chunk), sparse in zip(added, weights, strict=True):
            if isinstance(change, Document):
                yield ChunkPoint(
                    chunk,
                    change.name,
                    change.key,
                    change.tenant,
                    change.groups,
                    change.metadata,
                    change.version,
                    vectors[chunk.text],
                    sparse,
                )

    def _pages(self, *, deleted: bool | None, below: int | None) -> Iterator[tuple[Manifest, ...]]:
        after: UUID | None = None
        while True:
            page = self._collection.scroll(after, PAGE, deleted=deleted, below=below)
            yield page.manifests
            after = page.after
            if after is None:
                return

    def _count(self, applied: Applied) -> None:
        EMBEDDED.labels(self._document).inc(applied.embedded)
        REUSED.labels(self._document).inc(applied.reused)
        INDEXED.labels(self._document, "put").inc(applied.written)
        INDEXED.labels(self._document, "remove").inc(applied.removed)
        UNCHANGED.labels(self._document).inc(applied.unchanged)


def _newest(changes: Sequence[Change]) -> list[Change]:
    """The newest change of each row, in order of the rows' first appearance; of equals the last."""
    newest: dict[bytes, Change] = {}
    for change in changes:
        known = newest.get(change.canonical)
        if known is None or change.version >= known.version:
            newest[change.canonical] = change
    return list(newest.values())


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
