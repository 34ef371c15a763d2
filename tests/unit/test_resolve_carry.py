"""Long values that did not change: carried from the row that has them, or the record is parked."""

from typing import Any

import pytest

from core.errors import ContractError
from tests.unit.resolve_world import Log, P, value


def test_nothing_is_carried_across_epochs() -> None:
    old = Log(epoch=0)
    old.put("c", 1, (900, 990), "before")
    log = Log(epoch=1, state=old.state)
    assert log.put("u", 1, (5, 6), P).outcome == "parked"
    assert log.row(1).tainted
    log.put("d", 1, (6, 7), newkey=2)
    assert log.put("c", 2, (6, 7), P, oldkey=1).outcome == "parked"


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
