"""Composes what keeps a generation: its encoder, its pipeline, and what the registry says of it now."""

from collections.abc import Sequence

from core.clock import Clock
from core.errors import ConfigurationError
from core.failpoint import failpoint
from core.keys import TableId
from core.settings import Settings
from core.topics import state_topic
from embed.cutter import Cutter
from embed.index import Collection, Index
from embed.indexes import bm25
from embed.pace import Pace, PacedEncoder, Priority, Spent, Turns
from embed.pipeline import Pipeline
from embed.render import Renderer
from ingest.agents.index_agent import Indexer
from ingest.generations import Generation, Registry
from ingest.registry import RegistryTail
from tailrace.adapters import build_vector_store
from tailrace.encoders import EncoderBook


class Standing:
    """What the registry says of one generation now. Read from the threads that work for it."""

    def __init__(self, app: str, index: Index, tail: RegistryTail, generation: Generation) -> None:
        self._app, self._index, self._tail, self._generation = app, index, tail, generation
        self._seen: Registry | None = None
        self._recorded: Generation = generation
        self._answers = self._wished = False
        self._donors: tuple[tuple[str, ...], list[Collection]] = ((), [])

    def background(self) -> bool:
        """Whether another one answers now, whatever is wished for."""
        self._look()
        return not self._answers

    def wished(self) -> bool:
        """Whether this one is to answer."""
        self._look()
        return self._wished

    def dropped(self) -> bool:
        """Whether it runs no longer: its collection is given up, or was not found by another worker."""
        self._look()
        return self._recorded.status != "running"

    def pace(self) -> Pace:
        self._look()
        return self._recorded.pace

    def donors(self) -> Sequence[Collection]:
        """Collections with vectors of the same encoder for the same rows; none for what answers.

        There most texts are new, and looking for them would cost every edit.
        """
        self._look()
        if self._answers:
            return ()
        mine, registry = self._generation, self._tail.registry
        others = sorted(registry.of(mine.document), key=lambda one: registry.role(one) != "live")
        names = tuple(
            one.collection(self._app)
            for one in others
            if one.number != mine.number
            and one.status == "running"
            and one.frozen.fingerprint == mine.frozen.fingerprint
        )
        if self._donors[0] != names:
            stored = self._index.collections()
            found = [self._opened(name) for name in names if name in stored]
            self._donors = (names, [one for one in found if one is not None])
        return self._donors[1]

    def _opened(self, name: str) -> Collection | None:
        """None if another worker has deleted it: the word of its drop is still on the way."""
        try:
            return self._index.open(name)
        except ConfigurationError:
            return None

    def _look(self) -> None:
        registry = self._tail.registry
        if registry is not self._seen:
            mine = self._generation
            self._recorded = registry.find(mine.document, mine.number) or mine
            answering = registry.answering(mine.document)
            self._answers = answering is not None and answering.number == mine.number
            self._wished = registry.role(self._recorded) == "live"
            self._seen = registry


class Indexers:
    """Makes what keeps one generation equal to its table. They share vectors, and who goes first."""

    def __init__(
        self, settings: Settings, index: Index, book: EncoderBook, tail: RegistryTail, clock: Clock
    ) -> None:
        self._settings, self._index, self._book, self._tail = settings, index, book, tail
        self._store = build_vector_store(settings, clock)
        self.priority = Priority()

    def build(self, generation: Generation) -> Indexer:
        """Blocks while its model is loaded. Raises ConfigurationError if that or its collection is gone."""
        frozen, app = generation.frozen, self._settings.app
        standing = Standing(app, self._index, self._tail, generation)
        turns = Turns(self.priority, standing.pace, standing.background, standing.wished)
        spent = Spent()
        encoder = PacedEncoder(self._book.of(generation).document, turns, spent)
        collection = self._index.open(generation.collection(app))
        pipeline = Pipeline(
            generation.document,
            collection,
            encoder,
            self._store,
            Cutter(frozen.document.cut, encoder.count, encoder.max_tokens),
            bm25.documents,
            donors=standing.donors,
            give_way=turns.give_way,
            failpoint=failpoint,
        )
        return Indexer(
            document=generation.document,
            generation=generation.number,
            topic=state_topic(app, TableId.parse(frozen.document.table)),
            renderer=Renderer(generation.document, frozen.document),
            pipeline=pipeline,
            collection=collection,
            turns=turns,
            spent=spent,
            dropped=standing.dropped,
            wished=standing.wished,
        )
