"""Ready means: what stood in the raw topics at start can be found and joined, and questions are answered.

While the connector's first snapshot runs the target moves with it, and the answer is *loading*.
Once reached it stays: a connector that stops later turns freshness, not readiness.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from core.errors import TransientError
from core.keys import TableId
from core.state import Json
from core.telemetry import logger
from core.version import OFFSET_BITS, version
from retrieve.freshness import FreshnessTracker
from retrieve.looking import CommittedPositions, RawEnds
from retrieve.watermarks import NOTHING, Coverage
from serve.ports import Readiness

log = logger(__name__)

STEP_SECONDS: Final = 0.1
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1


class ReadinessWatch:
    """Follows what is covered until everything of the start is; latches then."""

    def __init__(
        self,
        *,
        topics: Mapping[TableId, str],
        epochs: Mapping[str, int],
        documents: Sequence[str],
        freshness: FreshnessTracker,
        raw_ends: RawEnds,
        positions: CommittedPositions | None,
        snapshotted: Sequence[str],
        answers: Callable[[], Awaitable[None]],
    ) -> None:
        """`snapshotted`: sources whose connector tells by its offset that the first snapshot has ended.

        `answers()` raises TransientError while questions are refused.
        """
        self._topics, self._epochs, self._documents = topics, epochs, documents
        self._freshness, self._raw_ends, self._positions = freshness, raw_ends, positions
        self._answers = answers
        self._waiting_for = set(snapshotted)
        self._seen_running: set[str] = set()
        self._now = Readiness(False, "loading", {}, "reading what the topics hold")
        self._task: asyncio.Task[None] | None = None

    async def ready(self) -> Readiness:
        return self._now

    async def start(self) -> None:
        self._task = asyncio.create_task(self._follow(), name="readiness")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        ends: Mapping[str, int] | None = None
        while not self._now.ready:
            try:
                loading = await self._snapshotting()
                if ends is None or loading != self._waiting_for or loading:
                    ends = await self._raw_ends.ends(list(self._topics.values()))
                self._waiting_for = loading
                captured = await self._freshness.capture(
                    sorted({table.source for table in self._topics}), self._documents
                )
                found = judge(self._targets(ends), captured.both, snapshotting=sorted(loading))
                if found.ready:
                    await self._answers()
                self._now = found
            except TransientError as error:
                self._now = Readiness(False, "loading", self._now.progress, str(error))
            await asyncio.sleep(STEP_SECONDS)
        log.info("ready", records=self._now.progress["total"])

    async def _snapshotting(self) -> set[str]:
        """Of the sources that we wait for: those whose connector has not yet ended its first snapshot."""
        found = set()
        for source in self._waiting_for:
            try:
                if self._positions is not None and await self._positions.committed(source) is None:
                    found.add(source)
                    self._seen_running.add(source)
            except TransientError:
                # Connect is away. Its snapshot goes on where one was seen; of any other what stands in
                # the topics is all there is to wait for.
                if source in self._seen_running:
                    found.add(source)
        return found

    def _targets(self, ends: Mapping[str, int]) -> dict[TableId, tuple[int, int]]:
        return {table: (self._epochs.get(topic, 0), ends[topic]) for table, topic in self._topics.items()}


def judge(
    targets: Mapping[TableId, tuple[int, int]], covered: Coverage, *, snapshotting: Sequence[str]
) -> Readiness:
    """Against (epoch, end offset) of each table's raw topic. Pure."""
    tables: dict[str, Json] = {}
    read = total = 0
    done = True
    for table, (epoch, end) in targets.items():
        mark = covered.get(table, NOTHING).version
        reached = end == 0 or mark >= version(epoch, end - 1)
        here = end if reached else (mark & OFFSET_MASK) + 1 if mark >> OFFSET_BITS == epoch else 0
        tables[str(table)] = {"read": min(here, end), "total": end}
        read, total, done = read + min(here, end), total + end, done and reached
    progress: dict[str, Json] = {"read": read, "total": total, "tables": tables}
    if snapshotting:
        names = ", ".join(snapshotting)
        return Readiness(False, "loading", progress, f"the first snapshot of {names} is still being read")
    if not done:
        return Readiness(False, "loading", progress, f"{read} of {total} records can be found")
    return Readiness(True, "ready", progress, "everything of the start can be found")
