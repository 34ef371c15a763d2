"""Composes the query service: view, freshness, retrieval, readiness, HTTP."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from connectors.positions import CommittedPositions as ConnectPositions
from core.clock import Clock
from core.consumer import fetch_wait_ms
from core.errors import TailraceError, TransientError
from core.keys import RowKey
from core.settings import Settings
from core.tasks import background
from core.telemetry import logger
from core.topics import raw_topic
from embed.encoder import Encoder
from embed.index import Index
from embed.indexes import bm25
from ingest.registry import RegistryTail
from retrieve.freshness import FreshnessTracker
from retrieve.live import LiveIndex
from retrieve.looking import CommittedPositions
from retrieve.raw_ends import KafkaRawEnds
from retrieve.recipe import Recipes
from retrieve.retriever import Retriever
from retrieve.search import Searcher
from retrieve.state_view import StateView
from serve.http.app import create_app
from serve.http.server import HttpServer, serve_http
from serve.llm import Llm
from serve.prompt import load_prompts
from serve.services import Services
from tailrace.connector_names import connector_names
from tailrace.encoders import EncoderBook
from tailrace.preparation import read_epochs
from tailrace.readiness import ReadinessWatch
from tailrace.reindex.comparison import IndexedGenerations

log = logger(__name__)

EPOCHS_SECONDS: Final = 5.0
"""Between two looks at the epochs that the workers have recorded."""

GENERATIONS_SECONDS: Final = 30.0
"""Between two looks at which models are still needed, where the registry says nothing new."""


class Service:
    """Everything behind HTTP, in one event loop."""

    def __init__(
        self,
        settings: Settings,
        brokers: Sequence[str],
        index: Index,
        book: EncoderBook,
        registry_tail: RegistryTail,
        epochs: Mapping[str, int],
        *,
        positions: CommittedPositions | None,
        on_fatal: Callable[[BaseException], None],
        clock: Clock,
    ) -> None:
        self._settings, self._brokers, self._book, self._clock = settings, brokers, book, clock
        self._epochs, self._tail = dict(epochs), registry_tail
        book.watch(settings, lambda: registry_tail.registry)
        self._connect = _connect_positions(settings) if positions is None else None
        positions = positions or self._connect
        tables = settings.tables()
        self._raw_ends = KafkaRawEnds(brokers)
        self._live = LiveIndex(settings.app, index, clock=clock)
        view = StateView(
            settings.app,
            brokers,
            tables,
            settings.state,
            on_error=on_fatal,
            clock=clock,
            fetch_wait_ms=fetch_wait_ms(settings.log),
        )
        freshness = FreshnessTracker(
            settings.sources,
            book,
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
            lambda document, key: keys_of(view, book, document, key),
        )
        self._retriever = Retriever(
            recipes=book,
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
            documents=list(settings.documents),
            freshness=freshness,
            raw_ends=self._raw_ends,
            positions=positions,
            snapshotted=[name for name, source in settings.sources.items() if source.connector]
            if positions is self._connect
            else list(settings.sources),
            answers=self._retriever.check_ready,
        )
        self._services = Services(
            settings,
            self._retriever,
            self._similarity,
            freshness,
            self._readiness,
            IndexedGenerations(
                settings.app,
                index,
                book,
                lambda document, key: keys_of(view, book, document, key),
                lambda: registry_tail.registry,
                clock,
            ),
            llms=_llms(settings),
            prompts=load_prompts(settings.prompts),
            clock=clock,
        )
        self._http: HttpServer | None = None
        self._following: list[asyncio.Task[None]] = []
        self._on_fatal = on_fatal

    @property
    def url(self) -> str:
        if self._http is None:
            raise RuntimeError("the service has not been started")
        return f"http://{self._settings.serve.host}:{self._http.port}"

    async def start(self, bound: socket.socket) -> None:
        """Serve on `bound`, then read; `/health/ready` says how far."""
        for collection, error in (await asyncio.to_thread(self._book.learn, self._tail.registry)).items():
            self._refuse_answering(collection, error)
        self._http = await serve_http(
            create_app(self._services), bound, hosts=self._settings.serve.allowed_hosts
        )
        await self._retriever.start()
        await self._readiness.start()
        self._following = [
            background(self._follow_epochs, self._on_fatal, name="epochs"),
            background(self._follow_generations, self._on_fatal, name="generations"),
        ]

    async def close_http(self) -> None:
        """Finish the requests in work, take no more."""
        if self._http is not None:
            await self._http.stop()

    async def stop(self) -> None:
        """Safe to call twice, and after a start that failed half way."""
        await self.close_http()
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
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
        return await self._live.encode(self._cosines, question, sentences)

    def _cosines(self, question: str, sentences: Sequence[str]) -> list[float]:
        """Blocking. A sentence past the encoder's limit counts by its beginning."""
        encoder = self._book.answering_encoder(self._settings.encoder)
        asked = encoder.encode([_shortened(question, encoder)], kind="query")[0]
        said = encoder.encode([_shortened(text, encoder) for text in sentences], kind="document")
        return [float(one) for one in np.asarray(said) @ asked]

    async def _follow_epochs(self) -> None:
        """Epochs that workers in other processes record while this one runs."""
        while True:
            await asyncio.sleep(EPOCHS_SECONDS)
            try:
                self._epochs.update(await read_epochs(self._settings, self._brokers))
            except TransientError as error:
                log.warning("cannot read what the workers recorded", why=str(error))

    async def _follow_generations(self) -> None:
        """What a promotion may point at is loaded long before: no question waits for a model."""
        said: dict[str, str] = {}
        known = None  # the first time at once: something may have been recorded since the start
        while True:
            if known is not None:
                await self._tail.changed(GENERATIONS_SECONDS, known)
            known = self._tail.registry
            failed = await asyncio.to_thread(self._book.learn, known)
            for collection, error in failed.items():
                if said.get(collection) != str(error):
                    log.error("cannot answer from a generation", collection=collection, why=str(error))
            said = {collection: str(error) for collection, error in failed.items()}

    def _refuse_answering(self, collection: str, error: TailraceError) -> None:
        """Without what answers there is nothing to serve; without a candidate there is."""
        registry, app = self._tail.registry, self._settings.app
        found = [registry.answering(document) for document in self._settings.documents]
        if collection in [one.collection(app) for one in found if one is not None]:
            raise error
        log.error("cannot answer from a generation", collection=collection, why=str(error))


def keys_of(view: StateView, recipes: Recipes, document: str, text: str) -> list[RowKey]:
    """The row keys that a chunk's key may spell, in whatever table its generation is made of."""
    keys = [key for table in recipes.tables(document) for key in view.keys_of(table, text)]
    return list({key.canonical: key for key in keys}.values())


def _shortened(text: str, encoder: Encoder) -> str:
    """At most as many tokens as the encoder takes: half as long until it fits."""
    while encoder.count([text])[0] > encoder.max_tokens:
        text = text[: len(text) // 2]
    return text


def _connect_positions(settings: Settings) -> ConnectPositions | None:
    """Asks Kafka Connect, for the sources that name a connector."""
    connectors = connector_names(settings.sources)
    if settings.connect is None or not connectors:
        return None
    return ConnectPositions(
        settings.connect.url,
        connectors,
        login=settings.connect.login(),
        timeout_seconds=settings.connect.timeout_seconds,
    )


def _llms(settings: Settings) -> dict[str, Llm]:
    if not settings.llms:
        return {}
    from serve.llms.openai import OpenAILlm  # noqa: PLC0415 - takes a second, and only these need it

    return {llm.name: OpenAILlm(llm) for llm in settings.llms}
