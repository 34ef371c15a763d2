"""Positions and the join under every interleaving that hypothesis finds."""

import uuid
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.errors import ContractError
from core.keys import RowKey, TableId
from core.state import StateRow
from core.version import version
from embed.model import Change, Document, Manifest, Removal, Scope, manifest_id
from retrieve.fusion import K, fuse
from retrieve.join import Verdict, current, listed, shown
from retrieve.watermarks import NOTHING, Coverage, Mark, Watermarks, both, least

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
    resolved: int = -1
    view: list[int] = field(default_factory=lambda: [-1] * PARTS)
    index: list[int] = field(default_factory=lambda: [-1] * PARTS)

    def newest(self) -> int:
        return version(self.epoch, len(self.events) - 1) if self.events else -1


class Positions(RuleBasedStateMachine):
    """No coverage ever proves a position whose changes it does not contain, whatever happens when."""

    def __init__(self) -> None:
        super().__init__()
        self.logs = {table: Log() for table in TABLES}
        self.source = 0
        self.line = 0
        """Position at which the present line of positions begins."""
        self.undelivered: list[tuple[TableId, int]] = []
        self.acknowledged: int | None = None
        self.now = 1000
        self.looking: tuple[object, ...] | None = None
        self.ends: dict[TableId, int] | None = None
        self.captured: list[tuple[Coverage, Coverage, dict[TableId, int]]] = []

    @initialize(kept=st.sampled_from([2, 4, 512]))
    def begin(self, kept: int) -> None:
        self.marks = Watermarks(kept)

    @rule(table=st.sampled_from(TABLES), count=st.integers(1, 3))
    def commit(self, table: TableId, count: int) -> None:
        for _ in range(count):
            self.source += 1
            self.undelivered.append((table, self.source))

    @rule(count=st.integers(1, 4))
    def deliver(self, count: int) -> None:
        for table, position in self.undelivered[:count]:
            self.logs[table].events.append(position)
        del self.undelivered[:count]

    @rule()
    def acknowledge(self) -> None:
        self.acknowledged = self.undelivered[0][1] - 1 if self.undelivered else self.source

    @rule(table=st.sampled_from(TABLES), count=st.integers(1, 5))
    def resolve(self, table: TableId, count: int) -> None:
        log = self.logs[table]
        log.recorded = log.epoch
        first = version(log.epoch, 0)
        if log.events:
            log.resolved = min(max(log.resolved, first - 1) + count, log.newest())

    @rule(
        table=st.sampled_from(TABLES),
        part=st.integers(0, PARTS - 1),
        where=st.sampled_from(["view", "index"]),
    )
    def follow(self, table: TableId, part: int, where: str) -> None:
        log = self.logs[table]
        getattr(log, where)[part] = log.resolved

    @rule(table=st.sampled_from(TABLES))
    def make_anew(self, table: TableId) -> None:
        """The raw topic is deleted and made again; what was in it is delivered again in the new epoch."""
        log = self.logs[table]
        if self.looking is not None or not log.events or log.epoch > 3:
            return
        log.past += [(version(log.epoch, at), position) for at, position in enumerate(log.events)]
        self.undelivered[:0] = [(table, position) for position in log.events]
        self.undelivered.sort(key=lambda one: one[1])
        log.events, log.epoch = [], log.epoch + 1
        self.acknowledged = None

    @rule(away=st.booleans())
    def look_begins(self, away: bool) -> None:
        self.see()
        self.now += 1
        position = None if away else self.acknowledged
        self.looking = (self.marks.begin(self.now), position)
        self.ends = None

    @rule()
    def look_reads_ends(self) -> None:
        if self.looking is not None:
            self.ends = {table: len(log.events) for table, log in self.logs.items()}

    @rule()
    def look_ends(self) -> None:
        if self.looking is not None and self.ends is not None:
            begun, position = self.looking
            spelled = None if position is None else (str(position), int(str(position)))
            epochs = {table: log.recorded for table, log in self.logs.items()}
            self.marks.look(begun, spelled, self.ends, epochs)  # type: ignore[arg-type]  # as begun
            self.looking = self.ends = None

    @rule()
    def see(self) -> None:
        self.now += 1
        for table, log in self.logs.items():
            if max(log.view) >= 0:
                self.marks.see(table, Mark(max(log.view), 0), self.now)

    @rule()
    def capture(self) -> None:
        view = {t: least(Mark(v, 0) if v >= 0 else None for v in log.view) for t, log in self.logs.items()}
        first = TABLES[0]  # only this one has a document
        index = {first: least(Mark(v, 0) if v >= 0 else None for v in self.logs[first].index)}
        self.captured.append((view, index, {}))
        del self.captured[:-3]

    @rule()
    def settle(self) -> None:
        if self.captured:
            self.marks.settle(both(*self.captured[0][:2]))

    @invariant()
    def what_is_claimed_is_covered(self) -> None:
        for view, index, _ in self.captured:
            joint = both(view, index)
            mark = self.marks.reached(joint)
            if mark is None or mark.position is None:
                continue
            for table, log in self.logs.items():
                events = [*log.past, *((version(log.epoch, n), p) for n, p in enumerate(log.events))]
                first_told = {}
                for at, position in events:
                    first_told.setdefault(position, at)
                inside = [at for position, at in first_told.items() if position <= mark.order]
                assert all(at <= joint[table].version for at in inside)
                assert not [
                    p for t, p in self.undelivered if t == table and p <= mark.order and p not in first_told
                ]

    @invariant()
    def nothing_known_to_be_missing_reads_as_nothing_missing(self) -> None:
        for view, index, _ in self.captured:
            for coverage in (view, index):
                missing = any(
                    coverage[table].version < need
                    for table, need in self.marks._highest.items()
                    if table in coverage
                )
                since = self.marks.missing_since(coverage)
                assert (since is not None) == missing
                assert since is None or since <= self.now


Positions.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
test_positions = Positions.TestCase


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
@given(manifests(), rows, scopes, versions, st.booleans(), versions)
def test_whatever_counts_is_listed_live_and_the_callers_own(
    manifest: Manifest, row: StateRow | None, scope: Scope, progress: int, waited: bool, written: int
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
            assert row.columns["tenant"] == scope.tenant
            assert row.columns["kind"] == "doc"
    if waited and joined.verdict is Verdict.BEHIND:
        assert row is None


@given(st.lists(st.lists(st.integers(0, 9), unique=True), max_size=4))
def test_fusion_keeps_every_item_once_best_first(rankings: list[list[int]]) -> None:
    fused = fuse(rankings)
    assert {item for item, _ in fused} == {item for ranking in rankings for item in ranking}
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)
    for item, score in fused:
        assert len(rankings) / (K + 1) >= score >= 1 / (K + 10)


def test_nothing_is_below_everything() -> None:
    assert NOTHING < Mark(0, 0)
