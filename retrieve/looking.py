"""The look at a source: the connector's committed position, then the ends of its raw topics.

When Kafka Connect or the broker cannot be asked, positions stand still and the line's `status` says
so; serving goes on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from core.clock import Clock
from core.errors import ContractError, TransientError
from core.keys import TableId
from core.positions import parse_position
from core.telemetry import logger
from retrieve.model import SourceStatus
from retrieve.watermarks import Coverage, Moment, Watermarks

log = logger(__name__)

LONGEST_REQUEST_SECONDS: Final = 120
"""What was covered so long ago no request in flight was begun with: two time-outs of the slowest encoder."""

ASK_SECONDS: Final = 5.0
"""Longest wait for Connect, and for the broker, in one look."""


class CommittedPositions(Protocol):
    """Positions up to which everything committed at the source stands in the raw topics."""

    async def committed(self, source: str) -> str | None:
        """The connector's committed offset as core.positions spells it.

        None if it has none yet (its first snapshot runs, or no connector is configured).
        TransientError if it cannot be read now, or the connector does not run.
        """
        ...


class RawEnds(Protocol):
    """Ends of raw topics."""

    async def ends(self, topics: Sequence[str]) -> Mapping[str, int]:
        """The offset after the last record of each topic. TransientError if it cannot be read now."""
        ...


@dataclass(slots=True)
class SourceLine:
    """What is known of one source, from look to look."""

    topics: Mapping[TableId, str]
    watermarks: Watermarks = field(default_factory=Watermarks)
    newest: int = -1
    """The last position that was taken; it says of which line this source's are."""
    looked: bool = False
    """What stands in the raw topics has been read at least once."""
    status: SourceStatus = "unknown"
    began: float = float("-inf")
    """When the newest look began, as the clock's `monotonic` counts."""
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    covered: deque[tuple[float, Coverage]] = field(default_factory=deque)
    """What each report found covered, and when, back to what a request in flight may have begun with."""

    def settle(self, coverage: Coverage, now: float) -> None:
        """Forget the watermarks that no request asks for any more; `now` as `monotonic` counts."""
        self.covered.append((now, coverage))
        settled: Coverage | None = None
        while self.covered[0][0] <= now - LONGEST_REQUEST_SECONDS:
            settled = self.covered.popleft()[1]
        if settled is not None:
            self.watermarks.settle(settled)


class Looker:
    """Looks at one source at a time, for its line.

    `see(source)` notes what the state view holds by then. `epoch_of` and `positions` as FreshnessTracker.
    """

    def __init__(
        self,
        positions: CommittedPositions | None,
        raw_ends: RawEnds,
        *,
        epoch_of: Callable[[str], int],
        see: Callable[[str], object],
        clock: Clock,
    ) -> None:
        self._positions, self._raw_ends, self._epoch_of = positions, raw_ends, epoch_of
        self._see, self._clock = see, clock

    async def look(self, source: str, line: SourceLine, apart: float) -> None:
        """One look, unless one began less than `apart` seconds ago or while this waited for its turn."""
        asked = self._clock.monotonic()
        async with line.looking:
            if line.began > asked - apart:
                return
            before, line.began = line.began, self._clock.monotonic()
            try:
                await self._ask(source, line)
            except asyncio.CancelledError:  # a request's time is over: nobody has looked
                line.began = before
                raise

    async def _ask(self, source: str, line: SourceLine) -> None:
        self._see(source)
        look = line.watermarks.begin(Moment(self._clock.now_ms(), self._clock.monotonic()))
        status, position = await self._committed(source)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                found = await self._raw_ends.ends(list(line.topics.values()))
            epochs = {table: self._epoch_of(topic) for table, topic in line.topics.items()}
        except (TransientError, TimeoutError) as error:
            _say(source, line, "unreachable", str(error) or "the broker did not answer in time")
            return
        ends = {table: found[topic] for table, topic in line.topics.items()}
        refused = line.watermarks.look(look, position, ends, epochs)
        if refused is not None:
            _say(source, line, "unknown", refused)
        else:
            line.looked = True
            line.newest = line.newest if position is None else position[1]
            _say(source, line, *status)

    async def _committed(self, source: str) -> tuple[tuple[SourceStatus, str], tuple[str, int] | None]:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                text = await self._positions.committed(source) if self._positions is not None else None
            if text is None:
                return ("unknown", "its connector has committed no position, or none is configured"), None
            return ("ok", ""), (text, parse_position(text))
        except ContractError as error:
            return ("unknown", str(error)), None
        except (TransientError, TimeoutError) as error:
            return ("unreachable", str(error) or "Kafka Connect did not answer in time"), None


def _say(source: str, line: SourceLine, status: SourceStatus, why: str) -> None:
    if line.status != status:
        (log.info if status == "ok" else log.warning)(
            "source position", source=source, status=status, why=why
        )
    line.status = status
