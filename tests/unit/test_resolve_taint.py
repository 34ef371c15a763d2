"""What a parked record leaves behind: a taint on its key, until a whole row comes."""

import json
from typing import Any

import pytest

from core.errors import ContractError, DecodeError
from ingest.debezium import MAX_VALUE_BYTES
from tests.unit.resolve_world import Log, P, raw, value


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


def of_mariadb(op: str, after: dict[str, Any], *, pos: int) -> dict[str, Any]:
    where = {
        "version": "3.6.3.Final",
        "connector": "mariadb",
        "name": "shop",
        "ts_ms": 1_717_000_000_000,
        "snapshot": "true" if op == "r" else "false",
        "db": "public",
        "table": "notes",
        "server_id": 0 if op == "r" else 4711,
        "gtid": None if op == "r" else f"0-4711-{pos}",
        "file": "binlog.000002",
        "pos": pos,
        "row": 0,
    }
    return {"before": None, "after": after, "source": where, "op": op, "ts_ms": 1_717_000_000_009}


UNREADABLE = {
    "U+0000": lambda sent: json.dumps({**sent, "after": {**sent["after"], "text": "\0"}}),
    "cut": lambda sent: json.dumps(sent)[:-9],
    "too long": lambda sent: json.dumps(sent).ljust(MAX_VALUE_BYTES + 1),
}


@pytest.mark.parametrize("why", UNREADABLE)
@pytest.mark.parametrize(
    ("read", "streamed"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000Z"),
        ("2024-01-01T00:00:00.5Z", "2024-01-01T00:00:00.500Z"),
        (True, 1),
        (1, True),
    ],
)
def test_a_parked_record_of_mariadb_taints_its_row_however_its_key_is_spelled(
    read: object, streamed: object, why: str
) -> None:
    """A snapshot spells times and booleans in another way than the stream."""
    log = Log()
    key = {"sensor": 1, "at": read}
    assert log.send(key, of_mariadb("r", {**key, "text": "a"}, pos=100)).outcome == "applied"
    key = {"sensor": 1, "at": streamed}
    sent = of_mariadb("u", {**key, "text": "b"}, pos=200)
    assert log.send(key, UNREADABLE[why](sent).encode()).outcome == "parked"
    (row,) = log.state.rows()
    assert (row.tainted, row.version, row.columns["text"]) == (True, 1, "a")


def test_a_parked_record_of_postgres_taints_the_row_that_has_its_very_key() -> None:
    """Two texts are two keys there, also where they name one instant."""
    log = Log()
    short, long = ({"id": text} for text in ("2024-01-01T00:00:00.5Z", "2024-01-01T00:00:00.500Z"))
    for place, key in enumerate((short, long)):
        log.send(key, value("c", {**key, "text": "a"}, (10, 20 + place)))
    log.send(long, b"\xff")
    assert {row.key.text: row.tainted for row in log.state.rows()} == {short["id"]: False, long["id"]: True}
