"""Rows of one table become the index of one generation: apply, cover, flush, acknowledge."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from core.clock import Clock
from core.errors import PermanentError, TransientError
from core.metrics import COMMIT_TO_SEARCHABLE, RETRIES, STAGE
from core.retry import Backoff
from core.settings import Ingest
from core.state import Progress, Removed, StateRow, Truncate, decode_state
from core.telemetry import logger
from embed.index import Collection
from embed.model import Change, Covered, Removal, manifest_id
from embed.pipeline import Pipeline
from embed.render import Renderer
from ingest.agents.drainer import ack, batches, release, still_owner
from ingest.dead_letters import DeadLetter
from ingest.record import RawRecord

log = logger(__name__)

WITHIN_SECONDS: Final = 0.001
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


@dataclass(slots=True)
class _Batch:
    """The decoded records of one batch: newest row of each key, and the rest in order."""

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
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"index-{indexer.document}")
        self._progress: dict[int, Progress] = {}
        self._dead_below: dict[int, int] = {}
        self._swept = False
        self.busy_since: float | None = None
        self.last_error: str | None = None

    async def sweep(self, ends: Mapping[int, int]) -> None:
        """Once a start, when everything below `ends` is covered: drop what a crash before a drop has left.

        Not earlier: what was half written is written again first, and then the manifest knows it.
        """
        if self._swept:
            return
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._sweep, dict(ends))
        except TransientError as error:
            log.warning("waiting to sweep", document=self._indexer.document, why=str(error))
            return
        if found:
            log.info("dropped passages that a crash had left", document=self._indexer.document, chunks=found)

    def _sweep(self, ends: Mapping[int, int]) -> int:
        """Blocking, in the agent's thread, so never beside a batch of its own."""
        marks = {m.partition: m.offset for m in self._indexer.collection.covered()}
        if any(marks.get(partition, 0) < end for partition, end in ends.items()):
            return 0
        self._swept = True
        return self._indexer.pipeline.sweep_strays()

    async def run(self, app: Any, stream: Any) -> None:
        """The agent's body. Raises what must end the process."""
        async for batch in batches(app, stream, self._settings.index_batch_records, WITHIN_SECONDS):
            try:
                durable = await self._handle(app, batch)
            except BaseException:
                release(app, batch)  # else a stop would wait for it for ever
                raise
            if durable:
                self._failpoint("before_ack_index")
                ack(app, batch)
            else:
                release(app, batch)
            self.busy_since = None

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _handle(self, app: Any, batch: list[Any]) -> bool:
        """Whether the effects are durable. False: the partition was lost meanwhile."""
        generation = batch[-1].message.generation_id
        backoff = Backoff(first=FIRST_WAIT, most=LONGEST_WAIT)
        read = self._decode(batch)
        began = self._clock.now_ms()
        while still_owner(app, generation):
            self.busy_since = time.monotonic()
            try:
                loop = asyncio.get_running_loop()
                letters = await loop.run_in_executor(self._thread, self._apply, read, began)
                if letters:
                    await self._park(letters)
                self.last_error = None
            except TransientError as error:
                self.busy_since, self.last_error = None, str(error)
                RETRIES.labels("index").inc()
                log.warning("waiting to index", document=self._indexer.document, why=str(error))
                await backoff.wait(error.retry_after)
                continue
            return True
        return False

    def _decode(self, batch: list[Any]) -> _Batch:
        read = _Batch()
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

    def _apply(self, read: _Batch, began: int) -> list[DeadLetter]:
        """Blocking, in the agent's thread. Safe to repeat."""
        indexer, pipeline = self._indexer, self._indexer.pipeline
        letters = list(read.letters)
        for partition, truncate in read.truncates.items():
            self._dead_below[partition] = max(truncate.version, self._dead_below.get(partition, 0))
        changes: list[Change] = []
        sources: dict[bytes, RawRecord] = {}
        for canonical, (row, record) in read.rows.items():
            sources[canonical] = record
            try:
                changes.append(self._change(row, record.partition))
            except PermanentError as error:
                letters.append(DeadLetter(record, "index", error))
        applied = pipeline.apply(changes)
        letters += [DeadLetter(sources[c.canonical], "index", error) for c, error in applied.failed]
        for truncate in read.truncates.values():
            pipeline.truncate(truncate.version, truncate.position, truncate.committed_at)
        self._failpoint("after_apply")
        self._observe(read, began)
        for removed in read.removed:
            one = manifest_id(indexer.document, removed.key.canonical)
            indexer.collection.erase_manifests([one], removed.version + 1)
        indexer.collection.cover(self._covered(read))
        pipeline.flush()
        self._failpoint("after_flush")
        return letters

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
        self._progress |= read.progress
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
