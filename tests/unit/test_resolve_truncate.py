"""Truncates: what they bury, and what a replayed one does not."""

from typing import Any

import pytest

from core.state import Removed, Truncate, decode_state, encode_state
from core.version import version
from ingest.guard_alarm import GuardAlarm
from ingest.resolve import Resolver
from tests.unit.resolve_world import SOURCE, TABLE, Log, raw, value


def test_truncate_buries_what_came_before() -> None:
    log = Log()
    log.put("c", 1, (10, 20), "a")
    resolved = log.send(None, value("t", None, (20, 30), ts_ms=9))
    assert (resolved.outcome, resolved.truncate) == ("applied", Truncate(1, "0/1E", 9, (20, 30), 77))
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


def of_mysql(
    op: str, pos: int | None, gtid: str | None, nr: int = 0, text: str = "", ts_ms: int = 1_000
) -> dict[str, Any]:
    where = {"connector": "mariadb", "db": "public", "table": "notes", "gtid": gtid, "ts_ms": ts_ms}
    if pos is not None:
        where |= {"file": "binlog.000007", "pos": pos}
    return {"op": op, "after": None if op == "t" else {"id": nr, "text": text}, "source": where}


def test_truncates_without_a_place_in_the_stream_are_ordered_by_gtid() -> None:
    log = Log()
    assert log.send(None, of_mysql("t", None, "0-4711-100")).outcome == "applied"
    assert log.send(None, of_mysql("t", None, "0-4712-100")).kind == "guard"
    assert log.send(None, of_mysql("t", None, "0-4712-101")).outcome == "applied"
    assert log.send(None, of_mysql("t", None, "1-4712-5")).outcome == "applied"


UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.mark.parametrize(
    "gtids",
    [(None, None, None), ("0-1-10", "1-1-5", "1-1-6"), (f"{UUID}:batch:4", f"{UUID}:batch:5", f"{UUID}:9")],
    ids=["MySQL without GTIDs", "MariaDB with two domains", "MySQL with tags"],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_a_replayed_truncate_is_known_by_its_place_in_the_binlog(
    gtids: tuple[str | None, ...], restarted: bool
) -> None:
    """Emptied twice and loaded; then Connect sends again what its last offset did not cover."""
    sent = [
        (None, of_mysql("t", 100, gtids[0], ts_ms=1_000)),
        (None, of_mysql("t", 200, gtids[1], ts_ms=2_000)),
        ({"id": 1}, of_mysql("c", 300, gtids[2], 1, "loaded", 3_000)),
    ]
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10)
    assert [log.send(*one).outcome for one in sent] == ["applied"] * 3
    if restarted:
        assert log.state.truncate is not None
        state_record = decode_state(*encode_state(log.state.truncate))
        assert isinstance(state_record, Truncate)
        log.resolver = Resolver(TABLE, SOURCE, 0, state_record)
    again = [log.send(*one) for one in sent]
    assert [(one.outcome, one.kind) for one in again] == [("superseded", "guard")] * 3
    assert [alarm.observe(one) for one in again] == [None] * 3
    assert log.live() == {"1": "loaded"}
    assert log.send(None, of_mysql("t", 400, gtids[2], ts_ms=4_000)).outcome == "applied"
    assert log.live() == {}


def test_a_truncate_of_an_older_release_is_ordered_by_its_position() -> None:
    old = decode_state(b"t", b'{"f":1,"v":0,"p":"0/1E","at":9}')
    assert old == Truncate(0, "0/1E", 9)
    log = Log(truncate=old)
    log.offset = 5
    assert log.send(None, value("t", None, (20, 30), ts_ms=9)).kind == "guard"
    assert log.send(None, value("t", None, (30, 40))).outcome == "applied"


def test_a_truncate_that_is_the_first_record_of_all_is_remembered() -> None:
    log = Log()
    log.send(None, value("t", None, (10, 20)))
    log.put("c", 1, (20, 30), "a")
    log.resolver = Resolver(TABLE, SOURCE, 0, log.state.truncate)
    assert log.send(None, value("t", None, (10, 20))).kind == "guard"
    assert log.live() == {"1": "a"}


def expire(log: Log) -> None:
    """The connector was down for longer than graves are kept."""
    for row in [row for row in log.state.rows() if row.deleted]:
        log.written += 1
        log.state.apply(0, log.written, Removed(row.key, row.version))


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("op", ["c", "u", "d"])
def test_what_a_truncate_buried_stays_buried_when_both_are_sent_again(op: str, restarted: bool) -> None:
    """Nothing but the truncate tells of it: its grave has expired."""
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10)
    log.put(op, 1, (90, 100), "a", ts_ms=1_100)
    truncate = value("t", None, (100, 200), ts_ms=1_000)  # a clock may step back
    log.send(None, truncate)
    log.put("c", 2, (200, 300), "b", ts_ms=1_200)
    expire(log)
    if restarted:
        log.resolver = Resolver(TABLE, SOURCE, 0, log.state.truncate, seen=log.resolver.seen)
    again = [log.put(op, 1, (90, 100), "a", ts_ms=1_100), log.send(None, truncate)]
    assert [(one.outcome, one.kind) for one in again] == [("superseded", "guard")] * 2
    assert [alarm.observe(one) for one in again] == [None] * 2
    assert log.live() == {"2": "b"}


def test_what_is_loaded_behind_a_truncate_in_its_transaction_is_applied() -> None:
    for place in ((None, 201), (100, 201), (201, 202), (None, 203)):
        log = Log()
        log.send(None, value("t", None, (place[0] and 100, 200)))
        assert log.put("c", 1, place, "a").outcome == "applied"


def test_a_truncate_of_another_epoch_supersedes_nothing() -> None:
    old = Log()
    old.send(None, value("t", None, (900, 990)))
    log = Log(epoch=1, state=old.state, truncate=old.state.truncate)
    assert log.put("c", 1, (5, 6), "a").outcome == "applied"


def test_rows_of_a_snapshot_are_not_ordered_by_a_truncate() -> None:
    log = Log()
    log.send(None, value("t", None, (100, 200)))
    assert log.put("r", 1, (10, 20), "a").outcome == "applied"
    assert log.live() == {"1": "a"}


def test_records_in_front_of_a_truncate_give_what_they_gave_when_they_are_read_again() -> None:
    """The write failed: neither stands in the state topic."""
    log = Log()
    log.put("c", 1, (10, 20), "a")
    first = log.row(1)
    log.send(None, value("t", None, (20, 30)))
    again = log.take(raw(0, {"id": 1}, value("c", {"id": 1, "text": "a"}, (10, 20))))
    assert again.kind == "version"
    log.state = type(log.state)()
    again = log.take(raw(0, {"id": 1}, value("c", {"id": 1, "text": "a"}, (10, 20))))
    assert again.rows == (first,)


def test_an_event_that_committed_after_all_others_below_a_truncate_is_of_another_database() -> None:
    log, alarm = Log(epoch=3), GuardAlarm(str(TABLE), events_per_second=10)
    log.send(None, value("t", None, (100, 200), ts_ms=5_000))
    assert log.state.truncate is not None
    assert log.state.truncate.version == version(3, 0)
    dropped = log.put("c", 1, (10, 20), "a", ts_ms=6_000)
    assert (dropped.kind, dropped.newer) == ("guard", True)
    assert "restored or failed over" in (alarm.observe(dropped) or "")
