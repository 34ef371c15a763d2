"""Composes the worker: one resolve app, one index app for each generation."""

from collections.abc import Callable, Mapping, Sequence

from core.clock import Clock
from core.failpoint import failpoint
from core.keys import TableId
from core.settings import Settings
from core.topics import state_topic
from embed.cutter import Cutter
from embed.index import Index
from embed.indexes import bm25
from embed.pipeline import Pipeline
from embed.render import Renderer
from embed.store import VectorStore
from ingest.agents.index_agent import Indexer
from ingest.generations import Generation
from ingest.worker import Worker
from tailrace.adapters import build_vector_store
from tailrace.encoders import EncoderBook


def build_worker(
    settings: Settings,
    brokers: Sequence[str],
    epochs: Mapping[str, int],
    generations: Sequence[Generation],
    index: Index,
    book: EncoderBook,
    *,
    clock: Clock,
    on_fatal: Callable[[BaseException], None],
) -> Worker:
    """A worker that runs these generations as they were recorded."""
    store = build_vector_store(settings, clock)
    indexers = [build_indexer(settings, generation, index, book, store) for generation in generations]
    return Worker(settings, brokers, epochs, indexers, clock=clock, on_fatal=on_fatal, failpoint=failpoint)


def build_indexer(
    settings: Settings, generation: Generation, index: Index, book: EncoderBook, store: VectorStore
) -> Indexer:
    """What keeps one generation equal to its table."""
    frozen = generation.frozen
    encoder = book.of(generation).document
    collection = index.open(generation.collection(settings.app))
    pipeline = Pipeline(
        generation.document,
        collection,
        encoder,
        store,
        Cutter(frozen.document.cut, encoder.count, encoder.max_tokens),
        bm25.documents,
        failpoint=failpoint,
    )
    return Indexer(
        document=generation.document,
        generation=generation.number,
        topic=state_topic(settings.app, TableId.parse(frozen.document.table)),
        renderer=Renderer(generation.document, frozen.document),
        pipeline=pipeline,
        collection=collection,
    )
