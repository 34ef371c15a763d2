"""Reads how reindexing stands and writes what is wished for. Kafka alone is asked: never the index.

The index may have one owner, which is another process; workers follow the generations topic and
make it so.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Self

from core.clock import Clock, SystemClock
from core.consumer import away
from core.errors import ConfigurationError, TransientError
from core.settings import KafkaLog, Settings
from core.topics import generations_topic
from ingest.generations import Frozen, Generation, Pace, Pointer, Record, Registry, encode_record
from ingest.registry import RegistryTail, RegistryWriter, Wish
from ingest.topics_admin import TopicsAdmin
from tailrace.adapters import load_encoders
from tailrace.reindex import decide
from tailrace.reindex.fencing import put_back, standing
from tailrace.reindex.looking import read_progress
from tailrace.reindex.progress import Progress

DRAIN_STEP_SECONDS: Final = 0.25

RECORDED_SECONDS: Final = 30.0
"""For what was written to be read: a broker that has taken a record hands it out at once."""

SETTLING_SECONDS: Final = 0.5
"""So long a wish that came second may stand before its command has taken it back."""


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
        now = self._clock.now_ms()
        return await asyncio.to_thread(read_progress, self._admin, self._settings.app, registry, current, now)

    async def start(
        self, document: str, frozen: Frozen, *, pace: decide.PaceWish, force: bool, displace: bool
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
        decided = self._tail.position
        fresh = [one for one in step.records if one.status != "dropped"]
        for one in fresh:
            await self._fenced(one, decided)
        # What stands in the way goes when that is settled: what is dropped cannot be taken back.
        for rival in step.records:
            if rival not in fresh:
                await self.drop(document, rival.number)
        return step

    async def drop(self, document: str, number: int) -> bool:
        """As decide.drop; whether anything was to be done.

        A drop cannot be taken back: TransientError says so if it was wished for meanwhile that this
        generation answers. Then another one does.
        """
        await self._refresh()  # somebody may have been asked, and have thought about it
        record = decide.drop(self.registry, document, number)
        if record is None:
            return False
        await self._write([record])
        pointer, live = self.registry.pointers.get(document), self.registry.live(document)
        if pointer is not None and pointer.live == number:
            raise TransientError(
                f"somebody else has just wished that generation {number} of {document} answers, and it is"
                f" dropped: generation {live.number if live else '(none)'} answers; look at"
                " `tailrace reindex ls`"
            )
        return True

    async def drained(self, generation: Generation, timeout: float) -> Progress:  # noqa: ASYNC109 - a plain limit
        """Until it is caught up but for a few records, and goes on. TransientError past `timeout` seconds."""
        deadline = self._clock.monotonic() + timeout
        while True:
            [found] = await self.look([generation])
            if found.level:
                return found
            if self._clock.monotonic() > deadline:
                waits = "" if found.waiting is None else f"It waits: {found.waiting}. "
                if found.pace != Pace():
                    waits += "Its pace is limited (--rate or --share of its start). "
                raise TransientError(
                    f"generation {generation.number} of {generation.document} is {found.lag} records behind"
                    f" after {timeout:.0f} s: nothing was changed. {waits}Wait for it (`tailrace reindex"
                    f" status {generation.document} --watch`), or give it longer with --timeout"
                )
            await asyncio.sleep(DRAIN_STEP_SECONDS)

    async def move(self, pointer: Pointer, timeout: float) -> Moved:  # noqa: ASYNC109 - a plain limit
        """Write the pointer and wait until a worker has moved the alias.

        Past `timeout` seconds, and when it is interrupted, the wish is taken back if it is still the
        last one; TransientError says so, or which other wish has replaced it.
        """
        document, decided = pointer.document, self._tail.position
        before = self.registry.pointers.get(document) or Pointer(
            document, pointer.previous or 0, None, pointer.at
        )
        began = self._clock.monotonic()
        try:
            await self._fenced(pointer, decided)
            await self._followed(pointer, before, began + timeout)
        except TimeoutError:
            await self._take_back(pointer, before)
            raise TransientError(
                f"no worker has made generation {pointer.live} of {document} answer within"
                f" {timeout:.0f} s: the wish was taken back, generation {before.live} goes on answering."
                " Does a worker run? `tailrace reindex status` says when one reported last"
            ) from None
        except asyncio.CancelledError:
            if self.registry.pointers.get(document) != pointer:
                with _may_stand():
                    await self._writer.stop()  # what is on its way arrives
                    await self._refresh()
            await self._take_back(pointer, before)
            raise
        return Moved(pointer, round((self._clock.monotonic() - began) * 1000))

    async def _followed(self, pointer: Pointer, before: Pointer, deadline: float) -> None:
        """TimeoutError past the deadline, TransientError as soon as it will not be followed any more."""
        document, superseded = pointer.document, 0.0
        while True:
            known = self.registry
            wish, said = known.pointers.get(document), known.aliased.get(document)
            if wish is not None and wish.live != pointer.live:
                now = self._clock.monotonic()
                superseded = superseded or now
                if now - superseded < SETTLING_SECONDS:
                    await self._tail.changed(DRAIN_STEP_SECONDS, known)
                    continue
                raise TransientError(
                    f"the wish that generation {pointer.live} of {document} answers was superseded by"
                    f" generation {wish.live}: look at `tailrace reindex ls`"
                )
            superseded = 0.0
            target = known.find(document, pointer.live)
            if target is None or target.status != "running":
                await self._take_back(pointer, before)
                raise TransientError(
                    f"somebody else has dropped generation {pointer.live} of {document} meanwhile: the wish"
                    " was taken back; look at `tailrace reindex ls`"
                )
            # What an earlier wish for the same generation has left says nothing of this one.
            if wish is not None and said is not None and said.number == pointer.live:
                return
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise TimeoutError
            await self._tail.changed(left, known)

    async def _take_back(self, pointer: Pointer, before: Pointer) -> None:
        """Unless it is replaced already: by what stands where it does not, else by what was there before."""
        while self.registry.pointers.get(pointer.document) == pointer:
            wishes = self._wishes(pointer.document)
            if any(wish == pointer for _, wish in standing(wishes)):
                await self._stands(before, self._tail.position)
            else:
                await self._put_back(pointer.document, next(at for at, wish in wishes if wish == pointer))

    async def _fenced(self, record: Generation | Pointer, decided: int) -> None:
        """Recorded on return, and nobody's wish for this document came in between.

        `decided`: the position that the decision rests on. Who was not first takes back: TransientError.
        """
        if not await self._stands(record, decided):
            raise TransientError(
                f"somebody else has just changed what is wished for {record.document}, and this command's"
                " wish was taken back: look at `tailrace reindex ls`, run it again"
            )

    async def _stands(self, record: Generation | Pointer, decided: int) -> bool:
        """Whether it does, recorded on return; else what does is put back."""
        [offset] = await self._write([replace(record, decided=decided)])
        if any(at == offset for at, _ in standing(self._wishes(record.document))):
            return True
        await self._put_back(record.document, offset)
        return False

    async def _put_back(self, document: str, offset: int) -> None:
        """In place of the wish at `offset`, which does not stand. Others may come in between again."""
        while (back := put_back(self._wishes(document), offset)) is not None:
            await self._write([back])

    def _wishes(self, document: str) -> list[Wish]:
        return [wish for wish in self._tail.wishes if wish[1].document == document]

    async def _refresh(self) -> None:
        """On return the registry has all that stands in its topic now."""
        topic = generations_topic(self._settings.app)
        bounds = await asyncio.to_thread(self._admin.bounds, [topic])
        await self._read(bounds[topic, 0].end)

    async def _write(self, records: Sequence[Record]) -> list[int]:
        """Recorded on return, and read up to there; their offsets.

        A broker that goes away may have taken them: TransientError says so.
        """
        with _may_stand():
            offsets = await self._writer.write([encode_record(one) for one in records])
            await self._read(max(offsets, default=-1) + 1)
        return offsets

    async def _read(self, end: int) -> None:
        """Until the registry knows of all before `end`. TransientError past RECORDED_SECONDS."""
        deadline = self._clock.monotonic() + RECORDED_SECONDS
        while self._tail.position < end:
            if self._clock.monotonic() > deadline:
                raise away(
                    self._brokers,
                    [generations_topic(self._settings.app)],
                    f"what stands there could not be read within {RECORDED_SECONDS:.0f} s",
                )
            await self._tail.changed(DRAIN_STEP_SECONDS)


@contextmanager
def _may_stand() -> Iterator[None]:
    """Where Kafka goes away the error says so."""
    try:
        yield
    except TransientError as error:
        raise TransientError(
            f"{error}. What this command has wished for may stand all the same: as soon as Kafka answers,"
            " `tailrace reindex ls` shows what is to answer and what runs"
        ) from error


def configured(settings: Settings, document: str) -> Frozen:
    """What a new generation of it would be built with. Loads the encoder, which takes a second or so."""
    if document not in settings.documents:
        raise ConfigurationError(
            f"there is no document {document!r} in the configuration: write one of"
            f" {', '.join(sorted(settings.documents)) or '(none)'}"
        )
    encoder = load_encoders(settings.encoder).document
    return Frozen(settings.documents[document], settings.encoder, encoder.fingerprint, encoder.dimensions)
