"""Composes the query service: view, freshness, retrieval, readiness, HTTP."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np

from connectors.positions import CommittedPositions as ConnectPositions
from core.clock import Clock
from core.errors import TransientError
from core.keys import TableId
from core.settings import Settings
from core.telemetry import logger
from core.topics import raw_topic
from embed.encoder import Encoder
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
from serve.http.app import create_app
from serve.http.server import HttpServer, check_host, serve_http
from serve.llm import Llm
from serve.prompt import load_prompts
from serve.services import Services
from tailrace.encoders import EncoderBook
from tailrace.preparation import read_epochs, recorded_generations
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
        by_table = {name: TableId.parse(section.table) for name, section in documents.items()}
        freshness = FreshnessTracker(
            settings.sources,
            by_table,
            view,
            self._live,
            positions=positions,
            raw_ends=self._raw_ends,
            epoch_of=self._epoch_of,
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
        self._encoding = Lock()
        self._services = Services(
            settings,
            self._retriever,
            self._similarity,
            freshness,
            self._readiness,
            llms=_llms(settings),
            prompts=load_prompts(settings.prompts),
            clock=clock,
        )
        self._http: HttpServer | None = None
        self._following: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        if self._http is None:
            raise RuntimeError("the service has not been started")
        return f"http://{self._settings.serve.host}:{self._http.port}"

    async def start(self) -> None:
        """Open the port, then read; `/health/ready` says how far."""
        serve = self._settings.serve
        self._http = await serve_http(create_app(self._services), serve.host, serve.port)
        await self._retriever.start()
        await self._readiness.start()
        self._following = asyncio.create_task(self._follow_registries(), name="registries")

    async def close_http(self) -> None:
        """Finish the requests in work, take no more."""
        if self._http is not None:
            await self._http.stop()

    async def stop(self) -> None:
        """Safe to call twice, and after a start that failed half way."""
        await self.close_http()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._readiness.stop()
        await self._retriever.stop()
        await self._raw_ends.stop()
        for llm in self._services.llms.values():
            await llm.close()
        if self._connect is not None:
            await self._connect.aclose()

    def _epoch_of(self, topic: str) -> int:
        """Raises TransientError while no worker has recorded one: no position can be claimed before."""
        if topic not in self._epochs:
            raise TransientError(f"{topic}: no worker has recorded its epoch yet")
        return self._epochs[topic]

    async def _similarity(self, question: str, sentences: Sequence[str]) -> Sequence[float]:
        return await self._live.call(self._cosines, question, sentences)

    def _cosines(self, question: str, sentences: Sequence[str]) -> list[float]:
        """Blocking, in a query thread. A sentence past the encoder's limit counts by its beginning."""
        encoder = self._book.load(self._settings.encoder).query
        with self._encoding:
            asked = encoder.encode([_shortened(question, encoder)], kind="query")[0]
            said = encoder.encode([_shortened(text, encoder) for text in sentences], kind="document")
        return [float(one) for one in np.asarray(said) @ asked]

    async def _follow_registries(self) -> None:
        """Epochs and generations that workers in other processes record while this one runs."""
        while True:
            await asyncio.sleep(REGISTRY_SECONDS)
            try:
                self._epochs.update(await read_epochs(self._settings, self._brokers))
                recorded = await recorded_generations(self._settings.app, self._brokers)
                live = [g for g in recorded if g.status == "live" and g.document in self._settings.documents]
                await asyncio.to_thread(self._book.know, live)
            except TransientError as error:
                log.warning("cannot read what the workers recorded", why=str(error))


def _shortened(text: str, encoder: Encoder) -> str:
    """At most as many tokens as the encoder takes: half as long until it fits."""
    while encoder.count([text])[0] > encoder.max_tokens:
        text = text[: len(text) // 2]
    return text


def _connect_positions(settings: Settings) -> ConnectPositions | None:
    """Asks Kafka Connect, for the sources that name a connector."""
    connectors = {name: Path(s.connector).stem for name, s in settings.sources.items() if s.connector}
    if settings.connect is None or not connectors:
        return None
    return ConnectPositions(
        settings.connect.url, connectors, timeout_seconds=settings.connect.timeout_seconds
    )


def _llms(settings: Settings) -> dict[str, Llm]:
    if not settings.llms:
        return {}
    from serve.llms.openai import OpenAILlm  # noqa: PLC0415 - takes a second, and only these need it

    return {llm.name: OpenAILlm(llm) for llm in settings.llms}
