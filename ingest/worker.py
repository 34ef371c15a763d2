"""A worker: one Faust app that resolves, and one for each generation that is indexed.

Generations come and go while it runs; each has a consumer group, a thread and a watchdog of its own.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from core.clock import Clock, SystemClock
from core.consumer import fetch_wait_ms
from core.errors import ConfigurationError, TailraceError, TransientError
from core.keys import TableId
from core.settings import EmbeddedLog, Settings
from core.state_reader import StateReader
from core.state_table import StateTable
from core.tasks import Work, background
from core.telemetry import logger
from core.topics import dead_letters_topic, index_group, raw_topic, resolve_group, state_topic
from embed.pace import Priority
from ingest.agents.index_agent import Done, IndexAgent, Indexer
from ingest.agents.orphans import StateRows
from ingest.agents.resolve_agent import ResolveAgent
from ingest.agents.watchdog import watch
from ingest.app import make_app, raw_bytes_topic
from ingest.dead_letters import DeadLetter, note
from ingest.older_index import Group
from ingest.state_store import Pulse, StateStore
from ingest.topics_admin import TopicsAdmin

log = logger(__name__)

MAINTAIN_SECONDS: Final = 1.0
STOP_SECONDS: Final = 10.0
"""Faust's stop may hang while it joins a group; everything acknowledged is durable by then."""

JOIN_SECONDS: Final = 60.0
"""A generation that is added and has not joined its group by then is given up, to be tried again."""

PRODUCER_BATCH_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Following:
    """One generation that this worker follows, as it stands now."""

    indexer: Indexer
    partitions: frozenset[int]
    """Of the state topic, those that are this worker's."""
    done: Done
    waiting: str | None
    """What its batch waits for, or else its sweeps."""


@dataclass(slots=True)
class _Follower:
    indexer: Indexer
    agent: IndexAgent
    app: Any
    ends: Mapping[int, int]
    """Of its state topic, when it began: what a crash has left lies below."""
    tasks: tuple[asyncio.Task[None], ...] = ()
    """Beside it: its watchdog, and its sweeps."""


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
        priority: Priority,
        clock: Clock | None = None,
        failpoint: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`priority`: that of the indexers, for what is resolved goes before what is built."""
        self._priority = priority
        self._settings, self._brokers, self._epochs = settings, list(brokers), dict(epochs)
        self._first, self._on_fatal = list(indexers), on_fatal
        self._clock, self._failpoint = clock or SystemClock(), failpoint
        self._resolving: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._resolvers: list[ResolveAgent] = []
        self._followers: dict[tuple[str, int], _Follower] = {}
        self._moves: set[asyncio.Task[None]] = set()
        """Followers that come or go; and stops of apps that hang, which hold no work any more."""
        self._reader: StateReader | None = None
        self._producer: AIOKafkaProducer | None = None
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
        self._reader = StateReader(
            self._brokers,
            topics,
            on_rows=lambda *_: None,
            on_error=self._fail,
            fetch_wait_ms=fetch_wait_ms(self._settings.log),
        )
        try:
            await self._producer.start()
        except KafkaError as error:
            raise TransientError(f"Kafka at {', '.join(self._brokers)}: {error!r}") from error
        await self._reader.start()
        await self._reader.caught_up()
        pulse = Pulse(ingest.session_seconds)
        self._resolving = self._resolve_app(tables, pulse)
        for indexer in self._first:
            self._followers[indexer.document, indexer.generation] = self._follower(indexer)
        # Before joining, which may take a whole session: it must not read as having been frozen.
        self._guard(pulse.run, "pulse")
        await asyncio.gather(self._resolving.start(), *(one.app.start() for one in self._followers.values()))
        self._guard(self._maintain, "maintenance")
        self._watch(self._resolving, self._oldest_batch, lambda: False)
        for follower in self._followers.values():
            self._attend(follower)

    async def add_indexer(self, indexer: Indexer) -> None:
        """Follow one more generation, from where its group has come; returns when it has begun to join.

        Nothing if it is followed. Raises TransientError if that takes too long: try again later.
        """
        key = (indexer.document, indexer.generation)
        if key not in self._followers and not self._stopping:
            # Begun is ended, whoever is cancelled: half an app would stay in its group for ever.
            await asyncio.shield(self._move(self._join(key, self._follower(indexer))))

    async def remove_indexer(self, document: str, generation: int) -> None:
        """Follow it no longer: finish or break off the batch in work, commit, leave. Nothing if it is not.

        On return nothing of it touches the collection any more. Faust's stop may hang; then the process
        goes on, and its member leaves the group when its session ends with the process.
        """
        follower = self._followers.pop((document, generation), None)
        if follower is not None:
            await asyncio.shield(self._move(self._leave(follower)))

    def following(self) -> dict[tuple[str, int], Following]:
        """By document and number."""
        return {
            key: Following(
                one.indexer,
                frozenset(tp.partition for tp in one.app.consumer.assignment())
                if one.app.consumer
                else frozenset(),
                one.agent.done,
                one.agent.last_error or one.agent.sweeps.last_error,
            )
            for key, one in self._followers.items()
        }

    async def stop(self) -> None:
        """Finish the batches in work, commit, leave. Safe to call twice and after a failed start."""
        self._stopping = True
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        late = TransientError(f"Faust has not stopped within {STOP_SECONDS:.0f} s: the process ends here")
        timer = threading.Timer(STOP_SECONDS, self._on_fatal, [late])
        timer.daemon = True
        timer.start()
        try:
            await asyncio.gather(*self._moves, return_exceptions=True)
            apps = [] if self._resolving is None else [self._resolving]
            for follower in self._followers.values():
                follower.agent.stop()
                apps.append(follower.app)
            await asyncio.gather(*(app.stop() for app in apps), return_exceptions=True)
            for follower in self._followers.values():
                await follower.agent.close()
            if self._reader is not None:
                await self._reader.stop()
            if self._producer is not None:
                await self._producer.stop()
        finally:
            timer.cancel()
        self._resolving = None
        self._followers, self._tasks = {}, set()

    def table(self, topic: str) -> StateTable:
        """The rows and progress of a state topic, as this worker has read and written them."""
        if self._reader is None:
            raise RuntimeError("the worker has not been started")
        return self._reader.tables[topic]

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
                partial(self._log_start, topic),
                self._priority,
            )
            self._resolvers.append(agent)
            self._register(app, topic, f"resolve-{topic}", agent.run)
        app.finalize()
        return app

    def _log_start(self, topic: str) -> int:
        return TopicsAdmin(self._brokers).bounds([topic])[topic, 0].start

    def _make_app(self, group: str) -> Any:
        embedded = isinstance(self._settings.log, EmbeddedLog)
        return make_app(group, self._brokers, self._settings.ingest, embedded=embedded)

    def _follower(self, indexer: Indexer) -> _Follower:
        if self._reader is None:
            raise RuntimeError("made before the clients")
        settings = self._settings
        group = index_group(settings.app, indexer.document, indexer.generation)
        app = self._make_app(group)
        agent = IndexAgent(
            indexer,
            self._park,
            settings.ingest,
            self._clock,
            self._failpoint,
            self._rows(indexer.topic),
            Group(group, lambda: TopicsAdmin(self._brokers).committed_of(group, indexer.topic)),
        )
        self._register(app, indexer.topic, group, agent.run)
        app.finalize()
        return _Follower(indexer, agent, app, dict(self._reader.read_to(indexer.topic)))

    def _rows(self, topic: str) -> StateRows | None:
        """None for a generation of a table that is no longer read here."""
        reader = self._reader
        table = reader.tables.get(topic) if reader is not None else None
        if reader is None or table is None:
            return None

        return StateRows(table, lambda: reader.read_to(topic), reader.caught_up)

    def _move(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)
        return task

    async def _join(self, key: tuple[str, int], follower: _Follower) -> None:
        starting = asyncio.ensure_future(follower.app.start())
        done, _ = await asyncio.wait([starting], timeout=JOIN_SECONDS)
        if not done:
            starting.cancel()
            await self._leave(follower)
            raise TransientError(f"{follower.app.conf.id}: not started within {JOIN_SECONDS:.0f} s")
        await starting
        self._followers[key] = follower
        self._attend(follower)

    async def _leave(self, follower: _Follower) -> None:
        for task in follower.tasks:
            task.cancel()
        follower.agent.stop()
        stopping = self._move(follower.app.stop())
        done, _ = await asyncio.wait([stopping], timeout=STOP_SECONDS / 2)
        if not done:
            log.warning("a Faust app does not stop; it is left alone", group=follower.app.conf.id)
        await follower.agent.close()

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

    def _oldest_batch(self) -> float | None:
        return min((a.busy_since for a in self._resolvers if a.busy_since is not None), default=None)

    def _attend(self, follower: _Follower) -> None:
        agent = follower.agent
        follower.tasks = (
            self._watch(follower.app, lambda: agent.busy_since, lambda: agent.stands),
            self._guard(partial(agent.sweeps.strays, follower.ends), f"sweep of {follower.app.conf.id}"),
            self._guard(agent.sweeps.orphans, f"sweep of orphans of {follower.app.conf.id}"),
        )

    def _watch(
        self, app: Any, busy_since: Callable[[], float | None], waits: Callable[[], bool]
    ) -> asyncio.Task[None]:
        """`waits`: whether its agents wait for something that is away, and rightly stand still."""
        watched = partial(watch, app, busy_since, waits, self._settings.ingest.stuck_seconds)
        return self._guard(watched, f"watchdog of {app.conf.id}")

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTAIN_SECONDS)
            for resolver in self._resolvers:
                await resolver.maintain()

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

    def _guard(self, work: Work, name: str) -> asyncio.Task[None]:
        task = background(work, self._fail, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _fail(self, error: BaseException) -> None:
        if self._stopping:
            return
        if not isinstance(error, TailraceError):
            log.error("a bug of ours", error=repr(error), exc_info=error)
        self._on_fatal(error)
