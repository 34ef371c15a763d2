"""How far a generation has come, out of the log's own numbers and what workers report. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.settings import OpenAIEncoder
from ingest.generations import Generation, Pace, Registry, Report, Role
from ingest.topics_admin import Bounds

CAUGHT_UP_PART: Final = 20
"""One record in so many, behind, counts as none if they are few or young: while writes go on there are
always some."""

CAUGHT_UP_RECORDS: Final = 100
CAUGHT_UP_SECONDS: Final = 5.0
"""So few, or so young. What is seen of a worker lags by a second, which is many records of a busy table."""

STALE_MS: Final = 90_000
"""Workers report at least every 30 s: one that has missed two is away."""

REPORT_SECONDS: Final = 2.0
"""Between two reports of a worker, while a document has several generations and something changes."""

WINDOW_SECONDS: Final = 15.0
"""A rate is that of so long: short enough to follow a throttle, long enough for whole batches."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Offsets of one state partition."""

    number: int
    start: int
    covered: int
    end: int
    settled: int
    """The end as it was CAUGHT_UP_SECONDS ago."""

    @property
    def lag(self) -> int:
        return self.end - self.covered


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """One worker process that has reported."""

    worker: str
    age_ms: int
    stale: bool
    waiting: str | None
    partitions: int
    """Of the state topic, that it works on."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one generation. Counts are sums over all workers that ever worked on it."""

    document: str
    number: int
    role: Role
    answers: bool
    """The alias points at it, as a worker has recorded."""
    started_at: int
    dimensions: int
    fingerprint: str
    pace: Pace
    partitions: tuple[Partition, ...]
    embedded: int
    reused: int
    tokens: int
    cost: float | None
    """Of the embedded tokens, for an endpoint whose price is configured; None where none were counted."""
    documents: int | None
    """In the collection, as last reported."""
    chunks: int | None
    bytes: int | None
    workers: tuple[WorkerSeen, ...]
    reported_at: int = 0
    """Of the newest report (Unix ms): no count is newer."""

    @property
    def covered(self) -> int:
        return sum(one.covered - one.start for one in self.partitions)

    @property
    def total(self) -> int:
        return sum(one.end - one.start for one in self.partitions)

    @property
    def lag(self) -> int:
        """Records of the state topic that are not covered yet."""
        return self.total - self.covered

    @property
    def caught_up(self) -> bool:
        few = self.lag <= CAUGHT_UP_RECORDS
        young = all(one.covered >= one.settled for one in self.partitions)
        return (few or young) and self.lag <= self.total // CAUGHT_UP_PART

    @property
    def level(self) -> bool:
        """Whether it may answer at once: caught up, and not stopped at a record that it cannot apply."""
        return self.caught_up and (self.lag == 0 or self.stopped is None)

    @property
    def stopped(self) -> str | None:
        """What a worker waits for that has partitions of it, and so nobody else goes on with them."""
        at_work = [one for one in self.workers if one.partitions and not one.stale]
        return next((one.waiting for one in at_work if one.waiting), None)

    @property
    def waiting(self) -> str | None:
        """What a worker that reports now waits for."""
        return next((one.waiting for one in self.workers if one.waiting and not one.stale), None)


def progress(
    registry: Registry,
    generation: Generation,
    bounds: Mapping[int, Bounds],
    committed: Mapping[int, int],
    young: Mapping[int, int],
    now: int,
) -> Progress:
    """Of one generation; `now` in Unix ms.

    By state partition: `bounds`, `committed`, and in `young` the first offset younger than
    CAUGHT_UP_SECONDS, where there is one. What a report says is covered is durable, and newer than the
    commit that follows it.
    """
    reports = registry.reports_of(generation)
    newest = max(reports, key=lambda report: report.at, default=None)
    partitions = []
    for number, bound in sorted(bounds.items()):
        known = [committed.get(number, bound.start), *(r.offsets.get(number, 0) for r in reports)]
        covered = min(bound.end, max(bound.start, *known))
        settled = min(bound.end, young.get(number, bound.end))
        partitions.append(Partition(number, bound.start, covered, bound.end, settled))
    embedded, tokens = sum(report.embedded for report in reports), sum(report.tokens for report in reports)
    aliased = registry.aliased.get(generation.document)
    live = registry.live(generation.document)
    return Progress(
        document=generation.document,
        number=generation.number,
        role=registry.role(generation),
        answers=aliased.number == generation.number if aliased is not None else generation == live,
        started_at=generation.started_at,
        dimensions=generation.frozen.dimensions,
        fingerprint=generation.frozen.fingerprint,
        pace=generation.pace,
        partitions=tuple(partitions),
        embedded=embedded,
        reused=sum(report.reused for report in reports),
        tokens=tokens,
        # Older releases counted no tokens while a generation answered: that is no cost of nothing.
        cost=cost(generation, tokens) if tokens or not embedded else None,
        documents=None if newest is None else newest.documents,
        chunks=None if newest is None else newest.chunks,
        bytes=None if newest is None else newest.bytes,
        workers=tuple(_seen(report, now) for report in reports),
        reported_at=0 if newest is None else newest.at,
    )


def cost(generation: Generation, tokens: int) -> float | None:
    """In the currency of the configured price; None without one."""
    encoder = generation.frozen.encoder
    price = encoder.price_per_million_tokens if isinstance(encoder, OpenAIEncoder) else None
    return None if price is None else tokens * price / 1_000_000


@dataclass(frozen=True, slots=True)
class Speed:
    """`seconds_left` is None while nothing moves."""

    records_per_second: float
    chunks_per_second: float
    seconds_left: float | None


def speed(looks: Sequence[tuple[float, Progress]]) -> Speed:
    """Over the looks of the last WINDOW_SECONDS, each with its time in seconds, oldest first.

    By the reports' own times, which are further apart than looks: between two looks there is none, or one.
    """
    if not looks:
        return Speed(0.0, 0.0, None)
    at, last = looks[-1]
    within = [(t, one) for t, one in looks if at - t <= WINDOW_SECONDS]
    within = [(t, one) for t, one in within if one.reported_at] or within[-1:]
    first = within[0][1]
    known = next((t for t, one in within if one.reported_at == last.reported_at), at)
    silent = max(0.0, at - known - REPORT_SECONDS)
    passed = (last.reported_at - first.reported_at) / 1000 + silent
    if passed <= 0:
        return Speed(0.0, 0.0, 0.0 if last.caught_up else None)
    records = max(0.0, (last.covered - first.covered) / passed)
    made = last.embedded + last.reused - first.embedded - first.reused
    left = 0.0 if last.caught_up else last.lag / records if records > 0 else None
    return Speed(records, max(0.0, made / passed), left)


def _seen(report: Report, now: int) -> WorkerSeen:
    age = max(0, now - report.at)
    return WorkerSeen(report.worker, age, age > STALE_MS, report.waiting, len(report.offsets))
