"""Reads how reindexing stands and writes what is wished for. Kafka alone is asked: never the index.

The index may have one owner, which is another process; workers follow the generations topic and
make it so.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from core.clock import Clock, SystemClock
from core.errors import ConfigurationError, TransientError
from core.keys import TableId
from core.settings import KafkaLog, Settings
from core.topics import generations_topic, index_group, state_topic
from ingest.generations import Frozen, Generation, Pace, Pointer, Record, Registry, encode_record
from ingest.registry import RegistryTail, RegistryWriter
from ingest.topics_admin import Bounds, TopicsAdmin
from tailrace.adapters import load_encoders
from tailrace.reindex import decide
from tailrace.reindex.progress import Progress, progress

DRAIN_STEP_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Moved:
    """A pointer that was followed."""

    pointer: Pointer
    milliseconds: int
    """From the wish to the alias."""


class Control:
    """For one command: `async with Control(settings) as control`.

    Raises ConfigurationError for a log that lives inside another process, TransientError for a
    broker that does not answer.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        if not isinstance(settings.log, KafkaLog):
            raise ConfigurationError(
                "log.kind is embedded: the log lives inside the process that `tailrace dev` runs, and no"
                " other can reach it. Reindexing needs a Kafka broker (`log: {kind: kafka, brokers: [...]}`);"
                " to see one without, run `tailrace demo`"
            )
        self._settings, self._brokers = settings, settings.log.brokers
        self._clock = clock or SystemClock()
        self._tail = RegistryTail(settings.app, self._brokers)
        self._writer = RegistryWriter(self._brokers, generations_topic(settings.app))
        self._admin = TopicsAdmin(self._brokers)

    async def __aenter__(self) -> Self:
        await self._tail.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._writer.stop()
        await self._tail.stop()

    @property
    def registry(self) -> Registry:
        """As the log has it now."""
        return self._tail.registry

    def now(self) -> int:
        return self._clock.now_ms()

    async def look(self, generations: Sequence[Generation]) -> list[Progress]:
        """How far these have come."""
        registry = self.registry
        # A report or a new pace may have come since they were found.
        current = [registry.find(one.document, one.number) or one for one in generations]
        bounds, committed = await asyncio.to_thread(self._offsets, current)
        now = self._clock.now_ms()
        return [
            progress(registry, one, bounds[_table(one)], committed[one.document, one.number], now)
            for one in current
        ]

    def _offsets(
        self, generations: Sequence[Generation]
    ) -> tuple[dict[TableId, dict[int, Bounds]], dict[tuple[str, int], dict[int, int]]]:
        app = self._settings.app
        topics = {state_topic(app, table): table for table in map(_table, generations)}
        bounds: dict[TableId, dict[int, Bounds]] = {table: {} for table in topics.values()}
        for (topic, number), found in self._admin.bounds(list(topics)).items():
            bounds[topics[topic]][number] = found
        committed = {
            (one.document, one.number): {
                number: offset
                for (_, number), offset in self._admin.committed(
                    index_group(app, one.document, one.number)
                ).items()
            }
            for one in generations
        }
        return bounds, committed

    async def start(
        self, document: str, frozen: Frozen, *, pace: Pace | None, force: bool, displace: bool
    ) -> decide.Start:
        """As decide.start; recorded on return."""
        step = decide.start(
            self.registry,
            document,
            frozen,
            self._settings.app,
            self._clock.now_ms(),
            pace=pace,
            force=force,
            displace=displace,
        )
        await self._write(step.records)
        return step

    async def drop(self, document: str, number: int) -> bool:
        """As decide.drop; whether anything was to be done."""
        record = decide.drop(self.registry, document, number)
        await self._write([] if record is None else [record])
        return record is not None

    async def drained(self, generation: Generation, timeout: float) -> Progress:  # noqa: ASYNC109 - a plain limit
        """Until it is caught up but for a few records. TransientError past `timeout` seconds."""
        deadline = self._clock.monotonic() + timeout
        while True:
            [found] = await self.look([generation])
            if found.caught_up:
                return found
            if self._clock.monotonic() > deadline:
                raise TransientError(
                    f"generation {generation.number} of {generation.document} is {found.lag} records behind"
                    f" after {timeout:.0f} s: nothing was changed. Wait for it (`tailrace reindex status"
                    f" {generation.document} --watch`), or give it longer with --timeout"
                )
            await asyncio.sleep(DRAIN_STEP_SECONDS)

    async def move(self, pointer: Pointer, timeout: float) -> Moved:  # noqa: ASYNC109 - a plain limit
        """Write the pointer and wait until a worker has moved the alias.

        Past `timeout` seconds the pointer is written back, and TransientError says so.
        """
        document = pointer.document
        before = self.registry.pointers.get(document)
        began = self._clock.monotonic()
        await self._write([pointer])
        deadline = began + timeout
        while not self._aliased(pointer):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                await self._write([before or Pointer(document, pointer.previous or 0, None, pointer.at)])
                raise TransientError(
                    f"no worker has made generation {pointer.live} of {document} answer within"
                    f" {timeout:.0f} s: the wish was taken back, generation {pointer.previous} goes on"
                    " answering."
                    " Does a worker run? `tailrace reindex status` says when one reported last"
                )
            known = self.registry
            if not self._aliased(pointer):
                await self._tail.changed(left, known)
        return Moved(pointer, round((self._clock.monotonic() - began) * 1000))

    def _aliased(self, pointer: Pointer) -> bool:
        found = self.registry.aliased.get(pointer.document)
        # What an earlier wish for the same generation has left says nothing of this one.
        followed = self.registry.pointers.get(pointer.document) == pointer
        return followed and found is not None and found.number == pointer.live

    async def _write(self, records: Sequence[Record]) -> None:
        """Recorded on return, and known to `registry`."""
        await self._writer.write([encode_record(one) for one in records])
        while not all(_known(known := self.registry, one) for one in records):
            await self._tail.changed(DRAIN_STEP_SECONDS, known)


def _known(registry: Registry, record: Record) -> bool:
    if isinstance(record, Pointer):
        return registry.pointers.get(record.document) == record
    return not isinstance(record, Generation) or record in registry.generations


def _table(generation: Generation) -> TableId:
    return TableId.parse(generation.frozen.document.table)


def configured(settings: Settings, document: str) -> Frozen:
    """What a new generation of it would be built with. Loads the encoder, which takes a second or so."""
    if document not in settings.documents:
        raise ConfigurationError(
            f"there is no document {document!r} in the configuration: write one of"
            f" {', '.join(sorted(settings.documents)) or '(none)'}"
        )
    encoder = load_encoders(settings.encoder).document
    return Frozen(settings.documents[document], settings.encoder, encoder.fingerprint, encoder.dimensions)


def pace_of(rate: float | None, share: float | None) -> Pace | None:
    """As the command line says it: 0 lifts a limit, None leaves all as it is."""
    if rate is None and share is None:
        return None
    return Pace(rate or None, share or None)
