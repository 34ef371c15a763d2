"""Rows of one table become the index of one generation: apply, cover, flush, acknowledge."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from core.clock import Clock
from core.errors import ConfigurationError, PermanentError, TransientError
from core.metrics import COMMIT_TO_SEARCHABLE, RETRIES, STAGE
from core.retry import Backoff
from core.settings import Ingest
from core.state import Removed, StateRow
from core.telemetry import logger
from embed.index import Collection
from embed.model import Change, Removal, manifest_id
from embed.pace import Spent, Turns
from embed.pipeline import Pipeline
from embed.render import Renderer
from ingest.agents.batch_sizes import BatchSizes
from ingest.agents.drainer import ack, release, sized_batches, still_owner
from ingest.agents.index_batch import Batch, Coverage, read_batch
from ingest.agents.index_sweep import Sweeps
from ingest.agents.orphans import StateRows
from ingest.brake import Brake
from ingest.dead_letters import DeadLetter
from ingest.older_index import Group
from ingest.record import RawRecord

log = logger(__name__)

WITHIN_SECONDS: Final = 0.001
BACKGROUND_WITHIN_SECONDS: Final = 0.2
"""Where nobody waits for it: one flush for many changes, and the generation that answers pays for them."""

DROPPED_SECONDS: Final = 10.0
"""For the word of a drop to arrive: another worker may have deleted the collection sooner."""

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


class IndexAgent:
    """Handles the batches of one generation; all blocking work runs in one thread of its own."""

    def __init__(
        self,
        indexer: Indexer,
        park: Park,
        settings: Ingest,
        clock: Clock,
        failpoint: Callable[[str], None],
        rows: StateRows | None = None,
        group: Group | None = None,
    ) -> None:
        """`rows`: of the indexer's topic; None where its table is no longer in the configuration.

        `group`: whose member it is; without one, what other workers acknowledged is not asked for.
        """
        self._indexer, self._park, self._settings = indexer, park, settings
        self._clock, self._failpoint = clock, failpoint
        self._brake = Brake(settings.poison_share, "the document's templates and columns, the encoder")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"index-{indexer.document}")
        self._rows, self._coverage = rows, Coverage(indexer.topic, group)
        self._dead_below: dict[int, int] = {}
        self._background_sizes = BatchSizes(settings.index_batch_records)
        self._began: float | None = None
        self._stopping = False
        self.sweeps = Sweeps(
            indexer, self._thread, self._coverage, rows, self._to_wait_for, lambda: self._stopping
        )
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
                self.sweeps.let_go()
            if durable:
                self._failpoint("before_ack_index")
                ack(app, batch)
                if self._slow:
                    self._background_sizes.measure(len(batch), time.monotonic() - began)
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
            undisturbed = self._indexer.turns.undisturbed
            return self._background_sizes.next(undisturbed=undisturbed), BACKGROUND_WITHIN_SECONDS
        return self._settings.index_batch_records, WITHIN_SECONDS

    async def _handle(self, app: Any, batch: list[Any]) -> bool:
        """Whether the effects are durable. False: the partition was lost meanwhile, or the collection."""
        generation = batch[-1].message.generation_id
        backoff = Backoff(first=FIRST_WAIT, most=LONGEST_WAIT)
        read = read_batch(batch)
        began = self._clock.now_ms()

        def wanted() -> bool:
            return not self._stopping and still_owner(app, generation)

        while wanted() and not self.gone:
            self._began = time.monotonic()
            try:
                loop = asyncio.get_running_loop()
                letters = await loop.run_in_executor(self._thread, self._in_turn, wanted, read, began)
                if letters:
                    await self._park(letters)
                self._count(read, len(letters))
                self.last_error = None
            except (TransientError, ConfigurationError) as error:
                passing = await self._to_wait_for(error)
                self._began = None
                if passing is None or not wanted():
                    return False
                self.last_error = str(passing)
                RETRIES.labels("index").inc()
                log.warning("waiting to index", document=self._indexer.document, why=str(passing))
                await backoff.wait(passing.retry_after)
                continue
            return True
        return False

    async def _to_wait_for(self, error: TransientError | ConfigurationError) -> TransientError | None:
        """What may pass; None where the operator, by another worker, has dropped the generation.

        Raises what must end the process: a bad set-up of what answers. In the background it is waited for
        as well, until somebody mends or drops it: what answers must not suffer from it.
        """
        if isinstance(error, TransientError):
            return error
        deadline = time.monotonic() + DROPPED_SECONDS
        while not self._indexer.dropped():
            if self._slow:
                return TransientError(str(error))
            if time.monotonic() > deadline or self._stopping:
                raise error
            await asyncio.sleep(FIRST_WAIT / 4)
        self.gone, self.last_error = True, None
        log.info("a dropped generation is let go", document=self._indexer.document, why=str(error))
        return None

    def _in_turn(self, wanted: Callable[[], bool], read: Batch, began: int) -> list[DeadLetter]:
        # Entered here: a page of a sweep may stand before it.
        with self._indexer.turns.batch(wanted), self.sweeps.batch(read.next_offset):
            return self._apply(read, began)

    def _apply(self, read: Batch, began: int) -> list[DeadLetter]:
        """Blocking, in the agent's thread. Safe to repeat."""
        indexer, pipeline = self._indexer, self._indexer.pipeline
        self.sweeps.see_first(indexer.collection)
        self._coverage.begin(read, indexer.collection)
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
        self._bury(read)
        self._coverage.cover(read, indexer.collection)
        pipeline.flush()
        self.done.reused += applied.reused
        self._failpoint("after_flush")
        return letters

    def _count(self, read: Batch, letters: int) -> None:
        """Once for each batch, however often it was tried."""
        self.done.rows += len(read.rows)
        self._brake.count(letters, len(read.rows) + len(read.letters))

    def _judge(self, letters: Sequence[DeadLetter], *, of: int) -> None:
        """Before anything of the batch is covered. Raises what the brake does."""
        why = letters[-1].error if letters else None
        self._brake.judge(len(letters), of, f"document {self._indexer.document}", why)

    def _change(self, row: StateRow, partition: int) -> Change:
        dead_below = self._dead(partition)
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
            truncated=True,
        )

    def _dead(self, partition: int) -> int:
        """Rows below it are dead: what was truncated before this process began counts too."""
        known = self._rows.table.dead_below(partition) if self._rows is not None else 0
        return max(known, self._dead_below.get(partition, 0))

    def _bury(self, read: Batch) -> None:
        """A tombstone is the last word of its row: what is left of the document goes, and then the fence.

        Where this generation was behind, the grave itself may have been compacted away before.
        """
        indexer = self._indexer
        below: dict[UUID, tuple[Removed, int]] = {}
        for partition, removed in sorted(read.removed, key=lambda one: one[1].version):
            dead = max(removed.version, self._dead(partition))
            below[manifest_id(indexer.document, removed.key.canonical)] = removed, dead
        stored = indexer.collection.manifests(list(below)) if below else {}
        left = [
            Removal(one.document, one.key, one.canonical, removed.version, one.tenant, "", 0)
            for one in stored.values()
            if not one.deleted and one.version <= (removed := below[one.id][0]).version
        ]
        if left:
            indexer.pipeline.apply(left)
        for one in stored:
            indexer.collection.erase_manifests([one], below[one][1] + 1)

    def _observe(self, read: Batch, began: int) -> None:
        """Of what answers alone: a build replays changes of long ago."""
        if self._slow:
            return
        now = self._clock.now_ms()
        for row, _ in read.rows.values():
            if row.streamed is None or not row.committed_at:
                continue
            STAGE.labels("queue").observe(max(0, began - row.resolved_at) / 1000)
            STAGE.labels("index").observe(max(0, now - began) / 1000)
            COMMIT_TO_SEARCHABLE.labels(self._indexer.document).observe(max(0, now - row.committed_at) / 1000)
