"""Composes the query service: view, freshness, retrieval, readiness, HTTP."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from serve.http.server import HttpServer, check_host

from core.clock import Clock
from core.settings import Settings
from core.telemetry import logger
from core.topics import raw_topic
from embed.index import Index
from embed.indexes import bm25
from embed.render import Renderer
from ingest.generations import Generation
from retrieve.freshness import CommittedPositions, FreshnessTracker
from retrieve.live import LiveIndex
from retrieve.raw_ends import KafkaRawEnds
from retrieve.retriever import Retriever
from retrieve.search import Searcher
from retrieve.state_view import StateView
from tailrace.encoders import EncoderBook
from tailrace.readiness import ReadinessWatch

log = logger(__name__)

REGISTRY_SECONDS: Final = 5.0
"""Between two looks at what the workers have recorded."""


class Service:
    """Everything behind HTTP, in one event loop."""

    def __init__(
        self,
        settings: Settings,
        brokers: Sequence[str],
        index: Index,
        book: EncoderBook,
        generations: Sequence[Generation],
        epochs: Mapping[str, int],
        *,
        positions: CommittedPositions | None,
        on_fatal: Callable[[BaseException], None],
        clock: Clock,
    ) -> None:
        check_host(settings.serve.host)
        self._settings, self._brokers, self._book, self._clock = settings, brokers, book, clock
        self._epochs = dict(epochs)
        self._connect = _connect_positions(settings) if positions is None else None
        positions = positions or self._connect
        tables = settings.tables()
        documents = {g.document: g.frozen.document for g in generations} or dict(settings.documents)
        self._raw_ends = KafkaRawEnds(brokers)
        self._live = LiveIndex(settings.app, index, clock=clock)
        view = StateView(settings.app, brokers, tables, settings.state, on_error=on_fatal, clock=clock)
        by_table = {name: _table(section.table) for name, section in documents.items()}
        freshness = FreshnessTracker(
            settings.sources,
            by_table,
            view,
            self._live,
            positions=positions,
            raw_ends=self._raw_ends,
            epoch_of=lambda topic: self._epochs.get(topic, 0),
            on_error=on_fatal,
            clock=clock,
        )
        searcher = Searcher(
            self._live,
            book.query_encoder,
            bm25.query,
            lambda document, key: view.keys_of(by_table[document], key),
        )
        self._retriever = Retriever(
            documents=documents,
            render={name: Renderer(name, section).render for name, section in documents.items()},
            live=self._live,
            searcher=searcher,
            view=view,
            freshness=freshness,
            join_wait_seconds=settings.serve.join_wait_seconds,
            clock=clock,
        )
        self._readiness = ReadinessWatch(
            topics={table: raw_topic(settings.sources[table.source].prefix, table.table) for table in tables},
            epochs=self._epochs,
            documents=list(documents),
            freshness=freshness,
            raw_ends=self._raw_ends,
            positions=positions,
            snapshotted=[name for name, source in settings.sources.items() if source.connector]
            if positions is self._connect
            else list(settings.sources),
        )
        self._http: HttpServer | None = None
        self._following: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        if self._http is None:
            raise RuntimeError("the service has not been started")
        return f"http://{self._settings.serve.host}:{self._http.port}"
