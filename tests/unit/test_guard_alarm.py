"""The alarm over superseded events: a replay passes, a database that was set back does not."""

from ingest.resolve import GuardAlarm
from tests.unit.resolve_world import TABLE, Log


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


def test_the_alarm_allows_for_the_clock_of_a_snapshot() -> None:
    log, alarm = Log(), GuardAlarm(TABLE, events_per_second=10_000)
    log.put("c", 1, (10, 20), "a", ts_ms=100_000)
    log.put("r", 1, None, "a", ts_ms=95_000)  # the connector's clock is behind
    assert alarm.observe(log.put("c", 1, (10, 20), "a", ts_ms=100_000)) is None
    assert alarm.observe(log.put("u", 1, (10, 19), "restored database", ts_ms=200_000)) is not None
