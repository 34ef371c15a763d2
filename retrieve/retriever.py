"""Retrieval: fresh hits joined with the latest rows, as of one stated position.

The order of things is the promise. What view and index have covered is read *before* the search;
the rows and state entries are read *after* it, in one go. Both only grow, so the search saw at
least what the stated position says, and the rows are at least as new: a row whose deletion is at
or before that position is a grave in the view, or gone from it, when its passage is judged.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from core.clock import Clock, SystemClock
from core.errors import ConfigurationError, ContractError, LimitError, TransientError
from core.metrics import JOIN_DROPPED, SEARCH, STALE_HITS
from core.state import StateRow
from embed.model import Manifest, Scope
from retrieve.documents import DocumentReader
from retrieve.freshness import Captured, FreshnessTracker
from retrieve.join import Joined, Judge, Verdict
from retrieve.live import LiveIndex
from retrieve.model import (
    DocumentPage,
    DocumentView,
    Evidence,
    Explanation,
    Hit,
    Question,
    Rows,
    StateEntry,
)
from retrieve.recipe import Recipe, Recipes, check_filters
from retrieve.search import Depth, Ranked, Search, Searcher
from retrieve.state_view import NO_CLAIMS, StateView
from retrieve.watermarks import Coverage, Moment

MOST_HITS: Final = 100
MOST_CHARACTERS: Final = 20_000
"""Of one question: about 5,000 tokens, which take the query encoder a fifth of a second."""

DEPTH: Final = 24
"""Candidates of each channel at first: what fusion needs to see of both to rank ten well."""

SPARE: Final = 2
"""Candidates beyond top_k that are checked in the first go, for those that the join drops."""


@dataclass(slots=True)
class _Joining:
    """The join of one depth: judged in order until enough count."""

    hits: list[Hit]
    judged: list[tuple[Ranked, Verdict]]
    pending: bool
    """A candidate before the last hit waits for the view."""
    replaced: bool
    """A document changed while it was searched."""


class Retriever:
    """The one way to evidence. Lives in one event loop; blocking work runs in `live`'s threads.

    `recipes` says how the collection that a request resolved is read: its table, its filters, and what
    a row of it reads as now. `join_wait_seconds` bounds how long one question waits for the state view.
    """

    def __init__(
        self,
        *,
        recipes: Recipes,
        live: LiveIndex,
        searcher: Searcher,
        view: StateView,
        freshness: FreshnessTracker,
        join_wait_seconds: float = 0.5,
        clock: Clock | None = None,
    ) -> None:
        self._recipes = recipes
        self._judge = Judge(view.row, view.covers)
        self._live, self._searcher, self.view, self.freshness = live, searcher, view, freshness
        self._join_wait = join_wait_seconds
        self._clock = clock or SystemClock()
        self._reader = DocumentReader(
            recipes,
            live,
            view,
            freshness,
            self._judge,
            join_wait_seconds=join_wait_seconds,
            clock=self._clock,
        )

    async def start(self) -> None:
        """Start view and freshness; returns before the view is loaded. Raises as StateView.start."""
        await self.view.start()
        await self.freshness.start()

    async def stop(self) -> None:
        """Safe to call twice."""
        await self.freshness.stop()
        await self.view.stop()
        await asyncio.to_thread(self._live.close)  # it waits for encoders too

    async def check_ready(self) -> None:
        """Raises TransientError while questions are refused, whatever they ask for."""
        self.view.check_ready()
        for document in self._recipes.documents():
            try:
                await self._live.call(self._live.resolve, document)
            except ConfigurationError as error:
                raise TransientError(f"document {document}: {error}") from error

    async def retrieve(self, question: Question) -> Evidence:
        """Evidence for a question.

        Raises ContractError or LimitError for a question that breaks a rule, TransientError while the
        rows are read for the first time, a document has no live index or the index cannot be asked.
        Staleness is no reason to refuse: it is stated in each answer.
        """
        begun = perf_counter()
        minimum = self._checked(question)
        self.view.check_ready()
        sources = self.freshness.sources_of(question.documents, question.state)
        sources += [name for name in minimum if name not in sources]
        since = None
        if question.max_staleness_ms is not None:
            at, monotonic = self._clock.now_ms(), self._clock.monotonic()
            since = Moment(at - question.max_staleness_ms, monotonic - question.max_staleness_ms / 1000)
        if minimum or since is not None:
            deadline = self._clock.monotonic() + question.wait_seconds
            await self.freshness.wait(sources, question.documents, minimum, since, deadline)
        waited = perf_counter()
        covered = self.freshness.view_coverage(sources)
        search = Search(
            question.query, question.documents, question.scope, question.filters, explain=question.explain
        )
        depth, joining, recipes = await self._search(search, question)
        entries = self._entries(question)  # no await since the join: hits and state are of one moment
        captured = Captured(covered, self._marks(search, recipes))
        stale = [hit for hit in joining.hits if hit.stale]
        stated = self.freshness.freshness(
            sources, captured, stale_hits=len(stale), minimum=minimum, since=since
        )
        ended = perf_counter()
        self._count(question, joining, stale, ended - begun)
        return Evidence(
            tuple(joining.hits),
            entries,
            stated,
            Explanation(
                depth.channels,
                depth.fused,
                tuple((str(r.chunk.id), v.value) for r, v in joining.judged if not v.counts),
                {
                    "wait": (waited - begun) * 1000,
                    **search.timings,
                    "total": (ended - begun) * 1000,
                },
            ),
        )

    async def document_page(self, document: str, after: str | None, limit: int, scope: Scope) -> DocumentPage:
        """The next `limit` documents that this caller may see; `after` as the last page gave it.

        Raises ContractError for an unknown document or an `after` that is no key.
        """
        return await self._reader.page(document, after, limit, scope)

    async def document(self, document: str, key: str, scope: Scope) -> DocumentView | None:
        """One document as it is searchable now, with its row; None if absent, gone or not this caller's.

        Raises ContractError for an unknown document.
        """
        return await self._reader.one(document, key, scope)

    async def state_entry(
        self, view: str, key: str, scope: Scope, claims: Mapping[str, str] = NO_CLAIMS
    ) -> StateEntry:
        """The rows of one state entry, and as of which position they are true.

        Raises ContractError as StateView.entry, TransientError while the rows are read for the first time.
        """
        self.view.view(view).check(key, scope, claims)
        self.view.check_ready()
        sources = self.freshness.sources_of((), [view])
        documents = [
            one for one in self._recipes.documents() if {*self.freshness.sources_of([one], ())} & {*sources}
        ]
        captured = await self.freshness.capture(sources, documents)  # and no await until the rows are read
        rows = self.view.entry(view, key, scope, claims)
        return StateEntry(rows, self.freshness.freshness(sources, captured))

    async def _search(
        self, search: Search, question: Question
    ) -> tuple[Depth, _Joining, Mapping[str, Recipe]]:
        """Deeper until enough hits count or nothing is left; once more if a document changed meanwhile."""
        limit = max(DEPTH, 2 * question.top_k)
        want = question.top_k + SPARE
        repeated = False
        deadline: float | None = None
        known: dict[str, Recipe] = {}
        while True:
            depth = await self._searcher.depth(search, limit, want)
            for live in search.lives:
                if live.name not in known:
                    known[live.name] = self._recipes.recipe(live.name).for_one_request()
            recipes = {live.document: known[live.name] for live in search.lives}
            check_filters(list(question.filters), {one.document: one.metadata for one in recipes.values()})
            joining = self._join(depth, recipes, question, waited=False)
            if joining.pending:
                deadline = deadline or self._clock.monotonic() + self._join_wait
                settled = await self.view.wait_for(self._settled(depth, recipes, question), deadline)
                joining = self._join(depth, recipes, question, waited=not settled)
            if joining.replaced and not repeated:
                repeated = True
            elif len(joining.hits) >= question.top_k or depth.exhausted:
                return depth, joining, recipes
            else:
                limit, want = 2 * limit, 2 * want

    def _marks(self, search: Search, recipes: Mapping[str, Recipe]) -> Coverage:
        return self.freshness.index_coverage(
            (recipes[document].table, found) for document, found in search.marks.items()
        )

    def _settled(self, depth: Depth, recipes: Mapping[str, Recipe], question: Question) -> Callable[[], bool]:
        return lambda: not self._join(depth, recipes, question, waited=False).pending

    def _join(
        self, depth: Depth, recipes: Mapping[str, Recipe], question: Question, *, waited: bool
    ) -> _Joining:
        made = _Joining([], [], pending=False, replaced=False)
        for ranked in depth.ranked:
            if len(made.hits) == question.top_k:
                break
            joined = Joined(ranked.verdict)
            if ranked.verdict.counts and ranked.manifest is not None:
                recipe = recipes[ranked.document]
                joined = self._judge.judge(
                    recipe.table, recipe.render, ranked.manifest, question.scope, waited=waited
                )
                if joined.verdict.counts and joined.row is not None:
                    made.hits.append(_hit(ranked, ranked.manifest, joined, joined.row))
            made.judged.append((ranked, joined.verdict))
            made.pending = made.pending or (joined.verdict is Verdict.BEHIND and not waited)
            made.replaced = made.replaced or joined.verdict is Verdict.REPLACED
        return made

    def _entries(self, question: Question) -> Mapping[str, Rows]:
        return {
            name: self.view.entry(name, key, question.scope, question.claims)
            for name, key in question.state.items()
        }

    def _checked(self, question: Question) -> dict[str, int]:
        """The positions asked for; raises before anything is waited for or searched.

        Filters are checked later: only the collection that the alias gives says which it carries.
        """
        known = self._recipes.documents()
        if not question.query.strip():
            raise ContractError("the question is empty: write what to search for")
        if len(question.query) > MOST_CHARACTERS:
            raise LimitError(
                f"the question has {len(question.query)} characters, at most {MOST_CHARACTERS} are searched"
                " for: ask for less at once"
            )
        if not 1 <= question.top_k <= MOST_HITS:
            raise LimitError(f"top_k is {question.top_k}: write 1 to {MOST_HITS}")
        for name in question.documents:
            if name not in known:
                raise ContractError(
                    f"no document {name!r}: write one of {', '.join(sorted(known)) or '(none)'}"
                )
        for name, key in question.state.items():
            self.view.view(name).check(key, question.scope, question.claims)
        return {
            source: self.freshness.minimum(source, position)
            for source, position in question.min_position.items()
        }

    def _count(self, question: Question, joining: _Joining, stale: Sequence[Hit], seconds: float) -> None:
        SEARCH.labels(question.profile).observe(seconds)
        for _, verdict in joining.judged:
            if not verdict.counts:
                JOIN_DROPPED.labels(verdict.value).inc()
        for hit in stale:
            STALE_HITS.labels(hit.document).inc()


def _hit(ranked: Ranked, manifest: Manifest, joined: Joined, row: StateRow) -> Hit:
    return Hit(
        document=ranked.document,
        key=manifest.key,
        chunk_id=str(ranked.chunk.id),
        title=manifest.title,
        text=ranked.chunk.text,
        url=manifest.url,
        ordinal=manifest.chunks.index(ranked.chunk.id),
        version=manifest.version,
        position=manifest.position,
        committed_at=manifest.committed_at,
        stale=joined.verdict is Verdict.STALE,
        relevance=ranked.cosine,
        row=row.columns,
    )
