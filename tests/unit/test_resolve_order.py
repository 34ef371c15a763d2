"""The ordering rule: which record of a key wins, by position, by offset and across epochs."""

import json
from typing import Any

from core.keys import RowKey
from core.state import StateRow
from core.version import version
from ingest.record import RawRecord
from ingest.resolve import Resolved
from tests.unit.resolve_world import Log, raw, value


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


def test_a_row_whose_key_is_an_infinite_date_is_changed_by_the_stream() -> None:
    """Postgres' connector spells such a date in another way in a snapshot than in the stream."""
    log = Log()
    read, streamed = "+292278994-08-16Z", "-5877611-06-21Z"
    log.send({"until": read}, value("r", {"until": read, "text": "a"}, (None, 10)))
    log.send({"until": streamed}, value("u", {"until": streamed, "text": "b"}, (10, 20)))
    assert log.live() == {"infinity": "b"}
    log.send({"until": streamed}, value("d", None, (20, 30)))
    assert log.live() == {}


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
