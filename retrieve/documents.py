"""Documents by key: what is searchable of them now, beside their rows."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar
from uuid import UUID

from core.clock import Clock
from core.errors import ConfigurationError, ContractError, TransientError
from embed.model import Manifest, Scope, StoredChunk, manifest_id
from retrieve.freshness import Captured, FreshnessTracker
from retrieve.join import Joined, Judge, Verdict, shown
from retrieve.live import Live, LiveIndex, Marks
from retrieve.model import DocumentPage, DocumentView, Passage
from retrieve.recipe import Recipe, Recipes
from retrieve.state_view import StateView

R = TypeVar("R")

SCANNED: Final = 256
"""Manifests read in one go while a page is filled."""

READS: Final = 5
"""Of a document that changes while it is read: each is somebody's write."""


class DocumentReader:
    """Pages and single documents; the same join as a search, so what is not cited is not shown.

    Each request resolves its alias once and reads one generation; if that is dropped meanwhile,
    everything is done once more with the alias of then.
    """

    def __init__(
        self,
        recipes: Recipes,
        live: LiveIndex,
        view: StateView,
        freshness: FreshnessTracker,
        judge: Judge,
        *,
        join_wait_seconds: float,
        clock: Clock,
    ) -> None:
        self._recipes, self._live, self._view = recipes, live, view
        self._freshness, self._judge = freshness, judge
        self._join_wait, self._clock = join_wait_seconds, clock

    async def page(self, document: str, after: str | None, limit: int, scope: Scope) -> DocumentPage:
        """As Retriever.document_page."""

        async def read(live: Live, recipe: Recipe) -> DocumentPage:
            self._view.check_ready()
            at = self._after(recipe, after)
            found: list[Manifest] = []
            while True:
                page = await self._live.call(live.collection.scroll, at, SCANNED)
                for manifest in page.manifests:
                    if self._judged(recipe, manifest, scope).verdict.counts:
                        if len(found) == limit:
                            return DocumentPage(tuple(found), found[-1].key)
                        found.append(manifest)
                at = page.after
                if at is None:
                    return DocumentPage(tuple(found), None)

        return await self._resolved(document, read)

    async def one(self, document: str, key: str, scope: Scope) -> DocumentView | None:
        """As Retriever.document."""

        async def read(live: Live, recipe: Recipe) -> DocumentView | None:
            recipe = recipe.for_one_request()
            sources = self._freshness.sources_of([document], ())
            covered = self._freshness.view_coverage(sources)
            ids = [manifest_id(document, one.canonical) for one in self._view.keys_of(recipe.table, key)]
            marks, manifest, chunks = await self._live.call(self._read, live, ids)
            joined = await self._waited(recipe, manifest, scope)
            if manifest is None or joined.row is None or not joined.verdict.counts:
                self._refuse_to_guess(recipe, manifest, scope)
                return None
            captured = Captured(covered, self._freshness.index_coverage([(recipe.table, marks)]))
            stale = joined.verdict is Verdict.STALE
            return DocumentView(
                manifest,
                tuple(Passage(str(c.id), at, c.text, c.version) for at, c in enumerate(chunks)),
                joined.row.columns,
                joined.row.version,
                stale,
                self._freshness.freshness(sources, captured, stale_hits=int(stale)),
            )

        return await self._resolved(document, read)

    def _refuse_to_guess(self, recipe: Recipe, manifest: Manifest | None, scope: Scope) -> None:
        """Behind the index, the view cannot tell a document that is gone from one that it has yet to read.

        While it loads it may not even know how a key of this table is spelled.
        """
        self._view.check_ready()
        listed = manifest is not None and shown(manifest, scope).counts
        behind = manifest is not None and not self._view.covers(recipe.table, manifest.version)
        if listed and behind:
            raise TransientError(
                f"document {recipe.document}: its row is not read yet, as just after a start: ask again"
            )

    async def _resolved(self, document: str, read: Callable[[Live, Recipe], Awaitable[R]]) -> R:
        known = self._recipes.documents()
        if document not in known:
            raise ContractError(
                f"no document {document!r}: write one of {', '.join(sorted(known)) or '(none)'}"
            )
        live = await self._live.call(self._live.resolve, document)
        try:
            return await read(live, self._recipes.recipe(live.name))
        except ConfigurationError:
            self._live.forget(live)
            live = await self._live.call(self._live.resolve, document)
            return await read(live, self._recipes.recipe(live.name))

    def _read(self, live: Live, ids: Sequence[UUID]) -> tuple[Marks, Manifest | None, Sequence[StoredChunk]]:
        """Marks before manifest before chunks; blocking. The newest manifest where a key may be several."""
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
            f"document {live.document}: its passages are not all there after {READS} reads: try again, and"
            " run `tailrace audit` if that does not help"
        )

    def _after(self, recipe: Recipe, after: str | None) -> UUID | None:
        if after is None:
            return None
        key = self._view.key_of(recipe.table, after) if after else None  # an empty text is spelled `""`
        if key is None:
            raise ContractError(f"after: {after[:80]!r} is no key of document {recipe.document}")
        return manifest_id(recipe.document, key.canonical)

    async def _waited(self, recipe: Recipe, manifest: Manifest | None, scope: Scope) -> Joined:
        """Judged when the view has reached the manifest, or the time for waiting is over."""
        settled = await self._view.wait_for(
            lambda: self._judged(recipe, manifest, scope, waited=False).verdict is not Verdict.BEHIND,
            self._clock.monotonic() + self._join_wait,
        )
        return self._judged(recipe, manifest, scope, waited=not settled)

    def _judged(
        self, recipe: Recipe, manifest: Manifest | None, scope: Scope, *, waited: bool = True
    ) -> Joined:
        return self._judge.judge(recipe.table, recipe.render, manifest, scope, waited=waited)
