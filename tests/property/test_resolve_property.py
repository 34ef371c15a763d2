"""Whatever a connector and a log may do to the order of delivery, the table's rows come out.

The model is a dictionary; the source keeps it and writes a stream as Debezium would: unchanged
long text is left out, a change of key is a delete and a create, positions are pairs.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from core.keys import TableId
from core.settings import Source
from core.state import Progress, Removed, StateRow, decode_state, encode_state
from core.state_table import StateTable
from ingest.guard_alarm import GuardAlarm
from ingest.record import RawRecord
from ingest.resolve import Resolved, Resolver

P = "__debezium_unavailable_value"
TABLE = TableId("shop", "public.notes")
SOURCE = Source(prefix="shop", tables=["public.notes"])
Row: TypeAlias = tuple[int, str]
"""A short column and a long one."""
Message: TypeAlias = tuple[int | None, Any, dict[str, object]]


@dataclass
class Database:
    """A table with its stream: `sent[n]` belongs to the rows in `truth[n]` (after it)."""

    rows: dict[int, Row] = field(default_factory=dict)
    sent: list[Message] = field(default_factory=list)
    truth: list[dict[int, Row]] = field(default_factory=list)
    position: int = 100
    committed: int | None = None
    texts: int = 0

    def write(self, what: str, key: int, other: int) -> None:
        """One statement, if it makes sense now."""
        if what == "truncate":
            self.rows.clear()
            self._send(None, "t", None)
        elif what == "insert" and key not in self.rows:
            self.texts += 1
            self.rows[key] = (0, f"text {self.texts}")
            self._send(key, "c", self.rows[key])
        elif key in self.rows and what == "edit":
            self.texts += 1
            self.rows[key] = (self.rows[key][0], f"text {self.texts}")
            self._send(key, "u", self.rows[key])
        elif key in self.rows and what == "touch":
            self.rows[key] = (self.rows[key][0] + 1, self.rows[key][1])
            self._send(key, "u", (self.rows[key][0], P))
        elif key in self.rows and what == "delete":
            del self.rows[key]
            self._send(key, "d", None)
        elif key in self.rows and what == "move" and other not in self.rows:
            before = dict(self.rows)
            row = self.rows[other] = self.rows.pop(key)
            self._send(key, "d", None, same=True, newkey={"id": other})
            before.pop(key)
            self.truth[-1] = before  # the delete is sent alone: its row is nowhere yet
            self._send(other, "c", (row[0], P), oldkey={"id": key})

    def commit(self) -> None:
        self.position += 8
        self.committed = self.position

    def _send(
        self, key: int | None, op: str, row: Row | None, *, same: bool = False, **headers: object
    ) -> None:
        sequence = json.dumps([self.committed and str(self.committed), str(self.position)])
        if not same:  # a delete and a create of one move share their position
            self.position += 8
        self.sent.append((key, envelope(op, key, row, sequence), headers))
        self.truth.append(dict(self.rows))


def envelope(
    op: str, key: int | None, row: Row | None, sequence: str, lsn: int | None = None
) -> dict[str, Any]:
    after = None if row is None else {"id": key, "n": row[0], "text": row[1]}
    lsn = int(json.loads(sequence)[1])
    where = {"connector": "postgresql", "schema": "public", "table": "notes", "lsn": lsn, "ts_ms": lsn}
    return {"op": op, "after": after, "source": {**where, "sequence": sequence}}


def values(row: StateRow) -> Row:
    return cast("Row", (row.columns["n"], row.columns["text"]))


class Log:
    """The raw topic, the resolver and the state topic behind it."""

    def __init__(self) -> None:
        self.state = StateTable()
        self.resolver = Resolver(TABLE, SOURCE, 0)
        self.alarm = GuardAlarm(str(TABLE), 1_000)
        self.records: list[RawRecord] = []
        self.written: list[Any] = []
        self.parked = 0

    def restart(self) -> None:
        """Another worker goes on, from what the state topic says."""
        progress = decode_state(*encode_state(Progress(0, seen=self.resolver.seen)))
        assert isinstance(progress, Progress)
        self.resolver = Resolver(TABLE, SOURCE, 0, self.state.truncate, seen=progress.seen)

    def send(self, key: int | None, value: Any, headers: dict[str, object]) -> Resolved:
        resolved = self.give(key, value, headers)
        assert self.alarm.observe(resolved) is None
        return resolved

    def give(self, key: int | None, value: Any, headers: dict[str, object]) -> Resolved:
        """Without asking the alarm."""
        pairs = tuple((f"__debezium.{name}", json.dumps(header).encode()) for name, header in headers.items())
        name = None if key is None else json.dumps({"id": key}).encode()
        data = None if value is None else json.dumps(value).encode()
        self.records.append(RawRecord("raw", 0, len(self.records), 0, name, data, pairs))
        return self.take(self.records[-1])

    def take(self, record: RawRecord) -> Resolved:
        resolved = self.resolver.resolve(record, self.state.get, 0)
        for made in (*resolved.rows, *((resolved.truncate,) if resolved.truncate else ())):
            self.written.append(made)
            self.state.apply(0, len(self.written), made)
        self.parked += resolved.outcome == "parked"
        return resolved

    def expire(self) -> None:
        """All graves, as after a day."""
        for row in [row for row in self.state.rows() if row.deleted]:
            self.written.append(Removed(row.key, row.version))
            self.state.apply(0, len(self.written), self.written[-1])

    def rows(self) -> dict[int, StateRow]:
        return {cast("int", row.key.columns[0][1]): row for row in self.state.rows() if not row.deleted}

    def plain(self) -> dict[int, Row]:
        return {key: values(row) for key, row in self.rows().items()}


KEY = st.integers(0, 4)
VERBS = ["insert", "insert", "insert", "edit", "touch", "touch", "delete", "move", "move", "commit", "commit"]
WORK = st.lists(st.tuples(st.sampled_from([*VERBS, "truncate"]), KEY, KEY), min_size=5, max_size=60)
SNAPSHOTS = st.sets(st.integers(0, 60), max_size=3)


def database(work: list[tuple[str, int, int]]) -> Database:
    made = Database()
    for what, key, other in work:
        if what == "commit":
            made.commit()
        else:
            made.write(what, key, other)
    return made


def deliver(log: Log, source: Database, crashes: list[tuple[int, int]], snapshots: set[int]) -> None:
    """In order, but after `at` messages of the whole delivery the last `back` come again.

    After each message whose number is in `snapshots` comes an incremental snapshot of that moment.
    """
    at, told = 0, 0
    planned = dict(crashes)
    seen = 0
    while at < len(source.sent):
        key, value, headers = source.sent[at]
        replayed = at < seen
        resolved = log.send(key, value, headers)
        if value["op"] == "d":
            log.send(key, None, headers)
        if replayed:
            assert resolved.outcome == "superseded"
            assert log.plain() == source.truth[seen - 1]
        else:
            assert log.plain() == source.truth[at]
            if at in snapshots and "newkey" not in headers:  # nothing comes between the two of a move
                for row in source.truth[at].items():
                    log.send(row[0], envelope("r", *row, '["1","1"]'), {})
                assert log.plain() == source.truth[at]
        at += 1
        told += 1
        seen = max(seen, at)
        at = max(0, at - planned.get(told, 0))


def deliver_in_pieces(
    log: Log,
    source: Database,
    crashes: list[tuple[int, int, bool]],
    between: Callable[[], None] = lambda: None,
) -> None:
    """In order up to a crash, whose last messages come again; the worker may have gone down with it."""
    at = 0
    for until, back, restarted in sorted(crashes):
        for one in source.sent[at:until]:
            log.send(*one)
        between()
        at = max(0, min(until, len(source.sent)) - back)
        if restarted:
            log.restart()
    for one in source.sent[at:]:
        log.send(*one)


@given(WORK, st.lists(st.tuples(st.integers(1, 80), st.integers(1, 30)), max_size=3), SNAPSHOTS)
@settings(max_examples=150, deadline=None)
def test_every_step_is_true_and_no_replay_is_visible(
    work: list[tuple[str, int, int]], crashes: list[tuple[int, int]], snapshots: set[int]
) -> None:
    source, log = database(work), Log()
    deliver(log, source, crashes, snapshots)
    assert log.plain() == source.rows
    assert log.parked == 0
    assert P not in str(log.written)


CRASHES = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60), st.booleans()), max_size=4)


@given(WORK, CRASHES, st.lists(st.integers(0, 9), min_size=7, max_size=7))
@settings(max_examples=150, deadline=None)
def test_no_replay_is_taken_for_another_database_whatever_its_clock_says(
    work: list[tuple[str, int, int]], crashes: list[tuple[int, int, bool]], clock: list[int]
) -> None:
    """Connect and the worker go down at any place; `take` holds that there is no alarm."""
    source, log = database(work), Log()
    for _, value, _ in source.sent:  # what shares a position committed together
        value["source"]["ts_ms"] = 1_000 + value["source"]["lsn"] + 20 * clock[value["source"]["lsn"] % 7]
    deliver_in_pieces(log, source, crashes)
    assert log.plain() == source.rows


@given(WORK, CRASHES)
@settings(max_examples=150, deadline=None)
def test_a_replay_that_comes_after_all_graves_expired_ends_in_the_truth(
    work: list[tuple[str, int, int]], crashes: list[tuple[int, int, bool]]
) -> None:
    """What was deleted may show until its delete comes again, and what was truncated may not.

    A long text that an unfinished move has left behind goes with its grave: that one is parked.
    """
    source, log = database(work), Log()
    whole = []
    for until, back, restarted in crashes:
        while until < len(source.sent) and "oldkey" in source.sent[until][2]:
            until += 1  # noqa: PLW2901 - nothing stops between the two of a move
        whole.append((until, back, restarted))
    deliver_in_pieces(log, source, whole, log.expire)
    assert log.plain() == source.rows
    assert P not in str(log.written)


@given(WORK, WORK, st.integers(0, 9), st.booleans())
@settings(max_examples=150, deadline=None)
def test_another_database_is_known_before_a_change_of_it_is_lost(
    work: list[tuple[str, int, int]], later: list[tuple[str, int, int]], step: int, restarted: bool
) -> None:
    """Its positions begin anew; one transaction may have all of its changes, with one commit time."""
    source, log = database(work), Log()
    for number, (_, value, _) in enumerate(source.sent):
        value["source"]["ts_ms"] = 1_000 + number - (step if number % 3 else 0)
    for one in source.sent:
        log.send(*one)
    if restarted:
        log.restart()
    for number, (key, value, headers) in enumerate(database(later).sent):
        value["source"]["ts_ms"] = 5_000 + number // 4
        resolved = log.give(key, value, headers)
        if resolved.kind == "guard":
            assert log.alarm.observe(resolved) is not None
            return


@given(WORK, st.data())
@settings(max_examples=100, deadline=None)
def test_duplicates_and_late_records_change_nothing(
    work: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    """The same records again, as after an uncommitted offset, or from a worker that was frozen."""
    source, log = database(work), Log()
    deliver(log, source, [], data.draw(SNAPSHOTS))
    again = data.draw(st.lists(st.sampled_from(log.records), max_size=20)) if log.records else []
    for record in again:
        log.take(record)
    assert log.plain() == source.rows
    rewound = data.draw(st.integers(0, len(log.records)))
    for record in log.records[rewound:]:
        log.take(record)
    assert log.plain() == source.rows
    assert log.parked == 0


@given(WORK, st.data())
@settings(max_examples=100, deadline=None)
def test_readers_agree_in_whatever_order_a_frozen_writer_wrote(
    work: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    source, log = database(work), Log()
    deliver(log, source, [], data.draw(SNAPSHOTS))
    reader = StateTable()
    for offset, made in enumerate(data.draw(st.permutations(log.written))):
        reader.apply(0, offset, made)
    assert {row.key: (row.version, row.columns) for row in reader.rows() if not row.deleted} == {
        row.key: (row.version, row.columns) for row in log.rows().values()
    }


@given(WORK, st.data())
@settings(max_examples=150, deadline=None)
def test_snapshots_at_any_time_end_in_the_truth(
    work: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    """Rows of a snapshot of now or of later than the stream has come: it still has to catch up.

    A long text that cannot be known for sure is parked and its row tainted, never guessed.
    """
    source, log = database(work), Log()
    count = len(source.sent)
    snapshots = data.draw(st.lists(st.tuples(st.integers(0, count), st.integers(0, count)), max_size=3))
    for at in range(count + 1):
        for place, future in snapshots:
            if place == at and max(at, future) > 0:
                state = max(at, future) - 1
                lsn = int(json.loads(source.sent[state][1]["source"]["sequence"])[1]) + 1
                for key, row in source.truth[state].items():
                    log.send(key, envelope("r", key, row, f'[null,"{lsn}"]'), {})
        if at < count:
            log.send(*source.sent[at])
    rows = log.rows()
    for key, known in rows.items():
        assert known.tainted or values(known) == source.rows.get(key)
    assert set(rows) <= set(source.rows)
    missing = set(source.rows) - set(rows)
    assert not missing or log.parked
    assert P not in str(log.written)
