"""Truncates: what they bury, and what a replayed one does not."""

from typing import Any

from core.state import Truncate
from tests.unit.resolve_world import Log, raw, value


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
