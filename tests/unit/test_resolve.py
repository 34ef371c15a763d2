"""The ordering rule, the carrying of unchanged long values, taints, truncates and the alarm."""

import json
from typing import Any

import pytest

from core.errors import ContractError, DecodeError
from core.keys import RowKey, TableId
from core.settings import Source
from core.state import StateRow, Truncate
from core.state_table import StateTable
from core.version import version
from ingest.record import RawRecord
from ingest.resolve import GuardAlarm, Resolved, Resolver

P = "__debezium_unavailable_value"
TABLE = TableId("shop", "public.notes")
SOURCE = Source(prefix="shop", tables=["public.notes"])


def raw(offset: int, key: object, value: object, **headers: object) -> RawRecord:
    pairs = tuple((f"__debezium.{name}", json.dumps(header).encode()) for name, header in headers.items())
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return RawRecord(
        "shop.public.notes", 0, offset, 0, json.dumps(key).encode() if key else None, data, pairs
    )


def value(op: str, after: object, q: tuple[int | None, int] | None, ts_ms: int = 1_000) -> dict[str, Any]:
    sequence = None if q is None else json.dumps([None if part is None else str(part) for part in q])
    source = {"connector": "postgresql", "schema": "public", "table": "notes"}
    return {
        "op": op,
        "after": after,
        "source": {**source, "sequence": sequence, "lsn": q and q[1], "ts_ms": ts_ms},
    }


class Log:
    """A raw topic and what the resolver made of it."""

    def __init__(self, epoch: int = 0, state: StateTable | None = None, **resolver: Any) -> None:
        self.state = state or StateTable()
        self.resolver = Resolver(TABLE, SOURCE, epoch, **resolver)
        self.offset = -1
        self.written = 0

    def take(self, record: RawRecord) -> Resolved:
        resolved = self.resolver.resolve(record, self.state.get, 77)
        for row in resolved.rows:
            self.state.apply(0, self.written, row)
            self.written += 1
        if resolved.truncate is not None:
            self.state.apply(0, self.written, resolved.truncate)
            self.written += 1
        return resolved

    def send(self, key: object, sent: object, **headers: object) -> Resolved:
        self.offset += 1
        return self.take(raw(self.offset, key, sent, **headers))

    def put(
        self, op: str, nr: int, q: tuple[int | None, int] | None, text: str | None = None, **more: Any
    ) -> Resolved:
        after = None if op == "d" else {"id": nr, "text": text}
        headers = {name: {"id": more.pop(name)} for name in ("oldkey", "newkey") if name in more}
        return self.send({"id": nr}, value(op, after, q, **more), **headers)

    def row(self, nr: int) -> StateRow:
        row = self.state.get(RowKey.of({"id": nr}).canonical)
        assert row is not None
        return row

    def live(self) -> dict[str, object]:
        return {row.key.text: row.columns["text"] for row in self.state.rows() if not row.deleted}


def test_an_applied_row_says_everything() -> None:
    log = Log(epoch=3)
    resolved = log.put("c", 1, (10, 20), "a", ts_ms=55)
    assert resolved.outcome == "applied"
    assert resolved.rows == (
        StateRow(
            RowKey.of({"id": 1}), version(3, 0), {"id": 1, "text": "a"}, False, (10, 20), "0/14", 55, 77
        ),
    )


def test_key_reuse_keeps_the_live_row() -> None:
    # A unique column older than the primary key lets a row be inserted whose own position is
    # below that of the delete which committed before it. Positions as Postgres gave them.
    log = Log()
    log.put("c", 1, (27239000, 27239900), "old")
    log.put("d", 1, (27240064, 27240256))
    assert log.put("c", 1, (27240416, 27240128), "new").outcome == "applied"
    assert log.live() == {"1": "new"}


def test_replayed_events_are_superseded_stream_against_stream() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    log.put("u", 1, (20, 30), "b")
    for q in ((10, 20), (20, 30), (10, 5)):
        resolved = log.put("u", 1, q, "stale")
        assert (resolved.outcome, resolved.kind) == ("superseded", "guard")
    assert log.live() == {"1": "b"}
    assert log.put("u", 1, (20, 31), "c").outcome == "applied"


def test_rows_of_a_snapshot_go_by_offset_and_keep_the_streamed_position() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    log.put("r", 1, (500, 600), "snapshot")
    assert log.row(1).streamed == (10, 20)
    assert log.put("u", 1, (20, 30), "open while the snapshot ran").outcome == "applied"
    assert log.put("u", 1, (10, 20), "stale").outcome == "superseded"
    assert log.live() == {"1": "open while the snapshot ran"}


def test_a_new_life_of_the_connector_starts_without_a_last_commit() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    assert log.put("u", 1, (None, 25), "b").outcome == "applied"
    assert log.row(1).streamed == (0, 25)
    assert log.put("u", 1, (None, 25), "b").kind == "guard"


def test_the_first_transaction_of_a_connector_may_be_replayed_too() -> None:
    log = Log()
    log.put("c", 1, (None, 20), "a")
    log.put("u", 1, (30, 40), "b")
    assert log.put("c", 1, (None, 20), "a").kind == "guard"
    assert log.live() == {"1": "b"}


def test_an_old_offset_is_superseded_even_without_a_position() -> None:
    log = Log()
    log.offset = 9
    log.put("r", 1, None, "new")
    stale = log.take(raw(4, {"id": 1}, value("r", {"id": 1, "text": "old"}, None)))
    assert (stale.outcome, stale.kind, stale.rows) == ("superseded", "version", ())
    again = log.take(raw(10, {"id": 1}, value("r", {"id": 1, "text": "new"}, None)))
    assert again.kind == "version"


def test_positions_are_not_compared_across_epochs() -> None:
    old = Log(epoch=0)
    old.put("c", 1, (900, 990), "before")
    log = Log(epoch=1, state=old.state)
    assert log.put("u", 1, (5, 6), "after").outcome == "applied"
    assert log.row(1).streamed == (5, 6)
    other = Log(epoch=0)
    other.put("c", 1, (900, 990), "before")
    log = Log(epoch=1, state=other.state)
    log.put("r", 1, (1, 1), "resync")
    assert log.row(1).streamed is None


def test_nothing_is_carried_across_epochs() -> None:
    old = Log(epoch=0)
    old.put("c", 1, (900, 990), "before")
    log = Log(epoch=1, state=old.state)
    assert log.put("u", 1, (5, 6), P).outcome == "parked"
    assert log.row(1).tainted
    log.put("d", 1, (6, 7), newkey=2)
    assert log.put("c", 2, (6, 7), P, oldkey=1).outcome == "parked"


def test_a_grave_keeps_columns_version_and_position() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "long")
    log.put("d", 1, (20, 30), ts_ms=99)
    grave = log.row(1)
    assert grave.deleted
    assert (grave.version, grave.columns, grave.streamed) == (1, {"id": 1, "text": "long"}, (20, 30))
    assert (grave.committed_at, grave.resolved_at, grave.tainted) == (99, 77, False)
    assert log.put("c", 1, (10, 20), "stale").kind == "guard"
    assert log.live() == {}


def test_unchanged_text_comes_from_the_row() -> None:
    log = Log()
    log.send({"id": 1}, value("c", {"id": 1, "text": "long", "n": 1, "gone": 1}, (10, 20)))
    log.send({"id": 1}, value("u", {"id": 1, "text": P, "n": 2, "new": 3}, (20, 30)))
    assert log.row(1).columns == {"id": 1, "text": "long", "n": 2, "new": 3}
    assert list(log.row(1).columns) == ["id", "text", "n", "new"]


def test_a_change_of_key_takes_unchanged_text_from_the_grave() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "long")
    log.put("d", 1, (20, 30), newkey=2)
    assert log.put("c", 2, (20, 30), P, oldkey=1).outcome == "applied"
    assert log.live() == {"2": "long"}


def test_a_swap_of_keys_carries_each_text_with_its_row() -> None:
    log = Log()
    log.put("c", 101, (10, 20), "A")
    log.put("c", 102, (10, 21), "B")
    for step, (old, new) in enumerate([(101, -1), (102, 101), (-1, 102)]):
        log.put("d", old, (20, 30 + step), newkey=new)
        assert log.put("c", new, (20, 30 + step), P, oldkey=old).outcome == "applied"
    assert log.live() == {"101": "B", "102": "A"}


@pytest.mark.parametrize(
    "history",
    [
        [],
        [("d", 1, (20, 30))],
        [("c", 1, (10, 20), "other life"), ("d", 1, (20, 25))],
        [("c", 1, (10, 20), "a"), ("d", 1, (20, 30)), ("c", 1, (40, 50), "next life")],
    ],
    ids=["nothing", "an empty grave", "a grave of another position", "a later life"],
)
def test_a_change_of_key_without_its_old_row_is_parked(history: list[Any]) -> None:
    log = Log()
    for step in history:
        log.put(*step)
    resolved = log.put("c", 2, (20, 30), P, oldkey=1)
    assert resolved.outcome == "parked"
    assert isinstance(resolved.error, ContractError)
    assert "2" not in log.live()


def test_a_change_of_key_seen_before_the_delete_takes_the_live_row() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "long")
    assert log.put("c", 2, (20, 30), P, oldkey=1).outcome == "applied"
    assert log.row(2).columns["text"] == "long"


@pytest.mark.parametrize("deleted", [False, True])
def test_unchanged_text_without_a_live_row_is_parked(deleted: bool) -> None:
    log = Log()
    if deleted:
        log.put("c", 1, (10, 20), "long")
        log.put("d", 1, (20, 30))
    resolved = log.put("u", 1, (30, 40), P)
    assert resolved.outcome == "parked"
    assert log.live() == {}
    assert P not in str(resolved)


def test_a_column_that_the_row_never_had_is_parked() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "long")
    resolved = log.send({"id": 1}, value("u", {"id": 1, "text": "x", "added": P}, (20, 30)))
    assert resolved.outcome == "parked"
    assert "added" in str(resolved.error)


def test_a_parked_record_taints_its_key_until_a_whole_row_comes() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    resolved = log.send({"id": 1}, b"\xff")
    assert resolved.outcome == "parked"
    assert isinstance(resolved.error, DecodeError)
    tainted = log.row(1)
    assert (tainted.tainted, tainted.version, tainted.columns["text"]) == (True, 1, "a")
    assert tainted.streamed == (10, 20)
    assert log.put("u", 1, (30, 40), P).outcome == "parked"
    assert log.put("u", 1, (40, 50), "whole").outcome == "applied"
    assert not log.row(1).tainted
    assert log.put("u", 1, (50, 60), P).outcome == "applied"
    assert log.live() == {"1": "whole"}


def test_a_tainted_row_leaves_a_tainted_grave() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    log.send({"id": 1}, b"\xff")
    log.put("d", 1, (30, 40), newkey=2)
    assert log.row(1).tainted
    assert log.put("c", 2, (30, 40), P, oldkey=1).outcome == "parked"


def test_a_life_that_was_missed_lends_nothing() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "first life")
    log.put("d", 1, (20, 30))
    log.send({"id": 1}, b"\xff")  # the second life's insert
    log.put("d", 1, (40, 50), newkey=2)
    assert log.put("c", 2, (40, 50), P, oldkey=1).outcome == "parked"


def test_a_parked_record_of_an_unknown_row_writes_nothing() -> None:
    log = Log()
    assert log.send({"id": 1}, b"\xff").rows == ()
    assert log.send(None, b"\xff").outcome == "parked"
    assert log.put("u", 1, (10, 20), P).outcome == "parked"


def test_a_parked_record_given_again_is_parked_again() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    first = log.send({"id": 1}, value("u", {"id": 1, "text": "x", "added": P}, (20, 30)))
    again = log.take(raw(1, {"id": 1}, value("u", {"id": 1, "text": "x", "added": P}, (20, 30))))
    assert (again.outcome, again.rows) == (first.outcome, first.rows)
    log.put("u", 1, (30, 40), "whole")
    late = log.take(raw(1, {"id": 1}, b"\xff"))
    assert (late.outcome, late.rows) == ("parked", ())
    assert not log.row(1).tainted


def test_a_replay_does_not_leave_a_taint_behind() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    log.send({"id": 1}, b"\xff")
    log.put("u", 1, (30, 40), "whole")
    log.put("c", 1, (10, 20), "a")  # the connector crashed, and sends all three again
    log.send({"id": 1}, b"\xff")
    assert log.row(1).tainted
    log.put("u", 1, (30, 40), "whole")
    assert not log.row(1).tainted
    assert log.live() == {"1": "whole"}


def test_a_key_that_changes_its_type_is_parked() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    resolved = log.send({"id": "1"}, value("c", {"id": "1", "text": "b"}, (20, 30)))
    assert isinstance(resolved.error, ContractError)
    assert "str" in str(resolved.error)
    assert log.put("u", 1, (30, 40), "c").outcome == "applied"
    known = Log(shape=(("id", str),))
    assert known.put("c", 1, (10, 20), "a").outcome == "parked"


def test_truncate_buries_what_came_before() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    resolved = log.send(None, value("t", None, (20, 30), ts_ms=9))
    assert (resolved.outcome, resolved.truncate) == ("applied", Truncate(1, "0/1E", 9))
    log.put("c", 2, (30, 40), "b")
    assert log.live() == {"2": "b"}


def replay_over_truncate(log: Log) -> None:
    log.put("c", 1, (10, 20), "a")
    assert log.send(None, value("t", None, (20, 30))).kind == "guard"
    log.put("c", 2, (30, 40), "b")
    assert log.live() == {"2": "b"}


def test_a_replayed_truncate_does_not_bury_what_came_after() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    truncate = log.send(None, value("t", None, (20, 30))).truncate
    log.put("c", 2, (30, 40), "b")
    replay_over_truncate(log)
    restarted = Log(state=log.state, truncate=truncate)
    restarted.offset = log.offset
    restarted.written = log.written
    replay_over_truncate(restarted)
    assert log.send(None, value("t", None, (40, 50))).outcome == "applied"
    assert log.live() == {}


def test_the_same_truncate_given_again_is_written_again() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    first = log.send(None, value("t", None, (20, 30)))
    assert log.take(raw(1, None, value("t", None, (20, 30)))) == first
    assert log.take(raw(0, None, value("t", None, (5, 6)))).kind == "version"


def test_mariadb_truncates_are_ordered_by_gtid() -> None:
    def sent(gtid: str) -> dict[str, Any]:
        where = {
            "connector": "mariadb",
            "db": "public",
            "table": "notes",
            "file": "b.1",
            "pos": 4,
            "gtid": gtid,
        }
        return {"op": "t", "source": where}

    log = Log()
    assert log.send(None, sent("0-4711-100")).outcome == "applied"
    assert log.send(None, sent("0-4712-100")).kind == "guard"
    assert log.send(None, sent("0-4712-101")).outcome == "applied"
    assert log.send(None, sent("1-4712-5")).outcome == "applied"


def test_mariadb_rows_are_ordered_by_file_position_and_row() -> None:
    def sent(file: str, pos: int, row: int) -> dict[str, Any]:
        where = {
            "connector": "mariadb",
            "db": "public",
            "table": "notes",
            "file": file,
            "pos": pos,
            "row": row,
        }
        return {"op": "u", "after": {"id": 1, "text": f"{file} {pos} {row}"}, "source": where}

    log = Log()
    steps = [("b.000009", 900, 0), ("b.000009", 900, 1), ("b.000009", 901, 0), ("b.000010", 4, 0)]
    for step in steps:
        assert log.send({"id": 1}, sent(*step)).outcome == "applied"
    for step in steps:
        assert log.send({"id": 1}, sent(*step)).kind == "guard"
    assert log.live() == {"1": "b.000010 4 0"}


def test_tombstones_and_foreign_records_are_ignored_by_kind() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    log.offset += 1
    tombstone = log.take(RawRecord("shop.public.notes", 0, log.offset, 0, b'{"id":1}', None))
    assert tombstone == Resolved("ignored", "tombstone")
    assert log.send({"serverName": "shop"}, {"ts_ms": 1}) == Resolved("ignored", "heartbeat")
    assert log.live() == {"1": "a"}


def test_repairs_are_counted() -> None:
    log = Log()
    text = json.dumps(value("c", {"id": 1, "text": "?"}, (10, 20))).replace("?", "\\ud800")
    assert log.send({"id": 1}, text.encode()).repaired == 1
    assert log.live() == {"1": "\ufffd"}


def test_the_alarm_lets_an_ordinary_replay_pass() -> None:
    log, alarm = Log(), GuardAlarm(TABLE, events_per_second=10, flush_seconds=1.0)
    log.put("c", 1, (10, 20), "a")
    replayed = [log.put("c", 1, (10, 20), "a") for _ in range(20)]
    assert [alarm.observe(resolved) for resolved in replayed] == [None] * 20
    assert alarm.observe(log.put("u", 1, (20, 30), "b")) is None
    assert [alarm.observe(log.put("c", 1, (10, 20), "a")) for _ in range(20)] == [None] * 20
    stop = alarm.observe(log.put("c", 1, (10, 20), "a"))
    assert stop is not None
    assert "tailrace resync shop.public.notes" in stop


def test_the_alarm_stops_at_a_newer_event_with_an_older_position() -> None:
    log, alarm = Log(), GuardAlarm(TABLE, events_per_second=10_000)
    log.put("c", 1, (10, 20), "a", ts_ms=100)
    assert alarm.observe(log.put("u", 1, (10, 19), "replayed", ts_ms=100)) is None
    stop = alarm.observe(log.put("u", 1, (10, 19), "restored database", ts_ms=101))
    assert stop is not None
    assert "tailrace resync" in stop


def test_a_snapshot_row_of_a_later_life_lends_nothing_to_an_earlier_move() -> None:
    # The source moved 1 to 2 and made a new 1 before a blocking snapshot read both; the stream
    # comes to the move only after it.
    log = Log()
    log.put("c", 1, (10, 20), "A")
    log.put("r", 1, (10, 100), "B")
    log.put("r", 2, (10, 100), "A")
    log.put("d", 1, (20, 30), newkey=2)
    assert log.put("c", 2, (20, 30), P, oldkey=1).outcome == "parked"
    log.put("c", 1, (30, 40), "B")
    assert log.live() == {"1": "B", "2": "A"}
    assert log.row(2).tainted


@pytest.mark.parametrize("q", [(None, 130), (110, 90)], ids=["written after", "committed after"])
def test_a_snapshot_row_lends_to_a_move_that_came_after_it(q: tuple[int | None, int]) -> None:
    log = Log()
    log.put("r", 1, (10, 100), "A")
    log.put("d", 1, q, newkey=2)
    assert log.put("c", 2, q, P, oldkey=1).outcome == "applied"
    assert log.live() == {"2": "A"}


def test_the_alarm_allows_for_the_clock_of_a_snapshot() -> None:
    log, alarm = Log(), GuardAlarm(TABLE, events_per_second=10_000)
    log.put("c", 1, (10, 20), "a", ts_ms=100_000)
    log.put("r", 1, None, "a", ts_ms=95_000)  # the connector's clock is behind
    assert alarm.observe(log.put("c", 1, (10, 20), "a", ts_ms=100_000)) is None
    assert alarm.observe(log.put("u", 1, (10, 19), "restored database", ts_ms=200_000)) is not None
