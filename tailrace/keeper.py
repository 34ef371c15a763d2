"""Makes the index what the generations topic says, for as long as a worker runs.

What to do is decided in `ingest.generation_plan.reconcile`. Here it is done, and said: generations are
followed and let go, aliases moved, collections deleted, and reports written. Each worker on one
index does all of it, for doing any of it twice does no harm. Calls of the index block, so they have
threads.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

from core.clock import Clock
from core.errors import ConfigurationError, TailraceError, TransientError
from core.keys import TableId
from core.retry import Backoff
from core.settings import EmbeddedLog, Settings
from core.tasks import Work, background
from core.telemetry import logger
from core.topics import alias_name, generations_topic, index_group, state_topic
from embed.index import Index
from ingest.agents.index_agent import Indexer
from ingest.generation_plan import Action, Discard, Halt, Point, Run, differences, reconcile
from ingest.generations import Aliased, Frozen, Generation, Record, Registry, encode_record
from ingest.registry import RegistryTail, RegistryWriter
from ingest.topics_admin import TopicsAdmin
from ingest.worker import Worker
from tailrace.reindex.progress import REPORT_SECONDS
from tailrace.reports import Reporter
from tailrace.rewind import make, rewind

log = logger(__name__)

LOOK_SECONDS: Final = 30.0
"""Between two looks at the index where the registry says nothing new."""

STEP_SECONDS: Final = 0.02
"""Between two looks at how far a generation has come that is to answer."""

FRESH_SECONDS: Final = 0.5
"""So long the alias waits for the new one to be as fresh as the old one is by now, beyond what it was."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0

Key = tuple[str, int]


class Keeper:
    """`start` after the worker's, `stop` before it. `on_fatal` must end the process."""

    def __init__(
        self,
        settings: Settings,
        brokers: Sequence[str],
        index: Index,
        tail: RegistryTail,
        worker: Worker,
        build: Callable[[Generation], Indexer],
        *,
        on_fatal: Callable[[BaseException], None],
        clock: Clock,
    ) -> None:
        self._settings, self._brokers, self._index, self._tail = settings, brokers, index, tail
        self._worker, self._build, self._on_fatal, self._clock = worker, build, on_fatal, clock
        self._writer = RegistryWriter(brokers, generations_topic(settings.app))
        self._reporter = Reporter(settings, tail, worker, clock)
        self._loops: list[asyncio.Task[None]] = []
        self._acting: dict[str, asyncio.Task[None]] = {}
        self._ended = asyncio.Event()
        self._forgotten: set[Key] = set()
        self._begun: dict[Key, Frozen] = {}
        """What this process has begun to build each generation with: half of one index is never another's."""

    async def start(self) -> None:
        """Begin to keep; returns at once."""
        for name, loop in (("keeper", self._keep), ("reports", self._report)):
            self._loops.append(background(loop, self._on_fatal, name=name))

    async def stop(self) -> None:
        """Leave everything as it stands, after a last report. Safe to call twice."""
        tasks = [*self._loops, *self._acting.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._loops:
            self._loops = []
            try:
                await self._reporter.write(self._writer, last=True)
            except TailraceError as error:
                log.warning("the last report is not written", why=str(error))
        await self._writer.stop()

    async def _keep(self) -> None:
        backoff = Backoff(first=FIRST_WAIT, most=LONGEST_WAIT)
        while True:
            registry, seconds = self._tail.registry, LOOK_SECONDS
            self._ended.clear()
            try:
                await self._step(registry)
                backoff.reset()
            except TransientError as error:
                log.warning("waiting to keep the generations", why=str(error))
                seconds = backoff.seconds(error.retry_after)
            await self._rest(registry, seconds)

    async def _rest(self, registry: Registry, seconds: float) -> None:
        """Until something that was begun has ended, or the registry says more than what was reported."""
        try:
            async with asyncio.timeout(seconds):
                ended = asyncio.ensure_future(self._ended.wait())
                while _wishes(known := self._tail.registry) == _wishes(registry):
                    changed = asyncio.ensure_future(self._tail.changed(seconds, known))
                    try:
                        await asyncio.wait([changed, ended], return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        changed.cancel()
                    if ended.done():
                        return
        except TimeoutError:
            return
        finally:
            ended.cancel()

    async def _step(self, registry: Registry) -> None:
        collections, aliases = await asyncio.to_thread(self._stored)
        documents, app = self._settings.documents, self._settings.app
        followed = self._worker.following()
        changed = self._changed(registry, followed)
        actions = reconcile(registry, documents, followed, collections, aliases, app, changed)
        for action in actions:
            self._begin(action)
        await self._write(*self._tail.undone)
        await self._confirm(registry, aliases)
        await self._clean(registry, collections)

    def _changed(self, registry: Registry, followed: Collection[Key]) -> set[Key]:
        """Those whose record says something else than what they were begun with; said, and reported."""
        changed: set[Key] = set()
        for one in registry.running():
            key = (one.document, one.number)
            if key in followed:
                self._begun.setdefault(key, one.frozen)
            names = differences(self._begun.get(key, one.frozen), one.frozen)
            if names:
                changed.add(key)
                why = (
                    f"{', '.join(names)} of generation {one.number} of {one.document} changed in the record"
                    " while it was being built: it is not followed; drop it, and start another"
                )
                if self._reporter.refused.get(key) != why:
                    log.error("cannot follow a generation", document=key[0], generation=key[1], why=why)
                self._reporter.refused[key] = why
        return changed

    def _stored(self) -> tuple[list[str], dict[str, str | None]]:
        """Blocking: the collections, and by document what its alias points at."""
        app = self._settings.app
        aliases = {name: self._index.alias(alias_name(app, name)) for name in self._settings.documents}
        return self._index.collections(), aliases

    def _begin(self, action: Action) -> None:
        """One thing at a time for a generation; an alias waits beside what else is done."""
        match action:
            case Run(one):
                name, work = f"{one.document}/{one.number}", partial(self._run, one)
            case Halt(document, number):
                name, work = f"{document}/{number}", partial(self._worker.remove_indexer, document, number)
            case Discard(one):
                name, work = f"{one.document}/{one.number}", partial(self._discard, one)
            case Point(one):
                name, work = f"{one.document}/alias", partial(self._point, one)
        if name not in self._acting:
            tried = partial(self._tried, name, work)
            self._acting[name] = background(tried, self._on_fatal, name=name)

    async def _tried(self, name: str, work: Work) -> None:
        """A failure that may pass is waited out, and what to do then decided anew."""
        try:
            await work()
        except TransientError as error:
            log.warning("waiting to go on with a generation", generation=name, why=str(error))
            await asyncio.sleep(error.retry_after or FIRST_WAIT)
        finally:
            self._acting.pop(name, None)
            self._ended.set()

    async def _run(self, one: Generation) -> None:
        key = (one.document, one.number)
        self._begun.setdefault(key, one.frozen)
        try:
            await make(self._settings, self._brokers, self._index, one)
            await rewind(self._settings, self._brokers, self._index, [one])
            indexer = await asyncio.to_thread(self._build, one)
        except TransientError as error:
            self._reporter.refused[key] = str(error)
            raise
        except ConfigurationError as error:
            # What answers goes on: one that cannot be built here is no reason to stop it.
            if self._reporter.refused.get(key) != str(error):
                log.warning("cannot follow a generation", document=key[0], generation=key[1], why=str(error))
            self._reporter.refused[key] = str(error)
            await self._while_recorded(one, LONGEST_WAIT)
            return
        self._reporter.refused.pop(key, None)
        await self._worker.add_indexer(indexer)
        role = self._tail.registry.role(one)
        log.info("following the log", document=one.document, generation=one.number, role=role)

    async def _while_recorded(self, one: Generation, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._tail.registry.find(one.document, one.number) == one:
                    await self._tail.changed(seconds)
        except TimeoutError:
            return

    async def _point(self, one: Generation) -> None:
        """Move the alias as soon as nothing is lost by it; give up if something else is wanted by then."""
        app = self._settings.app
        alias, collection = alias_name(app, one.document), one.collection(app)
        topic = state_topic(app, TableId.parse(one.frozen.document.table))
        before = await asyncio.to_thread(self._index.alias, alias)
        wanted = await asyncio.to_thread(self._marks, before, topic)
        fresh_until: float | None = None
        while self._tail.registry.live(one.document) == one:
            mine = await asyncio.to_thread(self._marks, collection, topic)
            if _reaches(mine, wanted):
                now = self._clock.monotonic()
                fresh_until = fresh_until or now + FRESH_SECONDS
                wanted = await asyncio.to_thread(self._marks, before, topic)
                if _reaches(mine, wanted) or now >= fresh_until:
                    await asyncio.to_thread(self._index.point, alias, collection)
                    log.info("answering from it", document=one.document, generation=one.number)
                    await self._write(Aliased(one.document, one.number, self._clock.now_ms()))
                    return
            await asyncio.sleep(STEP_SECONDS)

    def _marks(self, collection: str | None, topic: str) -> dict[int, int]:
        """Blocking: by partition of the topic, the next record that the collection has not covered.

        A generation made of another table has nothing to wait for: its rows are others.
        """
        if collection is None:
            return {}
        try:
            covered = self._index.open(collection).covered()
        except ConfigurationError:  # gone: nothing is lost
            return {}
        return {mark.partition: mark.offset for mark in covered if mark.topic == topic}

    async def _discard(self, one: Generation) -> None:
        await asyncio.to_thread(self._index.drop, one.collection(self._settings.app))
        log.info("deleted", document=one.document, generation=one.number)

    async def _confirm(self, registry: Registry, aliases: Mapping[str, str | None]) -> None:
        """Say where an alias points, if a process that moved it has died before it could."""
        for document, target in aliases.items():
            live, said = registry.live(document), registry.aliased.get(document)
            if live is None or target != live.collection(self._settings.app):
                continue
            if (said is None or said.number != live.number) and f"{document}/alias" not in self._acting:
                await self._write(Aliased(document, live.number, self._clock.now_ms()))

    async def _clean(self, registry: Registry, collections: Sequence[str]) -> None:
        """Groups and reports of generations that are gone."""
        followed = self._worker.following()
        gone = [
            one
            for one in registry.generations
            if one.status == "dropped"
            and (one.document, one.number) not in followed
            and one.collection(self._settings.app) not in collections
        ]
        reports = [report for one in gone for report in registry.reports_of(one)]
        await self._writer.write([(encode_record(report)[0], None) for report in reports])
        if isinstance(self._settings.log, EmbeddedLog):  # knows no end of a group, and ends with the process
            return
        fresh = [one for one in gone if (one.document, one.number) not in self._forgotten]
        if fresh:
            groups = [index_group(self._settings.app, one.document, one.number) for one in fresh]
            try:
                await asyncio.to_thread(TopicsAdmin(self._brokers).forget, groups)
            except TransientError as error:
                # A member that was killed stays in its group until its session ends: nothing to tell.
                log.debug("a group is forgotten later", why=str(error))
                return
            self._forgotten |= {(one.document, one.number) for one in fresh}

    async def _report(self) -> None:
        backoff = Backoff(first=FIRST_WAIT, most=LONGEST_WAIT)
        while True:
            try:
                await self._reporter.write(self._writer)
            except TransientError as error:
                log.debug("waiting to report", why=str(error))
                await backoff.wait(error.retry_after)
                continue
            backoff.reset()
            await asyncio.sleep(REPORT_SECONDS)

    async def _write(self, *records: Record) -> None:
        await self._writer.write([encode_record(record) for record in records])


def _wishes(registry: Registry) -> tuple[object, ...]:
    """All but the reports, which ask for nothing."""
    return registry.generations, registry.pointers, registry.aliased


def _reaches(mine: Mapping[int, int], wanted: Mapping[int, int]) -> bool:
    return all(mine.get(partition, 0) >= offset for partition, offset in wanted.items())
