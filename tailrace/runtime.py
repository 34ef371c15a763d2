"""A process of Tailrace: worker, query service, or both, from settings to a clean stop."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from core.clock import SystemClock
from core.consumer import fetch_wait_ms
from core.errors import ConfigurationError, TailraceError
from core.failpoint import failpoint
from core.settings import EdgeIndex, EmbeddedLog, KafkaLog, Settings
from core.telemetry import configure_logging, logger
from core.topics import required_topics
from embed.index import Index
from ingest.embedded_log import EmbeddedLog as MockCluster
from ingest.embedded_log import next_epoch
from ingest.generations import Frozen, Generation
from ingest.registry import RegistryTail
from ingest.worker import Worker
from retrieve.looking import CommittedPositions
from serve.http.server import bind
from tailrace.adapters import build_index
from tailrace.encoders import EncoderBook
from tailrace.keeper import Keeper
from tailrace.preparation import (
    check_topics,
    forget_strays,
    read_epochs,
    settle_generations,
    settle_sources,
)
from tailrace.rewind import rewind
from tailrace.service import Service
from tailrace.worker import Indexers

log = logger(__name__)

STOP_SECONDS: Final = 20.0
"""A stop that takes longer is ended: everything acknowledged is durable at any moment."""

FATAL, INTERRUPTED = 1, 130


class Runtime:
    """Start and stop of one process. `positions` stands in for Kafka Connect where there is none."""

    def __init__(
        self,
        settings: Settings,
        *,
        worker: bool,
        service: bool,
        positions: CommittedPositions | None = None,
    ) -> None:
        _refuse_impossible(settings, worker=worker, service=service)
        self._settings, self._with_worker, self._with_service = settings, worker, service
        self._positions = positions
        self._clock = SystemClock()
        self._mock: MockCluster | None = None
        self._bound: socket.socket | None = None
        self._index: Index | None = None
        self._books = EncoderBook(settings.app, settings.encoder)
        self._registry: RegistryTail | None = None
        self.brokers: Sequence[str] = ()
        self.service: Service | None = None
        self._worker: Worker | None = None
        self._keeper: Keeper | None = None

    @property
    def url(self) -> str:
        """Of the query service."""
        if self.service is None:
            raise RuntimeError("this process runs no query service")
        return self.service.url

    async def start(self) -> None:
        """Prepare and start everything; returns when the service answers and the worker has joined.

        Raises ConfigurationError or TransientError; what was started by then is stopped by `stop`.
        """
        settings = self._settings
        if self._with_service:  # first: a start without it must not have written what others read
            self._bound = bind(settings.serve.host, settings.serve.port)
        epochs = await self._open_log()
        self._index = index = await asyncio.to_thread(build_index, settings.index)
        generations: Sequence[Generation] = ()
        if self._with_worker:
            configured = await asyncio.to_thread(self._books.load, settings.encoder)
            frozen = {
                name: Frozen(
                    document,
                    settings.encoder,
                    configured.document.fingerprint,
                    configured.document.dimensions,
                )
                for name, document in settings.documents.items()
            }
            generations, said = await settle_generations(
                settings, self.brokers, index, frozen, self._clock.now_ms()
            )
            for line in said:
                log.info(line)
            if isinstance(settings.log, EmbeddedLog):
                forget_strays(settings.app, index, generations)
            else:
                await rewind(settings, self.brokers, index, generations)
        self._registry = registry = RegistryTail(
            settings.app, self.brokers, fetch_wait_ms=fetch_wait_ms(settings.log)
        )
        await registry.start()
        found = registry.registry
        answering = [one for name in settings.documents if (one := found.answering(name)) is not None]
        await asyncio.to_thread(self._books.know, answering)
        if self._bound is not None:
            self.service = Service(
                settings,
                self.brokers,
                index,
                self._books,
                registry,
                epochs,
                positions=self._positions,
                on_fatal=fatal,
                clock=self._clock,
            )
            await self.service.start(self._bound)
        if self._with_worker:
            await self._start_worker(epochs, generations, index)

    async def stop(self) -> None:
        """Stop in the other order. Safe after a start that failed half way."""
        if self.service is not None:
            await self.service.close_http()
        if self._keeper is not None:
            await self._keeper.stop()
        if self._worker is not None:
            await self._worker.stop()
        if self.service is not None:
            await self.service.stop()
        if self._bound is not None:
            self._bound.close()
        if self._registry is not None:
            await self._registry.stop()
        if self._index is not None:
            await asyncio.to_thread(self._index.close)
        if self._mock is not None:
            self._mock.stop()

    async def _open_log(self) -> dict[str, int]:
        settings = self._settings
        if isinstance(settings.log, KafkaLog):
            self.brokers = settings.log.brokers
            await asyncio.to_thread(check_topics, settings)
            if self._with_worker:
                return await settle_sources(settings, self.brokers)
            return await read_epochs(settings, self.brokers)
        self._mock = MockCluster()
        topics = required_topics(settings)
        self.brokers = self._mock.start(topics)
        epoch = 0
        if isinstance(settings.index, EdgeIndex):
            epoch = next_epoch(settings.index.path.parent / "epoch")
        return {topic.name: epoch for topic in topics}

    async def _start_worker(
        self, epochs: dict[str, int], generations: Sequence[Generation], index: Index
    ) -> None:
        registry = self._registry
        if registry is None:
            raise RuntimeError("made before the registry")
        indexers = Indexers(self._settings, index, self._books, registry, self._clock)
        first = await asyncio.to_thread(lambda: [indexers.build(one) for one in generations])
        self._worker = worker = Worker(
            self._settings,
            self.brokers,
            epochs,
            first,
            on_fatal=fatal,
            clock=self._clock,
            failpoint=failpoint,
            priority=indexers.priority,
        )
        await worker.start()
        self._keeper = Keeper(
            self._settings,
            self.brokers,
            index,
            registry,
            worker,
            indexers.build,
            on_fatal=fatal,
            clock=self._clock,
        )
        await self._keeper.start()


def fatal(error: BaseException) -> None:
    """Nothing that waiting cures: exit for the supervisor to restart. What was acknowledged is durable."""
    log.error("stopping", why=str(error), exc_info=not isinstance(error, TailraceError))
    os._exit(FATAL)


def run(config: Path, *, worker: bool, service: bool) -> None:
    """Run until interrupted or terminated. The commands `worker`, `serve` and `dev`."""
    import uvloop  # noqa: PLC0415 - not on every platform, and not for the demo's tests

    from tailrace.configuration import load  # noqa: PLC0415 - after the cheap imports

    settings = load(config).settings
    configure_logging()
    uvloop.run(_run(Runtime(settings, worker=worker, service=service)))


async def _run(runtime: Runtime) -> None:
    stopping = stop_on_signals()
    try:
        await start_patiently(runtime, stopping)
        if runtime.service is not None and not stopping.is_set():
            log.info("serving", url=runtime.url)
        await stopping.wait()
        log.info("stopping")
    finally:
        async with asyncio.timeout(STOP_SECONDS):
            await runtime.stop()


async def start_patiently(runtime: Runtime, stopping: asyncio.Event) -> None:
    """Start; give up at once on a signal."""
    starting = asyncio.ensure_future(runtime.start())
    signalled = asyncio.ensure_future(stopping.wait())
    done, _ = await asyncio.wait({starting, signalled}, return_when=asyncio.FIRST_COMPLETED)
    if starting in done:
        signalled.cancel()
        await starting
        return
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; the second ends the process at once."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(INTERRUPTED)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return stopping


def _refuse_impossible(settings: Settings, *, worker: bool, service: bool) -> None:
    alone = worker != service
    if alone and isinstance(settings.index, EdgeIndex):
        raise ConfigurationError(
            "index.kind edge: its folder has one owner, so worker and service run in one process:"
            " use `tailrace dev`, or a Qdrant server (`index: {kind: qdrant, url: …}`)"
        )
    if alone and isinstance(settings.log, EmbeddedLog):
        raise ConfigurationError(
            "log.kind embedded: the log lives in one process: use `tailrace dev`, or a Kafka broker"
        )
