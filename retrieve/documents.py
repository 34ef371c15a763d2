"""Documents by key: what is searchable of them now, beside their rows."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from core.errors import ContractError, TransientError
from core.keys import TableId
from embed.model import Manifest, Scope, StoredChunk, manifest_id
from retrieve.freshness import Captured, FreshnessTracker
from retrieve.join import Judge, Verdict
from retrieve.live import LiveIndex, Marks
from retrieve.model import DocumentPage, DocumentView, Passage
from retrieve.state_view import StateView

SCANNED: Final = 256
"""Manifests read in one go while a page is filled."""

READS: Final = 5
"""Of a document that changes while it is read: each is somebody's write."""


class DocumentReader:
    """Pages and single documents; the same join as a search, so what is not cited is not shown."""

    def __init__(
        self,
        tables: Mapping[str, TableId],
        live: LiveIndex,
        view: StateView,
        freshness: FreshnessTracker,
        judge: Judge,
    ) -> None:
        self._tables, self._live, self._view = dict(tables), live, view
        self._freshness, self._judge = freshness, judge

    async def page(self, document: str, after: str | None, limit: int, scope: Scope) -> DocumentPage:
        """As Retriever.document_page."""
        table = self._table(document)
        at: UUID | None = None
        if after is not None:
            key = self._view.key_of(table, after)
            if key is None:
                raise ContractError(f"after: {after[:80]!r} is no key of document {document}")
            at = manifest_id(document, key.canonical)
        live = await self._live.call(self._live.resolve, document)
        found: list[Manifest] = []
        while True:
            page = await self._live.call(live.collection.scroll, at, SCANNED)
            for manifest in page.manifests:
                if self._judge.judge(document, manifest, scope, waited=True).verdict.counts:
                    if len(found) == limit:
                        return DocumentPage(tuple(found), found[-1].key)
                    found.append(manifest)
            at = page.after
            if at is None:
                return DocumentPage(tuple(found), None)

    async def one(self, document: str, key: str, scope: Scope) -> DocumentView | None:
        """As Retriever.document."""
        table = self._table(document)
        sources = self._freshness.sources_of([document], ())
        covered = self._freshness.view_coverage(sources)
        ids = [manifest_id(document, one.canonical) for one in self._view.keys_of(table, key)]
        marks, manifest, chunks = await self._live.call(self._read, document, ids)
        joined = self._judge.judge(document, manifest, scope, waited=True)
        if manifest is None or joined.row is None or not joined.verdict.counts:
            return None
        captured = Captured(covered, self._freshness.index_coverage({document: marks}))
        stale = joined.verdict is Verdict.STALE
        return DocumentView(
            manifest,
            tuple(Passage(str(c.id), at, c.text, c.version) for at, c in enumerate(chunks)),
            joined.row.columns,
            joined.row.version,
            stale,
            self._freshness.freshness(sources, captured, stale_hits=int(stale)),
        )

    def _read(
        self, document: str, ids: Sequence[UUID]
    ) -> tuple[Marks, Manifest | None, Sequence[StoredChunk]]:
        """Marks before manifest before chunks; blocking. The newest manifest where a key may be several."""
        live = self._live.resolve(document)
        marks = self._live.marks(live)
        for _ in range(READS):
            stored = live.collection.manifests(ids).values()
            manifest = max(stored, key=lambda one: (not one.deleted, one.version), default=None)
            if manifest is None or manifest.deleted:
                return marks, manifest, ()
            chunks = live.collection.chunks(manifest.chunks)
            if len(chunks) == len(set(manifest.chunks)):
                return marks, manifest, [chunks[one] for one in manifest.chunks]
        raise TransientError(
            f"document {document}: its passages are not all there after {READS} reads: try again, and run"
            " `tailrace audit` if that does not help"
        )

    def _table(self, document: str) -> TableId:
        if document not in self._tables:
            raise ContractError(
                f"no document {document!r}: write one of {', '.join(sorted(self._tables)) or '(none)'}"
            )
        return self._tables[document]
