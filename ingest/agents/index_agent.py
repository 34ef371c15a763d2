"""Rows of one table become the index of one generation: apply, cover, flush, acknowledge."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from core.clock import Clock
from core.errors import ConfigurationError, PermanentError, TransientError
from core.metrics import COMMIT_TO_SEARCHABLE, RETRIES, STAGE
from core.retry import Backoff
from core.settings import Ingest
from core.state import Progress, Removed, StateRow, Truncate, decode_state
from core.telemetry import logger
from embed.index import Collection
from embed.model import Change, Covered, Removal, manifest_id
from embed.pace import Spent, Turns
from embed.pipeline import Pipeline
from embed.render import Renderer
from embed.strays import StraySweep
from ingest.agents.drainer import ack, release, sized_batches, still_owner
from ingest.brake import Brake
from ingest.dead_letters import DeadLetter
from ingest.record import RawRecord

log = logger(__name__)

WITHIN_SECONDS: Final = 0.001
BACKGROUND_WITHIN_SECONDS: Final = 0.2
"""Where nobody waits for it: one flush for many changes, and the generation that answers pays for them."""

BACKGROUND_SECONDS: Final = 1.0
"""Of one batch in the background: so long may a rebalance or a promotion find it at work."""

LEAST_BATCH, MOST_BATCHES = 8, 4
"""Rows of a batch in the background at first; at most so many times a batch of the live one."""

DROPPED_SECONDS: Final = 10.0
"""For the word of a drop to arrive: another worker may have deleted the collection sooner."""

EARLY_SECONDS: Final = 1.0
"""Between two looks at whether it is time to sweep."""

FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0

Park = Callable[[Sequence[DeadLetter]], Any]


@dataclass(frozen=True, slots=True)
class Indexer:
    """One generation of one document, and what keeps it."""

    document: str
    generation: int
    topic: str
    """The state topic of its table."""
    renderer: Renderer
    pipeline: Pipeline
    collection: Collection
    turns: Turns = field(default_factory=Turns)
    """Whether it answers; shared with what the pipeline calls between two pieces of work."""
    spent: Spent = field(default_factory=Spent)
    dropped: Callable[[], bool] = lambda: False
    """Whether the operator gave it up: its collection may vanish at any moment."""
    wished: Callable[[], bool] = lambda: False
    """Whether it is to answer: the alias waits for it to be level."""


@dataclass(slots=True)
class Done:
    """What an agent has done since it was made."""

    rows: int = 0
    reused: int = 0
    """Chunks written with a vector that was there."""


@dataclass(slots=True)
class _Batch:
    """The decoded records of one batch: newest row of each key, and the rest in order."""

    generation: int
    """Of the group, when they were fetched."""
    rows: dict[bytes, tuple[StateRow, RawRecord]] = field(default_factory=dict)
    truncates: dict[int, Truncate] = field(default_factory=dict)
    removed: list[Removed] = field(default_factory=list)
    progress: dict[int, Progress] = field(default_factory=dict)
    next_offset: dict[int, int] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)


class IndexAgent:
    """Handles the batches of one generation; all blocking work runs in one thread of its own."""

    def __init__(
        self,
        indexer: Indexer,
        park: Park,
        settings: Ingest,
        clock: Clock,
        failpoint: Callable[[str], None],
    ) -> None:
        self._indexer, self._park, self._settings = indexer, park, settings
        self._clock, self._failpoint = clock, failpoint
        self._brake = Brake(settings.poison_share, "the document's templates and columns, the encoder")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"index-{indexer.document}")
        self._generation: int | None = None
        """Of the group, in which `_progress` was read."""
        self._progress: dict[int, Progress] = {}
        self._dead_below: dict[int, int] = {}
        self._swept: bool | None = None
        self._most = LEAST_BATCH
        self._began: float | None = None
        self._stopping = False
        self.gone = False
        """It is closed, or its collection was dropped: whatever still comes is left alone."""
        self.last_error: str | None = None
        self.done = Done()

    @property
    def busy_since(self) -> float | None:
        """When the batch in work began or last went on (monotonic); None without one."""
        return None if self._began is None else max(self._began, self._indexer.turns.alive_at)

    @property
    def stands(self) -> bool:
        """Whether it rightly takes no records: what it needs is away, or it waits for its turn."""
        return self.gone or self.last_error is not None or (self._slow and self._began is not None)

    @property
    def _slow(self) -> bool:
        return self._indexer.turns.background()

    async def sweep(self, ends: Mapping[int, int]) -> None:
        """Once a start, when everything below `ends` is covered: drop what a crash before a drop has left.

        Not earlier: what was half written is written again first, and then the manifest knows it. Returns
        when it is done: page by page, with as long a rest after each, so that batches come in between.
        """
        loop, strays = asyncio.get_running_loop(), StraySweep(self._indexer.collection)
        backoff = Backoff(first=FIRST_WAIT, most=LONGEST_WAIT)
        while not self._swept and not self.gone:
            began = time.monotonic()
            try:
                early = not await loop.run_in_executor(self._thread, self._sweep, strays, ends)
            except TransientError as error:
                log.warning("waiting to sweep", document=self._indexer.document, why=str(error))
                await backoff.wait(error.retry_after)
            except ConfigurationError as error:
                await self._refuse_unless_dropped(error)
            else:
                backoff.reset()
                await asyncio.sleep(EARLY_SECONDS if early else time.monotonic() - began)
        if strays.found:
            log.info(
                "dropped passages that a crash had left",
                document=self._indexer.document,
                chunks=strays.found,
            )

    def _sweep(self, strays: StraySweep, ends: Mapping[int, int]) -> bool:
        """One page; False if it is too early. Blocking, in the agent's thread: never beside a batch."""
        if not strays.begun:
            marks = {m.partition: m.offset for m in self._indexer.collection.covered()}
            if any(marks.get(partition, 0) < end for partition, end in ends.items()):
                return False
        with self._indexer.turns.batch(lambda: not self._stopping):
            self._swept = strays.step()
            self._indexer.turns.give_way()
        return True

    async def run(self, app: Any, stream: Any) -> None:
        """The agent's body. Raises what must end the process."""
        async for batch in sized_batches(app, stream, self._sizes):
            began = time.monotonic()
            try:
                durable = await self._handle(app, batch)
            except BaseException:
                release(app, batch)  # else a stop would wait for it for ever
                raise
            finally:
                self._began = None
            if durable:
                self._failpoint("before_ack_index")
                ack(app, batch)
                self._measure(len(batch), time.monotonic() - began)
            else:
                release(app, batch)

    def stop(self) -> None:
        """Break off what can be done again."""
        self._stopping = True

    async def close(self) -> None:
        """Wait for the thread to end what it cannot break off."""
        self.stop()
        self.gone = True
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    def _sizes(self) -> tuple[int, float]:
        if self._slow and not self._indexer.wished():
            return self._most, BACKGROUND_WITHIN_SECONDS
        return self._settings.index_batch_records, WITHIN_SECONDS

    def _measure(self, rows: int, seconds: float) -> None:
        """Batches in the background are so long that one takes about BACKGROUND_SECONDS."""
        if self._slow and rows > self._most // 2:
            fitting = int(rows * BACKGROUND_SECONDS / max(seconds, 0.001))
            most = MOST_BATCHES * self._settings.index_batch_records
            self._most = min(max(fitting, LEAST_BATCH), 2 * self._most, most)

    async def _handle(self, app: Any, batch: list[Any]) -> bool:
        """Whether the effects are durable. False: the partition was lost meanwhile, or the collection."""
        generation = batch[-1].message.generation_id
        backoff = Backoff(first=FIRST_WAIT, most=LONGEST_WAIT)
        read = self._decode(batch)
        began = self._clock.now_ms()

        def wanted() -> bool:
            return not self._stopping and still_owner(app, generation)

        while still_owner(app, generation) and not self.gone:
            self._began = time.monotonic()
            try:
                loop = asyncio.get_running_loop()
                letters = await loop.run_in_executor(self._thread, self._in_turn, wanted, read, began)
                if letters:
                    await self._park(letters)
                self.last_error = None
            except TransientError as error:
                self._began = None
                if not wanted():
                    return False
                self.last_error = str(error)
                RETRIES.labels("index").inc()
                log.warning("waiting to index", document=self._indexer.document, why=str(error))
                await backoff.wait(error.retry_after)
                continue
            except ConfigurationError as error:
                await self._refuse_unless_dropped(error)
                continue
            return True
        return False

    async def _refuse_unless_dropped(self, error: ConfigurationError) -> None:
        """A collection that is gone is no error where the operator, by another worker, has dropped it."""
        deadline = time.monotonic() + DROPPED_SECONDS
        while not self._indexer.dropped():
            if time.monotonic() > deadline or self._stopping:
                raise error
            await asyncio.sleep(FIRST_WAIT / 4)
        self.gone, self._began, self.last_error = True, None, None
        log.info("a dropped generation is let go", document=self._indexer.document, why=str(error))

    def _decode(self, batch: list[Any]) -> _Batch:
        read = _Batch(batch[-1].message.generation_id)
        for event in batch:
            message = event.message
            record = RawRecord(
                message.topic, message.partition, message.offset, 0, message.key, message.value
            )
            read.next_offset[message.partition] = message.offset + 1
            try:
                found = decode_state(message.key, message.value, dict(message.headers or {}))
            except PermanentError as error:
                read.letters.append(DeadLetter(record, "index", error))
                continue
            match found:
                case StateRow():
                    known = read.rows.get(message.key)
                    if known is None or found.version >= known[0].version:
                        read.rows[message.key] = (found, record)
                case Truncate():
                    read.truncates[message.partition] = found
                case Progress():
                    newest = read.progress.get(message.partition)
                    if newest is None or found.version >= newest.version:
                        read.progress[message.partition] = found
                case Removed():
                    read.removed.append(found)
        return read

    def _in_turn(self, wanted: Callable[[], bool], read: _Batch, began: int) -> list[DeadLetter]:
        with self._indexer.turns.batch(wanted):  # entered here: a page of a sweep may stand before it
            return self._apply(read, began)

    def _apply(self, read: _Batch, began: int) -> list[DeadLetter]:
        """Blocking, in the agent's thread. Safe to repeat."""
        indexer, pipeline = self._indexer, self._indexer.pipeline
        if self._swept is None:  # an empty collection: nothing can have been left
            self._swept = not indexer.collection.counts().chunks
        letters = list(read.letters)
        for partition, truncate in read.truncates.items():
            self._dead_below[partition] = max(truncate.version, self._dead_below.get(partition, 0))
        changes: list[Change] = []
        sources: dict[bytes, RawRecord] = {}
        for canonical, (row, record) in read.rows.items():
            sources[canonical] = record
            indexer.turns.give_way()
            try:
                changes.append(self._change(row, record.partition))
            except PermanentError as error:
                letters.append(DeadLetter(record, "index", error))
        applied = pipeline.apply(changes)
        letters += [DeadLetter(sources[c.canonical], "index", error) for c, error in applied.failed]
        self._judge(letters, of=len(read.rows) + len(read.letters))
        for truncate in read.truncates.values():
            pipeline.truncate(truncate.version, truncate.position, truncate.committed_at)
        self._failpoint("after_apply")
        self._observe(read, began)
        for removed in read.removed:
            one = manifest_id(indexer.document, removed.key.canonical)
            indexer.collection.erase_manifests([one], removed.version + 1)
        indexer.collection.cover(self._covered(read))
        pipeline.flush()
        self.done.rows += len(read.rows)
        self.done.reused += applied.reused
        self._brake.count(len(letters), len(read.rows) + len(read.letters))
        self._failpoint("after_flush")
        return letters

    def _judge(self, letters: Sequence[DeadLetter], *, of: int) -> None:
        """Before anything of the batch is covered. Raises what the brake does."""
        try:
            why = letters[-1].error if letters else None
            self._brake.judge(len(letters), of, f"document {self._indexer.document}", why)
        except ConfigurationError as error:
            if self._slow:  # what answers goes on, whatever is wished for; this one waits, and says why
                raise TransientError(str(error)) from error
            raise

    def _change(self, row: StateRow, partition: int) -> Change:
        dead_below = self._dead_below.get(partition, 0)
        if row.version >= dead_below:
            return self._indexer.renderer.render(row)
        return Removal(
            self._indexer.document,
            row.key.text,
            row.key.canonical,
            dead_below,
            None,
            row.position,
            row.committed_at,
        )

    def _covered(self, read: _Batch) -> list[Covered]:
        """What is said of each partition goes on from what the index says, whoever had it meanwhile."""
        if read.generation != self._generation:
            self._generation = read.generation
            self._progress = {
                mark.partition: Progress(mark.version, mark.position, mark.committed_at)
                for mark in self._indexer.collection.covered()
                if mark.topic == self._indexer.topic
            }
        for partition, found in read.progress.items():
            known = self._progress.get(partition)
            if known is None or found.version >= known.version:
                self._progress[partition] = found
        marks = []
        for partition, offset in read.next_offset.items():
            progress = self._progress.get(partition)
            if progress is not None:
                marks.append(
                    Covered(
                        self._indexer.topic,
                        partition,
                        offset,
                        progress.version,
                        progress.position,
                        progress.committed_at,
                    )
                )
        return marks

    def _observe(self, read: _Batch, began: int) -> None:
        now = self._clock.now_ms()
        for row, _ in read.rows.values():
            if row.streamed is None or not row.committed_at:
                continue
            STAGE.labels("queue").observe(max(0, began - row.resolved_at) / 1000)
            STAGE.labels("index").observe(max(0, now - began) / 1000)
            COMMIT_TO_SEARCHABLE.labels(self._indexer.document).observe(max(0, now - row.committed_at) / 1000)
