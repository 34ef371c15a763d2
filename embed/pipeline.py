"""Changes become points: the writer of a collection's chunks and manifests.

Order of effects: new chunks, then the manifest by compare-and-set, then the drop of what it no longer
lists. A crash between any two leaves the old version or the new one searchable, and applying the same
changes again completes them, but for the drop: whoever finds the new manifest does not know the old one.
What is left then is dropped later (embed/strays.py).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Self, TypeAlias
from uuid import UUID

from core.errors import ConfigurationError, PermanentError, TransientError
from core.metrics import EMBEDDED, INDEX_FLUSH, INDEX_WRITE, INDEXED, REUSED, UNCHANGED
from core.telemetry import logger
from embed.cutter import Cutter
from embed.encoder import Encoder
from embed.index import Collection, Drop, Swap
from embed.model import Change, Chunk, ChunkPoint, Document, Manifest, Removal, Sparse, manifest_id
from embed.plan import Plan, desired, plan, strays, supersedes
from embed.store import VectorStore
from embed.strays import Unsettled
from embed.vectors import Vectorizer, Vectors

log = logger(__name__)

Sparsify: TypeAlias = Callable[[Sequence[str]], list[Sparse]]
Failpoint: TypeAlias = Callable[[str], None]

PAGE: Final = 1000
"""Manifests or chunks of one page of a sweep."""

PART: Final = 128
"""Chunks whose vectors are made in one go: while they are, the part before is written and the next is cut."""

EDGE_PART: Final = 32
"""The first part is so large, and the last one holds one row: the encoder has nothing to do while the one is
cut and the other is written."""

KNOWN_PART: Final = 512
"""The same after a part whose vectors were all there already: then little is waited for, and few large calls
cost less. Not more: where the guess is wrong, nothing is written until all of them are encoded."""

WRITTEN: Final = 200
"""Points of one call of the index: the embedded one stops every other thread meanwhile."""

ROUNDS: Final = 10
"""Plans of one change before the caller is asked to try later: each lost round is somebody else's success."""


@dataclass(slots=True)
class Applied:
    """What one `apply` did. Each change given is counted in exactly one of the last five."""

    embedded: int = 0
    """Texts that the encoder was paid for."""
    reused: int = 0
    """Chunks written with a vector that was there: in the store, in the index, of an equal text."""
    written: int = 0
    """Documents put."""
    removed: int = 0
    """Documents removed."""
    unchanged: int = 0
    """Delivered again: no index write."""
    superseded: int = 0
    """Older than what the index holds, or than another change of the batch."""
    failed: list[tuple[Change, PermanentError]] = field(default_factory=list)
    """To be parked. What the index held before is still searchable."""


@dataclass(slots=True)
class _Work:
    """One change on its way; `written` is what it has added so far, in vain if it loses."""

    change: Change
    old: Manifest | None
    chunks: tuple[Chunk, ...] = ()
    add: tuple[Chunk, ...] = ()
    swap: Swap | None = None
    drop: Drop | None = None
    written: tuple[Chunk, ...] = ()


@dataclass(slots=True)
class _Batch:
    """One call of `apply`, and the thread in which its vectors are made."""

    rewrite: bool
    applied: Applied = field(default_factory=Applied)
    vectors: Vectors = field(default_factory=Vectors)
    put: list[str] = field(default_factory=list)
    """Texts of the chunks that were added, in documents that were put."""
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "encode"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown(cancel_futures=True)


class Pipeline:
    """Applies changes of one document to one collection. Blocking; for one thread at a time.

    `sparse` gives the BM25 vectors of texts. `failpoint` is called by name between effects: after_chunk,
    after_embed, before_upsert, after_upsert, before_delete_extra. `give_way` is called between pieces of
    work of a few milliseconds, and may wait, or raise TransientError to break off.

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
        donors: Callable[[], Sequence[Collection]] = tuple,
        give_way: Callable[[], None] = lambda: None,
        failpoint: Failpoint = lambda _: None,
    ) -> None:
        if encoder.dimensions != collection.dimensions:
            raise ConfigurationError(
                f"collection {collection.name} holds vectors of {collection.dimensions} dimensions and the"
                f" encoder makes {encoder.dimensions}: another encoder needs a new generation"
            )
        self._document, self._collection, self._cutter, self._sparse = document, collection, cutter, sparse
        self._fingerprint, self._failpoint, self._give_way = encoder.fingerprint, failpoint, give_way
        self._vectorizer = Vectorizer(document, collection, encoder, store, donors)
        self.unsettled = Unsettled(collection)
        """What errors have left behind, to be settled between two batches."""
        self._pays = True
        """Whether the last part had texts for the encoder: then the next one is likely to have some too."""

    def apply(self, changes: Sequence[Change], *, rewrite: bool = False) -> Applied:
        """Make the index hold the newest of these changes by row, unless it holds a newer one.

        Safe to repeat, whole or in part. Durable with the next `flush`. With `rewrite` chunks that the
        manifest lists are written again: the repair of a damaged index.

        A change that can never be applied is in `failed`, and fails no other. Raises TransientError
        if index or encoder may answer later: then apply all of them again.
        """
        batch = _Batch(rewrite)
        try:
            with batch:
                newest = _newest(changes)
                batch.applied.superseded = len(changes) - len(newest)
                coming: Future[list[_Work]] | None = None
                for works in self._parts(self._read(newest), batch):
                    before, coming = coming, self._begin(works, batch)
                    if before is not None:
                        self._complete(before, batch)
                if coming is not None:
                    self._complete(coming, batch)
        finally:
            self.unsettled.break_off()
            self._vectorizer.store(batch.vectors)  # what was paid for is kept, whatever has become of it
        applied = batch.applied
        applied.embedded = len(batch.vectors.paid)
        applied.reused = len(batch.put) - len(batch.vectors.paid.intersection(batch.put))
        self._count(applied)
        return applied

    def flush(self) -> None:
        """Everything applied is durable on return."""
        with INDEX_FLUSH.labels(self._document).time():
            self._collection.flush()

    def truncate(self, version: int, position: str, committed_at: int) -> int:
        """Remove every live document below `version`, as one change at it. How many were removed."""
        removed = 0
        for page in self._pages(deleted=False, below=version):
            removals = [
                Removal(
                    one.document,
                    one.key,
                    one.canonical,
                    version,
                    one.tenant,
                    position,
                    committed_at,
                    truncated=True,
                )
                for one in page
            ]
            removed += self.apply(removals).removed
        return removed

    def _read(self, changes: Sequence[Change]) -> list[_Work]:
        ids = [manifest_id(change.name, change.canonical) for change in changes]
        stored = self._collection.manifests(ids) if ids else {}
        return [_Work(change, stored.get(one)) for change, one in zip(changes, ids, strict=True)]

    def _parts(self, works: Sequence[_Work], batch: "_Batch") -> Iterator[list[_Work]]:
        """Those that need effects, cut and planned when asked for: PART or KNOWN_PART chunks at a time."""
        part: list[_Work] = []
        added, most = 0, EDGE_PART
        for place, work in enumerate(works, start=1):
            if self._cut(work, batch.applied) and self._planned(work, batch):
                part.append(work)
                added += len(work.add)
            if place == len(works) - 1:
                most = EDGE_PART
            if part and (place == len(works) or added >= (most if self._pays else KNOWN_PART)):
                self._failpoint("after_chunk")
                yield part
                part, added, most = [], 0, PART

    def _cut(self, work: _Work, applied: Applied) -> bool:
        """Whether the change can go on; if not, it has failed. What is superseded already is not cut."""
        self._give_way()
        superseded = work.old is not None and supersedes(work.old, work.change)
        if isinstance(work.change, Document) and not superseded:
            try:
                work.chunks = desired(work.change, self._cutter.cut(work.change.text))
            except PermanentError as error:
                applied.failed.append((work.change, error))
                return False
        return True

    def _planned(self, work: _Work, batch: "_Batch") -> bool:
        """Whether the change needs effects; if not, it is counted."""
        made: Plan = plan(work.old, work.change, work.chunks, self._fingerprint, rewrite=batch.rewrite)
        work.add, work.swap, work.drop = made.add, made.swap, made.drop
        if made.outcome == "superseded":
            batch.applied.superseded += 1
            vain = strays(work.written, work.old)
            if vain is not None:
                self._collection.drop_chunks([vain])
        elif made.outcome == "unchanged":
            batch.applied.unchanged += 1
        if made.swap is None:
            self.unsettled.end(work.change)
        return made.swap is not None

    def _begin(self, works: Sequence[_Work], batch: "_Batch") -> "Future[list[_Work]]":
        return batch.thread.submit(self._vectorized, works, batch)

    def _vectorized(self, works: Sequence[_Work], batch: "_Batch") -> list[_Work]:
        """The works whose added texts all have vectors; those with a text that is refused have failed.

        In the batch's thread alone: a part finds what the part before has paid for.
        """
        old = [
            one
            for work in works
            if work.drop and work.add and work.old and work.old.fingerprint == self._fingerprint
            for one in work.drop.chunks
        ]
        rows = [manifest_id(work.change.name, work.change.canonical) for work in works if work.add]
        vectors = batch.vectors
        paid, asked = len(vectors.paid), any(c.text not in vectors.found for work in works for c in work.add)
        self._vectorizer.add(vectors, (chunk.text for work in works for chunk in work.add), old, rows)
        if asked:  # removals, and what is planned again, tell nothing of what comes
            self._pays = len(vectors.paid) > paid
        kept = []
        for work in works:
            refused = next((chunk.text for chunk in work.add if chunk.text in vectors.refused), None)
            if refused is None:
                kept.append(work)
            else:
                batch.applied.failed.append((work.change, vectors.refused[refused]))
        return kept

    def _complete(self, coming: "Future[list[_Work]]", batch: "_Batch") -> None:
        """The effects of a part, once its vectors are there; what others overtake is planned again."""
        for _ in range(ROUNDS):
            works = coming.result()
            self._failpoint("after_embed")
            with INDEX_WRITE.labels(self._document).time():
                lost = self._write(works, batch)
            # Not sooner: what is searchable may be waited for, and the encoder is at the next part.
            self._vectorizer.store(batch.vectors)
            works = [work for work in lost if self._planned(work, batch)]
            if not works:
                return
            coming = self._begin(works, batch)
        raise TransientError(
            f"{len(works)} rows of {self._document} are being written by another worker: apply them again"
        )

    def _write(self, works: Sequence[_Work], batch: "_Batch") -> list[_Work]:
        """Gives back the works that somebody else overtook, with what is stored now."""
        self._failpoint("before_upsert")
        for work in works:
            dropped = work.drop.chunks if work.drop else ()
            self.unsettled.begin(work.change, [*(chunk.id for chunk in work.add), *dropped])
        added = [(work.change, chunk) for work in works for chunk in work.add]
        for at in range(0, len(added), WRITTEN):
            self._give_way()
            self._collection.write_chunks(list(self._points(added[at : at + WRITTEN], batch.vectors)))
        for work in works:
            work.written = work.add
        self._failpoint("after_upsert")
        swaps = [work.swap for work in works if work.swap]
        won: set[UUID] = set()
        for at in range(0, len(swaps), WRITTEN):
            self._give_way()
            won |= self._collection.swap_manifests(swaps[at : at + WRITTEN])
        done = [work for work in works if work.swap and work.swap.manifest.id in won]
        lost = [work for work in works if work.swap and work.swap.manifest.id not in won]
        self._failpoint("before_delete_extra")
        drops = [work.drop for work in done if work.drop]
        if drops:
            self._collection.drop_chunks(drops)
        for work in done:
            self.unsettled.end(work.change)
        removed = sum(isinstance(work.change, Removal) for work in done)
        batch.applied.removed += removed
        batch.applied.written += len(done) - removed
        batch.put += [chunk.text for work in done for chunk in work.add]
        if lost:
            log.debug("overtaken by another writer", document=self._document, rows=len(lost))
            for work, fresh in zip(lost, self._read([work.change for work in lost]), strict=True):
                work.old = fresh.old
        return lost

    def _points(self, added: Sequence[tuple[Change, Chunk]], vectors: Vectors) -> Iterator[ChunkPoint]:
        weights = self._sparse([chunk.text for _, chunk in added])
        for (change, chunk), sparse in zip(added, weights, strict=True):
            if isinstance(change, Document):
                yield ChunkPoint(
                    chunk=chunk,
                    manifest=manifest_id(change.name, change.canonical),
                    document=change.name,
                    key=change.key,
                    tenant=change.tenant,
                    groups=change.groups,
                    metadata=change.metadata,
                    version=change.version,
                    dense=vectors.found[chunk.text],
                    sparse=sparse,
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
