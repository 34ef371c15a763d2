"""A worker: one Faust app that resolves, and one for each generation that is indexed."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from core.clock import Clock, SystemClock
from core.errors import ConfigurationError, TailraceError, TransientError
from core.keys import TableId
from core.settings import EmbeddedLog, Settings
from core.state_reader import StateReader
from core.state_table import StateTable
from core.telemetry import logger
from core.topics import dead_letters_topic, index_group, raw_topic, resolve_group, state_topic
from ingest.agents.index_agent import IndexAgent, Indexer
from ingest.agents.resolve_agent import ResolveAgent
from ingest.agents.watchdog import watch
from ingest.app import make_app, raw_bytes_topic
from ingest.dead_letters import DeadLetter, note
from ingest.state_store import Pulse, StateStore

log = logger(__name__)

MAINTAIN_SECONDS: Final = 1.0
STOP_SECONDS: Final = 10.0
"""Faust's stop may hang while it joins a group; everything acknowledged is durable by then."""

PRODUCER_BATCH_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """For health and doctor. `waiting`: by document, what an index agent waits for."""

    running: bool
    assigned: Mapping[str, int]
    """Partitions of each consumer group in this process."""
    waiting: Mapping[str, str]


class Worker:
    """`start`, `stop`, and an `on_fatal` that must end the process: nothing is acknowledged after it."""

    def __init__(
        self,
        settings: Settings,
        brokers: Sequence[str],
        epochs: Mapping[str, int],
        indexers: Sequence[Indexer],
        *,
        on_fatal: Callable[[BaseException], None],
        clock: Clock | None = None,
        failpoint: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings, self._brokers, self._epochs = settings, list(brokers), dict(epochs)
        self._indexers, self._on_fatal = list(indexers), on_fatal
        self._clock, self._failpoint = clock or SystemClock(), failpoint
        self._apps: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._resolvers: list[ResolveAgent] = []
        self._index_agents: list[IndexAgent] = []
        self._reader: StateReader | None = None
        self._producer: AIOKafkaProducer | None = None
        self._ends_at_start: dict[str, Mapping[int, int]] = {}
        self._stopping = False

    async def start(self) -> None:
        """Load the rows, then join the groups. Raises ConfigurationError or TransientError."""
        ingest = self._settings.ingest
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            acks="all",
            enable_idempotence=True,
            max_batch_size=PRODUCER_BATCH_BYTES,
            max_request_size=16 << 20,
        )
        tables = self._settings.tables()
        topics = [state_topic(self._settings.app, table) for table in tables]
        self._reader = StateReader(self._brokers, topics, on_rows=lambda *_: None, on_error=self._fail)
        try:
            await self._producer.start()
        except KafkaError as error:
            raise TransientError(f"Kafka at {', '.join(self._brokers)}: {error!r}") from error
        await self._reader.start()
        await self._reader.caught_up()
        self._ends_at_start = {topic: self._reader.read_to(topic) for topic in topics}
        pulse = Pulse(ingest.session_seconds)
        self._apps.append(self._resolve_app(tables, pulse))
        self._apps += [self._index_app(indexer) for indexer in self._indexers]
        # Before joining, which may take a whole session: it must not read as having been frozen.
        self._guard(pulse.run(), "pulse")
        await asyncio.gather(*(app.start() for app in self._apps))
        self._guard(self._maintain(), "maintenance")
        for app, busy, waits in zip(self._apps, self._busy(), self._waits(), strict=True):
            self._guard(watch(app, busy, waits, ingest.stuck_seconds), f"watchdog of {app.conf.id}")

    async def stop(self) -> None:
        """Finish the batches in work, commit, leave. Safe to call twice and after a failed start."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        late = TransientError(f"Faust has not stopped within {STOP_SECONDS:.0f} s: the process ends here")
        timer = threading.Timer(STOP_SECONDS, self._on_fatal, [late])
        timer.daemon = True
        timer.start()
        try:
            await asyncio.gather(*(app.stop() for app in self._apps), return_exceptions=True)
            for agent in self._index_agents:
                agent.close()
            if self._reader is not None:
                await self._reader.stop()
            if self._producer is not None:
                await self._producer.stop()
        finally:
            timer.cancel()
        self._apps, self._tasks = [], []

    def table(self, topic: str) -> StateTable:
        """The rows and progress of a state topic, as this worker has read and written them."""
        if self._reader is None:
            raise RuntimeError("the worker has not been started")
        return self._reader.tables[topic]

    def status(self) -> WorkerStatus:
        return WorkerStatus(
            bool(self._apps) and not self._stopping,
            {app.conf.id: len(app.consumer.assignment()) if app.consumer else 0 for app in self._apps},
            {
                indexer.document: agent.last_error
                for indexer, agent in zip(self._indexers, self._index_agents, strict=True)
                if agent.last_error
            },
        )

    def _resolve_app(self, tables: Sequence[TableId], pulse: Pulse) -> Any:
        settings = self._settings
        app = self._make_app(resolve_group(settings.app))
        reader, producer = self._reader, self._producer
        if reader is None or producer is None:
            raise RuntimeError("made before the clients")
        for table in tables:
            source = settings.sources[table.source]
            topic = raw_topic(source.prefix, table.table)
            if topic not in self._epochs:
                raise ConfigurationError(f"{topic}: no epoch is known; start through the front door")
            agent = ResolveAgent(
                table,
                source,
                self._epochs[topic],
                StateStore(state_topic(settings.app, table), reader, producer, pulse),
                self._park,
                settings.ingest,
                self._clock,
                self._failpoint,
            )
            self._resolvers.append(agent)
            self._register(app, topic, f"resolve-{topic}", agent.run)
        app.finalize()
        return app

    def _make_app(self, group: str) -> Any:
        embedded = isinstance(self._settings.log, EmbeddedLog)
        return make_app(group, self._brokers, self._settings.ingest, embedded=embedded)

    def _index_app(self, indexer: Indexer) -> Any:
        settings = self._settings
        group = index_group(settings.app, indexer.document, indexer.generation)
        app = self._make_app(group)
        agent = IndexAgent(indexer, self._park, settings.ingest, self._clock, self._failpoint)
        self._index_agents.append(agent)
        self._register(app, indexer.topic, group, agent.run)
        app.finalize()
        return app

    def _register(self, app: Any, topic: str, name: str, body: Callable[[Any, Any], Awaitable[None]]) -> None:
        async def agent(stream: Any) -> None:
            try:
                await body(app, stream)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - no error may reach Faust, which would acknowledge
                self._fail(error)
                await asyncio.Event().wait()

        app.agent(raw_bytes_topic(app, topic), name=name, concurrency=1)(agent)

    def _busy(self) -> list[Callable[[], float | None]]:
        def oldest() -> float | None:
            return min((a.busy_since for a in self._resolvers if a.busy_since is not None), default=None)

        def since(agent: IndexAgent) -> Callable[[], float | None]:
            return lambda: agent.busy_since

        return [oldest, *(since(agent) for agent in self._index_agents)]

    def _waits(self) -> list[Callable[[], bool]]:
        """Whether the agents of each app wait for something that is away, and rightly stand still."""

        def away(agent: IndexAgent) -> Callable[[], bool]:
            return lambda: agent.last_error is not None

        return [lambda: False, *(away(agent) for agent in self._index_agents)]

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTAIN_SECONDS)
            for resolver in self._resolvers:
                await resolver.maintain()
            for indexer, agent in zip(self._indexers, self._index_agents, strict=True):
                await agent.sweep(self._ends_at_start[indexer.topic])

    async def _park(self, letters: Sequence[DeadLetter]) -> None:
        """Durable on return: a letter is acknowledged before its record is."""
        producer = self._producer
        if producer is None:
            raise RuntimeError("made before the clients")
        topic = dead_letters_topic(self._settings.app)
        try:
            for letter in letters:
                key, value, headers = letter.encode()
                await producer.send_and_wait(topic, value, key, partition=0, headers=headers)
        except KafkaError as error:
            raise TransientError(
                f"{topic}: {len(letters)} dead letters not acknowledged: {error!r}"
            ) from error
        note(letters)

    def _guard(self, work: Coroutine[Any, Any, None], name: str) -> None:
        async def run() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the process must not go on
                self._fail(error)

        self._tasks.append(asyncio.create_task(run(), name=name))

    def _fail(self, error: BaseException) -> None:
        if self._stopping:
            return
        if not isinstance(error, TailraceError):
            log.error("a bug of ours", error=repr(error), exc_info=error)
        self._on_fatal(error)
