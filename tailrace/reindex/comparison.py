"""What the query service says of generations: it has the index, and knows how each one is read."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from core.clock import Clock
from core.errors import ConfigurationError, TransientError
from core.topics import alias_name
from embed.index import Counts, Index
from embed.indexes import bm25
from embed.model import Scope
from ingest.generation_plan import owned_collections
from ingest.generations import Generation, Registry
from retrieve.compare import Asked, Comparison, Step
from retrieve.comparing import Comparer
from retrieve.search import KeysOf
from serve.errors import RequestError, UnknownNameError
from serve.ports import GenerationsView, GenerationView
from tailrace.encoders import EncoderBook


class IndexedGenerations:
    """Implements serve.ports.Generations. One comparison at a time: each reads two whole collections."""

    def __init__(
        self,
        app: str,
        index: Index,
        book: EncoderBook,
        keys_of: KeysOf,
        registry: Callable[[], Registry],
        clock: Clock,
    ) -> None:
        self._app, self._index, self._registry = app, index, registry
        self._comparer = Comparer(index, book.query_encoder, bm25.query, keys_of, clock)
        self._comparing = False

    async def generations(self) -> GenerationsView:
        return await asyncio.to_thread(self._view, self._registry())

    async def compare(
        self,
        document: str,
        number: int | None,
        questions: Sequence[Asked],
        *,
        top_k: int,
        limit: int,
        scope: Scope,
    ) -> AsyncGenerator[Step | Comparison, None]:
        if self._comparing:
            raise TransientError(
                "another comparison is running: ask again when it has ended", retry_after=5.0
            )
        self._comparing = True
        try:
            live, other = await asyncio.to_thread(self._both, document, number)
            sides = [(one.number, one.collection(self._app)) for one in (live, other)]
            steps = self._comparer.compare(
                document, sides[0], sides[1], questions, scope=scope, top_k=top_k, named=limit
            )
            async with aclosing(steps):
                async for step in steps:
                    yield step
        finally:
            self._comparing = False

    def _both(self, document: str, number: int | None) -> tuple[Generation, Generation]:
        """What the alias points at, and the one asked for. Blocking."""
        registry = self._registry()
        running = [one for one in registry.of(document) if one.status == "running"]
        answering = self._index.alias(alias_name(self._app, document))
        live = next((one for one in running if one.collection(self._app) == answering), None)
        if live is None:
            raise TransientError(f"document {document} has no live index yet")
        others = [one for one in running if one != live and number in (None, one.number)]
        if not others:
            if number is None:
                raise RequestError(
                    f"document {document} has generation {live.number}, which answers, and no other:"
                    f" `tailrace reindex start {document}` builds one to compare it with",
                    "number",
                )
            known = [str(one.number) for one in running if one != live]
            raise UnknownNameError("generation", str(number), known)
        return live, others[-1]

    def _counts(self, collection: str) -> Counts | None:
        try:
            return self._index.open(collection).counts()
        except ConfigurationError:  # dropped since they were listed
            return None

    def _view(self, registry: Registry) -> GenerationsView:
        documents = {one.document for one in registry.generations}
        stored = set(owned_collections(self._app, documents, self._index.collections()))
        shown: list[GenerationView] = []
        for one in registry.generations:
            collection = one.collection(self._app)
            if one.status != "running" and collection not in stored:
                continue
            counts = self._counts(collection) if collection in stored else None
            shown.append(
                GenerationView(
                    one.document,
                    one.number,
                    registry.role(one),
                    self._index.alias(alias_name(self._app, one.document)) == collection,
                    collection,
                    None if counts is None else counts.documents,
                    None if counts is None else counts.chunks,
                    one.frozen.dimensions,
                    one.started_at,
                )
            )
        strays = stored - {one.collection(self._app) for one in registry.generations}
        return GenerationsView(tuple(shown), tuple(sorted(strays)))
