"""The alarm over superseded events: a replay passes, a database that was set back does not."""

from dataclasses import replace
from typing import Any

import pytest

from core.state import Progress, Seen, decode_state, encode_state
from ingest.course import seen_before
from ingest.guard_alarm import GuardAlarm
from ingest.resolve import Resolved, Resolver
from tests.unit.resolve_world import SOURCE, TABLE, Log, raw, value


def restarted(log: Log) -> Log:
    """Another worker goes on, from what the progress record says."""
    progress = decode_state(*encode_state(Progress(0, seen=log.resolver.seen)))
    assert isinstance(progress, Progress)
    log.resolver = Resolver(TABLE, SOURCE, 0, log.state.truncate, seen=progress.seen)
    return log


def test_the_alarm_lets_an_ordinary_replay_pass() -> None:
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10, flush_seconds=1.0)
    log.put("c", 1, (10, 20), "a")
    replayed = [log.put("c", 1, (10, 20), "a") for _ in range(20)]
    assert [alarm.observe(resolved) for resolved in replayed] == [None] * 20
    assert alarm.observe(log.put("u", 1, (20, 30), "b")) is None
    assert [alarm.observe(log.put("c", 1, (10, 20), "a")) for _ in range(20)] == [None] * 20
    stop = alarm.observe(log.put("c", 1, (10, 20), "a"))
    assert stop is not None
    assert "tailrace resync shop.public.notes" in stop


def test_the_alarm_stops_at_a_newer_event_with_an_older_position() -> None:
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10_000)
    log.put("c", 1, (10, 20), "a", ts_ms=100)
    assert alarm.observe(log.put("u", 1, (10, 19), "replayed", ts_ms=100)) is None
    stop = alarm.observe(log.put("u", 1, (10, 19), "restored database", ts_ms=101))
    assert stop is not None
    assert "tailrace resync" in stop


def test_the_alarm_allows_for_the_clock_of_a_snapshot() -> None:
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10_000)
    log.put("c", 1, (10, 20), "a", ts_ms=100_000)
    log.put("r", 1, None, "a", ts_ms=95_000)  # the connector's clock is behind
    assert alarm.observe(log.put("c", 1, (10, 20), "a", ts_ms=100_000)) is None
    assert alarm.observe(log.put("u", 1, (10, 19), "restored database", ts_ms=200_000)) is not None


@pytest.mark.parametrize("again", [False, True], ids=["one worker", "restarted"])
def test_a_clock_that_stepped_back_is_no_other_database(again: bool) -> None:
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10_000)
    log.put("c", 1, (10, 20), "a", ts_ms=1_000_000)
    log.put("u", 1, (20, 30), "b", ts_ms=999_900)
    log.send(None, value("t", None, (30, 40), ts_ms=999_950))
    log.send(None, value("t", None, (40, 50), ts_ms=999_940))
    log.put("c", 1, (50, 60), "c", ts_ms=999_960)
    log = restarted(log) if again else log
    replay = [
        log.put("c", 1, (10, 20), "a", ts_ms=1_000_000),
        log.put("u", 1, (20, 30), "b", ts_ms=999_900),
        log.send(None, value("t", None, (30, 40), ts_ms=999_950)),
        log.send(None, value("t", None, (40, 50), ts_ms=999_940)),
        log.put("c", 1, (50, 60), "c", ts_ms=999_960),
    ]
    assert [one.kind for one in replay] == ["guard"] * 5
    assert [alarm.observe(one) for one in replay] == [None] * 5
    assert log.live() == {"1": "c"}


@pytest.mark.parametrize("again", [False, True], ids=["one worker", "restarted"])
def test_another_database_is_known_although_the_clock_had_stepped_back(again: bool) -> None:
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10_000)
    log.put("c", 1, (10, 20), "a", ts_ms=1_000_000)
    log.put("u", 1, (20, 30), "b", ts_ms=999_900)
    log = restarted(log) if again else log
    assert alarm.observe(log.put("u", 1, (10, 19), "restored", ts_ms=1_000_001)) is not None


def test_another_database_is_known_at_the_first_row_it_loses() -> None:
    """Of one transaction, with one commit time: what could be applied hides nothing."""
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10_000)
    log.put("c", 1, (100, 200), "a", ts_ms=1_000)
    log.put("c", 2, (200, 300), "b", ts_ms=2_000)
    assert alarm.observe(log.put("c", 3, (50, 60), "new", ts_ms=9_000)) is None
    assert alarm.observe(log.put("c", 4, (None, 70), "new", ts_ms=9_000)) is None
    assert alarm.observe(log.put("u", 1, (50, 80), "lost", ts_ms=9_000)) is not None


def test_another_database_is_known_at_a_truncate() -> None:
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10_000)
    log.send(None, value("t", None, (100, 200), ts_ms=1_000))
    log.put("c", 1, (200, 300), "a", ts_ms=2_000)
    assert alarm.observe(log.send(None, value("t", None, (100, 200), ts_ms=1_000))) is None
    assert alarm.observe(log.send(None, value("t", None, (50, 60), ts_ms=3_000))) is not None


def at_minute(log: Log, minute: int, sent: dict[str, Any]) -> Resolved:
    """As `Log.send`, with the time at which Connect wrote it to the log."""
    log.offset += 1
    return log.take(replace(raw(log.offset, {"id": 1}, sent), timestamp_ms=minute * 60_000))


def test_a_clock_that_was_hours_ahead_once_hides_another_database_for_minutes_only() -> None:
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10_000)
    row, hours = {"id": 1, "text": "a"}, 4 * 60 * 60_000
    at_minute(log, 0, value("c", row, (10, 20), ts_ms=hours))
    for minute in range(1, 13):
        at_minute(log, minute, value("u", row, (20 * minute, 30 * minute), ts_ms=minute * 60_000))
        replayed = at_minute(log, minute, value("u", row, (20 * minute, 30 * minute), ts_ms=minute * 60_000))
        assert alarm.observe(replayed) is None
    assert alarm.observe(at_minute(log, 13, value("u", row, (10, 19), ts_ms=13 * 60_000))) is not None


def test_what_an_older_release_wrote_is_gone_on_from() -> None:
    """Its progress says nothing of what was seen: its rows do."""
    assert decode_state(b"p", b'{"f":1,"v":7,"p":"0/1E","at":9,"ra":3}') == Progress(7, "0/1E", 9, 3)
    log = Log()
    log.put("c", 1, (10, 20), "a", ts_ms=1_000)
    log.put("c", 2, (20, 30), "b", ts_ms=900)
    log.put("r", 3, None, "c", ts_ms=5_000)
    rows = list(log.state.rows())
    assert seen_before(Progress(2), 0, rows) == Seen((20, 30), 1_000, streaming=True)
    assert seen_before(Progress(2, seen=Seen((1, 2), 3)), 0, rows) == Seen((1, 2), 3)
    assert seen_before(Progress(2, seen=Seen((1, 2), 3)), 1, rows) == Seen(), "an epoch starts anew"


def of_mariadb(op: str, file: int, text: str, gtid: str | None, ts_ms: int) -> dict[str, Any]:
    where = {"connector": "mariadb", "db": "public", "table": "notes", "gtid": gtid, "ts_ms": ts_ms}
    return {
        "op": op,
        "after": {"id": 1, "text": text},
        "source": {**where, "file": f"binlog.{file:06d}", "pos": 400, "row": 0},
    }


@pytest.mark.parametrize("again", [False, True], ids=["one worker", "restarted"])
@pytest.mark.parametrize("seconds", [1, 50])
def test_another_primary_is_known_within_the_minute(seconds: int, again: bool) -> None:
    """Commit times have whole seconds there, and a GTID is not spelled like a position."""
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10)
    log.send({"id": 1}, of_mariadb("c", 120, "old", "0-1-100", 1_000_000))
    log = restarted(log) if again else log
    replayed = log.send({"id": 1}, of_mariadb("c", 120, "old", "0-1-100", 1_000_000))
    assert alarm.observe(replayed) is None
    lost = log.send({"id": 1}, of_mariadb("u", 7, "new", "0-2-101", 1_000_000 + 1_000 * seconds))
    assert lost.kind == "guard"
    assert alarm.observe(lost) is not None


def test_another_primary_is_known_within_the_minute_of_a_snapshot() -> None:
    log, alarm = Log(), GuardAlarm(str(TABLE), events_per_second=10)
    log.send({"id": 1}, of_mariadb("c", 120, "old", "0-1-100", 1_000_000))
    log.send({"id": 1}, of_mariadb("r", 120, "read again", None, 1_010_000))
    assert alarm.observe(log.send({"id": 1}, of_mariadb("u", 7, "new", "0-2-101", 1_030_000))) is not None
