"""As of which position an answer is true, and how long the oldest missing change has been waiting.

Each second `retrieve/looking.py` reads what a source has committed; what view and index have covered of
it is read here. `retrieve/watermarks.py` decides what that proves.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from core.clock import Clock, SystemClock
from core.errors import ConfigurationError, ContractError, TransientError
from core.keys import TableId
from core.metrics import INDEX_LAG, STATE_LAG
from core.positions import describe_line, parse_position, reaches, same_line
from core.settings import Source
from core.telemetry import logger
from core.topics import raw_topic
from core.version import epoch_of
from retrieve.live import LiveIndex, Marks
from retrieve.looking import CommittedPositions, Looker, RawEnds, SourceLine
from retrieve.model import AsOf, Freshness
from retrieve.recipe import Recipes
from retrieve.state_view import StateView
from retrieve.watermarks import NOTHING, Coverage, Mark, Moment, both, least

log = logger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two looks at a source, and between two reports of its lag."""

LOOK_AGAIN_SECONDS: Final = 0.1
"""Between two looks that a waiting request asks for."""

WAIT_STEP_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Captured:
    """What view and index had covered, read before the search whose answer it describes."""

    view: Coverage
    index: Coverage

    @property
    def both(self) -> Coverage:
        return both(self.view, self.index)


class FreshnessTracker:
    """Looks at every source each second, and on demand; lives in one event loop.

    `recipes` tells each document's tables and each collection's. `epoch_of(raw_topic)` is the epoch that the
    worker has recorded; it raises TransientError while none is, or while the topic is another one
    than the recorded. Without `positions` answers carry lags but no position. `on_error` is
    called once if the looking ends by a bug of ours.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        recipes: Recipes,
        view: StateView,
        live: LiveIndex,
        *,
        positions: CommittedPositions | None,
        raw_ends: RawEnds,
        epoch_of: Callable[[str], int],
        on_error: Callable[[BaseException], None],
        clock: Clock | None = None,
    ) -> None:
        self._lines = {
            name: SourceLine(
                {TableId(name, table): raw_topic(source.prefix, table) for table in source.tables}
            )
            for name, source in sources.items()
        }
        self._recipes, self._view, self._live = recipes, view, live
        self._on_error = on_error
        self._clock = clock or SystemClock()
        self._looker = Looker(
            positions,
            raw_ends,
            epoch_of=epoch_of,
            see=lambda source: self.view_coverage([source]),
            clock=self._clock,
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="freshness")

    async def stop(self) -> None:
        """Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def sources_of(self, documents: Iterable[str], views: Iterable[str]) -> list[str]:
        """The sources behind these documents and state views, in order of configuration.

        All that a document's running generations are made of: which one answers is known only later.
        """
        tables = [table for name in documents for table in self._recipes.tables(name)]
        tables += [TableId.parse(self._view.view(name).settings.table) for name in views]
        wanted = {table.source for table in tables}
        return [name for name in self._lines if name in wanted]

    def minimum(self, source: str, position: str) -> int:
        """A position that a caller asks for.

        ContractError for an unknown source, another spelling, or a position of another line than this
        source's: those do not compare, and waiting would end nowhere.
        """
        if source not in self._lines:
            raise ContractError(
                f"min_position: no source {source!r}: write one of {', '.join(sorted(self._lines))}"
            )
        wanted, known = parse_position(position), self._lines[source].newest
        if known >= 0 and not same_line(wanted, known):
            raise ContractError(
                f"min_position: {position[:60]!r} is {describe_line(wanted)}, and what {source} commits is"
                f" {describe_line(known)}: they do not compare"
            )
        return wanted

    def view_coverage(self, sources: Iterable[str]) -> Coverage:
        """What the state view has covered of every table of these sources, now."""
        now = self._clock.now_ms()
        covered: dict[TableId, Mark] = {}
        for source in sources:
            line = self._lines[source]
            for table in line.topics:
                marks = self._standing(
                    table,
                    (
                        Mark(p.version, p.committed_at) if p is not None else NOTHING
                        for p in self._view.progress(table).values()
                    ),
                )
                covered[table] = least(marks)
                line.watermarks.see(table, max(marks, default=NOTHING), now)
        return covered

    def index_coverage(self, marks: Iterable[tuple[TableId, Marks]]) -> Coverage:
        """What collections have covered, by the table of each and what was read of it."""
        covered: dict[TableId, list[Mark]] = {}
        for table, found in marks:
            topic = self._view.topic(table)
            each = (found.get((topic, number)) for number in self._view.progress(table))
            marked = (Mark(one.version, one.committed_at) if one is not None else NOTHING for one in each)
            covered.setdefault(table, []).append(least(self._standing(table, marked)))
        return {table: least(found) for table, found in covered.items()}

    def _standing(self, table: TableId, marks: Iterable[Mark]) -> list[Mark]:
        """The same, and nothing for each of an epoch that is over: its rows went with the new one's truncate.

        A mark is left as it was until the first batch of the new epoch is written.
        """
        begun = self._view.epoch(table)
        return [mark if epoch_of(max(0, mark.version)) >= begun else NOTHING for mark in marks]

    async def capture(self, sources: Collection[str], documents: Collection[str]) -> Captured:
        """What is covered now: nothing of a document that has no live index or cannot be asked."""
        view = self.view_coverage(sources)
        return Captured(view, self.index_coverage(await self._live.call(self._marks, documents)))

    def freshness(
        self,
        sources: Collection[str],
        captured: Captured,
        *,
        stale_hits: int = 0,
        minimum: Mapping[str, int] | None = None,
        since: Moment | None = None,
    ) -> Freshness:
        """What `captured` proves of rows that have been read. `minimum` and `since`: as `wait` was asked."""
        # A resync may have emptied the view between the two.
        view = {table: self._standing(table, [mark])[0] for table, mark in captured.view.items()}
        captured = Captured(view, captured.index)
        now, joint = self._clock.now_ms(), captured.both
        return Freshness(
            as_of={source: self._as_of(source, joint) for source in sources},
            index_lag_ms=self._longest(sources, captured.index, now),
            state_lag_ms=self._longest(sources, captured.view, now),
            stale_hits=stale_hits,
            reached_min_position=self._reached(joint, minimum) if minimum else None,
            reached_max_staleness=None if since is None else self._recent(sources, joint, since),
            source_status={source: self._lines[source].status for source in sources},
        )

    async def now(self, documents: Collection[str] | None = None) -> Freshness:
        """Of every source and every document, or of these documents and their sources."""
        names = list(self._recipes.documents() if documents is None else documents)
        sources = list(self._lines) if documents is None else self.sources_of(names, ())
        return self.freshness(sources, await self.capture(sources, names))

    async def wait(
        self,
        sources: Collection[str],
        documents: Collection[str],
        minimum: Mapping[str, int],
        since: Moment | None,
        deadline: float,
    ) -> None:
        """Until these positions are covered, and what stood in the raw topics at `since`, or `deadline`.

        Says nothing of the result: `freshness` judges what the answer itself is made from.
        """
        looked: Collection[str] = list(sources) if since is not None else [*minimum]
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                    joint = (await self.capture(sources, documents)).both
            except TimeoutError:
                return
            late = [s for s in minimum if not self._reached(joint, {s: minimum[s]})]
            late += [s for s in looked if since is not None and not self._recent([s], joint, since)]
            left = deadline - self._clock.monotonic()
            if not late or left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await asyncio.gather(*(self._look(s, LOOK_AGAIN_SECONDS) for s in dict.fromkeys(late)))
                    await asyncio.sleep(WAIT_STEP_SECONDS)
            except TimeoutError:
                continue

    async def _run(self) -> None:
        try:
            while True:
                begun = time.monotonic()
                await asyncio.gather(*(self._look(source, 0.0) for source in self._lines))
                await self._report()
                await asyncio.sleep(max(0.0, LOOK_SECONDS - (time.monotonic() - begun)))
        except Exception as error:
            log.exception("freshness is no longer watched")
            self._on_error(error)

    async def _report(self) -> None:
        for source, line in self._lines.items():
            names = [name for name in self._recipes.documents() if source in self.sources_of([name], ())]
            captured = await self.capture([source], names)
            now = self._clock.now_ms()
            if line.looked:  # until then there is no sample: 0 would be a claim
                INDEX_LAG.labels(source).set(self._lag(source, captured.index, now) / 1000)
                STATE_LAG.labels(source).set(self._lag(source, captured.view, now) / 1000)
            line.settle(captured.both, self._clock.monotonic())

    async def _look(self, source: str, apart: float) -> None:
        await self._looker.look(source, self._lines[source], apart)

    def _marks(self, documents: Collection[str]) -> list[tuple[TableId, Marks]]:
        found: list[tuple[TableId, Marks]] = []
        for name in documents:
            try:
                live = self._live.resolve(name)
                found.append((self._recipes.recipe(live.name).table, self._live.marks(live)))
            except (TransientError, ConfigurationError) as error:
                log.debug("what the index has covered cannot be read", document=name, error=str(error))
                found.append((self._recipes.tables(name)[0], {}))
        return found

    def _as_of(self, source: str, joint: Coverage) -> AsOf:
        line = self._lines[source]
        mark = line.watermarks.reached(joint)
        newest = max((joint[table].committed_at for table in line.topics if table in joint), default=0)
        return AsOf(mark.position if mark is not None else None, newest or None)

    def _longest(self, sources: Collection[str], coverage: Coverage, now: int) -> int | None:
        if not all(self._lines[source].looked for source in sources):
            return None
        return max((self._lag(source, coverage, now) for source in sources), default=0)

    def _lag(self, source: str, coverage: Coverage, now: int) -> int:
        since = self._lines[source].watermarks.missing_since(coverage)
        return 0 if since is None else max(1, now - since)

    def _reached(self, joint: Coverage, minimum: Mapping[str, int]) -> bool:
        found = {source: self._lines[source].watermarks.reached(joint) for source in minimum}
        return all(mark is not None and reaches(mark.order, minimum[s]) for s, mark in found.items())

    def _recent(self, sources: Iterable[str], joint: Coverage, since: Moment) -> bool:
        found = [self._lines[source].watermarks.reached(joint) for source in sources]
        return all(m is not None and m.checked is not None and m.checked.is_since(since) for m in found)
