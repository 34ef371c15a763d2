"""Positions and the join under random interleavings: nothing is claimed that is not so."""

import random
import uuid
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ContractError
from core.keys import RowKey, TableId
from core.state import StateRow
from core.version import version
from embed.model import Change, Document, Manifest, Removal, Scope, manifest_id
from retrieve.fusion import K, fuse
from retrieve.join import Verdict, current, listed, shown
from retrieve.watermarks import Coverage, Look, Mark, Moment, Watermarks, both, least

TABLES = (TableId("s", "a"), TableId("s", "b"))
PARTS = 2


@dataclass
class Log:
    """One raw topic, and how far each partition of view and index has followed it."""

    epoch: int = 0
    recorded: int = 0
    """The epoch that the worker has written down: it may lag behind a topic made anew."""
    events: list[int] = field(default_factory=list)
    """Position of each event of the present epoch."""
    past: list[tuple[int, int]] = field(default_factory=list)
    """Version and position of events of earlier epochs."""
    length: int = 0
    """Of the topic that this one replaced."""
    resolved: int = -1
    view: list[int] = field(default_factory=lambda: [-1] * PARTS)
    index: list[int] = field(default_factory=lambda: [-1] * PARTS)

    def newest(self) -> int:
        return version(self.epoch, len(self.events) - 1) if self.events else -1


class Simulation:
    """A source, its raw topics, what followed them, and looks in three steps between which all moves."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - a seed is the point
        self.logs = {table: Log() for table in TABLES}
        self.marks = Watermarks(kept=self.chance.choice([2, 4, 512]))
        self.source = 0
        self.undelivered: list[tuple[TableId, int]] = []
        self.acknowledged: int | None = None
        self.now = 1000
        self.begun: tuple[Look, int | None] | None = None
        self.ends: dict[TableId, int] | None = None
        self.captured: list[tuple[Coverage, Coverage]] = []
        self.claimed = self.anew = 0

    def step(self) -> None:
        moves = (
            (20, self.commit), (20, self.deliver), (14, self.acknowledge), (20, self.resolve),
            (50, self.follow), (40, self.make_anew), (25, self.look), (10, self.see), (20, self.capture),
            (4, self.settle),
        )  # fmt: skip
        [move] = self.chance.choices([move for _, move in moves], [weight for weight, _ in moves])
        move()
        self.check()

    def commit(self) -> None:
        self.source += 1
        self.undelivered.append((self.chance.choice(TABLES), self.source))

    def deliver(self) -> None:
        count = self.chance.randint(1, 4)
        for table, position in self.undelivered[:count]:
            self.logs[table].events.append(position)
        del self.undelivered[:count]

    def acknowledge(self) -> None:
        self.acknowledged = self.undelivered[0][1] - 1 if self.undelivered else self.source

    def resolve(self) -> None:
        log = self.logs[self.chance.choice(TABLES)]
        if log.recorded != log.epoch and self.chance.random() < 0.8:
            return  # the worker has not met the new topic yet
        log.recorded = log.epoch
        if log.events:
            begin = max(log.resolved, version(log.epoch, 0) - 1)
            log.resolved = min(begin + self.chance.randint(1, 5), log.newest())

    def follow(self) -> None:
        log = self.logs[self.chance.choice(TABLES)]
        self.chance.choice([log.view, log.index])[self.chance.randrange(PARTS)] = log.resolved

    def make_anew(self) -> None:
        """A raw topic is deleted and made again, in a new epoch, once all of it has been read.

        One that is deleted unread has lost changes, which no position can tell: the worker stops for
        it. Nor can one that has grown to the very length of the old: `epoch_of` must refuse it.
        """
        log = self.logs[self.chance.choice(TABLES)]
        whole = log.recorded == log.epoch and max(log.view) == log.newest()
        if self.begun is None and log.events and whole:
            log.past += [(version(log.epoch, at), position) for at, position in enumerate(log.events)]
            log.length, log.events, log.epoch = len(log.events), [], log.epoch + 1
            self.anew += 1

    def look(self) -> None:
        if self.begun is None:
            self.see()
            position = None if self.chance.random() < 0.2 else self.acknowledged
            self.begun = (self.marks.begin(Moment(self.now, self.now)), position)
        elif any(log.recorded != log.epoch and len(log.events) == log.length for log in self.logs.values()):
            self.begun = self.ends = None
        elif self.ends is None:
            self.ends = {table: len(log.events) for table, log in self.logs.items()}
        else:
            begun, position = self.begun
            spelled = None if position is None else (str(position), position)
            epochs = {table: log.recorded for table, log in self.logs.items()}
            self.marks.look(begun, spelled, self.ends, epochs)
            self.begun = self.ends = None

    def see(self) -> None:
        self.now += 1
        for table, log in self.logs.items():
            self.marks.see(table, Mark(max(log.view), 0), self.now)

    def capture(self) -> None:
        self.see()
        view = {table: least(Mark(at, 0) for at in log.view) for table, log in self.logs.items()}
        index = {TABLES[0]: least(Mark(at, 0) for at in self.logs[TABLES[0]].index)}  # one has a document
        self.captured = [*self.captured[-2:], (view, index)]

    def settle(self) -> None:
        if self.captured:
            self.marks.settle(both(*self.captured[0]))

    def check(self) -> None:
        for view, index in self.captured:
            self.check_claim(both(view, index))
            for coverage in (view, index):
                missing = any(
                    coverage[table].version < need
                    for table, need in self.marks._highest.items()
                    if table in coverage
                )
                since = self.marks.missing_since(coverage)
                assert (since is not None) == missing  # a lag is never 0 while something is known missing
                assert since is None or since <= self.now

    def check_claim(self, joint: Coverage) -> None:
        mark = self.marks.reached(joint)
        if mark is None or mark.position is None:
            return
        self.claimed += 1
        for table, log in self.logs.items():
            told: dict[int, int] = {}
            for at, position in [
                *log.past, *((version(log.epoch, at), position) for at, position in enumerate(log.events))
            ]:  # fmt: skip
                told.setdefault(position, at)
            assert all(at <= joint[table].version for position, at in told.items() if position <= mark.order)
            waiting = {position for t, position in self.undelivered if t == table and position not in told}
            assert not waiting or min(waiting) > mark.order


def test_no_coverage_proves_a_position_whose_changes_it_lacks() -> None:
    claimed = anew = 0
    for seed in range(60):
        simulation = Simulation(seed)
        for _ in range(300):
            simulation.step()
        claimed, anew = claimed + simulation.claimed, anew + simulation.anew
    assert claimed > 10_000
    assert anew > 20


# The join.

KEY = RowKey.of({"id": 1})
versions = st.integers(0, 4)
tenants = st.sampled_from(["a", "b", None])
groups = st.sampled_from([None, (), ("g",), ("g", "h"), ("h",)])
scopes = st.builds(Scope, tenants, st.sampled_from([frozenset[str](), frozenset({"g"}), frozenset({"x"})]))
chunks = st.lists(st.integers(0, 3).map(lambda n: uuid.UUID(int=n)), max_size=4, unique=True).map(tuple)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    return Manifest(
        manifest_id("d", KEY.canonical), "d", "1", KEY.canonical, draw(versions), draw(tenants), draw(groups),
        deleted=draw(st.booleans()), chunks=draw(chunks), title="", url=None, position="", committed_at=0,
        fingerprint="f",
    )  # fmt: skip


rows = st.none() | st.builds(
    StateRow,
    st.just(KEY),
    versions,
    st.fixed_dictionaries({"tenant": tenants, "kind": st.sampled_from(["doc", "gone", "broken"])}),
    deleted=st.booleans(),
    tainted=st.booleans(),
)


def render(row: StateRow) -> Change:
    if row.columns["kind"] == "broken":
        raise ContractError("broken")
    tenant = row.columns["tenant"]
    spelled = None if tenant is None else str(tenant)
    if row.deleted or row.columns["kind"] == "gone":
        return Removal("d", "1", KEY.canonical, row.version, spelled, "", 0)
    return Document("d", "1", KEY.canonical, row.version, "", "", None, spelled, None, {}, "", 0)


@settings(max_examples=400, deadline=None)
@given(
    manifest=manifests(), row=rows, scope=scopes, progress=versions, waited=st.booleans(), written=versions
)
def test_whatever_counts_is_listed_live_and_the_callers_own(
    *, manifest: Manifest, row: StateRow | None, scope: Scope, progress: int, waited: bool, written: int
) -> None:
    chunk = uuid.UUID(int=1)
    by_index = listed(chunk, written, manifest, scope)
    joined = current(
        manifest, row, scope, render, caught_up=lambda version: progress >= version, waited=waited
    )
    if by_index.counts:
        assert chunk in manifest.chunks
        assert not manifest.deleted
        assert manifest.tenant == scope.tenant
        assert shown(manifest, scope).counts
    if joined.verdict.counts:
        assert row is not None
        assert joined.row is row
        assert not row.deleted
        if row.version > manifest.version:
            assert joined.verdict is Verdict.STALE
        if row.version != manifest.version:
            assert row.columns["tenant"] == scope.tenant
            assert row.columns["kind"] == "doc"
    if waited and joined.verdict is Verdict.BEHIND:
        assert row is None


@given(st.lists(st.lists(st.integers(0, 9), unique=True), max_size=4))
def test_fusion_keeps_every_item_once_best_first(rankings: list[list[int]]) -> None:
    fused = fuse(rankings)
    assert {item for item, _ in fused} == {item for ranking in rankings for item in ranking}
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)
    for _, score in fused:
        assert len(rankings) / (K + 1) >= score >= 1 / (K + 10)
