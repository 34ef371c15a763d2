"""Where a resync begins to read."""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ingest.record import RawRecord
from ingest.snapshots import NewestSnapshot
from tests.unit.resolve_world import SOURCE, TABLE, raw, value
from tests.unit.snapshot_world import MARIADB, POSTGRES, attempt, both, read


def start(sent: Iterable[dict[str, Any]], first: int = 0) -> int | None:
    newest = NewestSnapshot(SOURCE, TABLE)
    for offset, one in enumerate(sent, first):
        newest.take(raw(offset, {"id": one["after"]["id"]}, one))
    return newest.start


def streamed(connector: str, at: int) -> dict[str, Any]:
    if connector == POSTGRES:
        return value("u", {"id": 1, "text": f"at {at}"}, (at - 1, at), ts_ms=at)
    made = read(connector, 1, at, "false", commit=at)
    return made | {"op": "u"}


@both
def test_it_begins_at_the_snapshot_that_was_taken_last(connector: str) -> None:
    first, second = attempt(connector, [1, 2, 3], at=100), attempt(connector, [2, 3], at=300)
    log = [*first, streamed(connector, 150), *second, streamed(connector, 350)]
    assert start(log) == 4
    assert start(log, first=1000) == 1004
    assert start(log[:4]) == 0


@both
def test_a_restored_database_may_take_it_at_an_earlier_place(connector: str) -> None:
    log = [*attempt(connector, [1, 2], at=900), streamed(connector, 950), *attempt(connector, [1], at=40)]
    assert start(log) == 3


@both
def test_a_topic_without_one_is_read_from_its_first_record(connector: str) -> None:
    incremental = [read(connector, nr, 200, "incremental", commit=190) for nr in (1, 2)]
    blocking = list(attempt_of_one_that_streamed(connector))
    assert start([streamed(connector, 100), *incremental, *blocking]) is None


def attempt_of_one_that_streamed(connector: str) -> Iterable[dict[str, Any]]:
    return [read(connector, nr, 300, "true", commit=290) for nr in (1, 2)]


@both
def test_what_a_connector_that_was_replaced_sends_late_does_not_hide_a_row(connector: str) -> None:
    old, new = list(attempt(connector, [1, 2, 3], at=100)), list(attempt(connector, [1, 2], at=300))
    assert start([*old[:2], *new, old[2]]) == 0
    assert start([*old[:2], new[0], old[2], new[1]]) == 2
    assert start([*old, new[0], new[0], new[1]]) == 3


@given(st.lists(st.sampled_from([100, 200, 300]), max_size=30))
def test_no_row_of_the_last_snapshot_stands_before_it(places: list[int]) -> None:
    found = start(read(POSTGRES, 1, at, "true") for at in places)
    assert found == (places.index(places[-1]) if places else None)


def test_what_cannot_be_read_is_passed_over() -> None:
    newest = NewestSnapshot(SOURCE, TABLE)
    newest.take(RawRecord("shop.public.notes", 0, 0, 0, b"{", b"{"))
    newest.take(RawRecord("shop.public.notes", 0, 1, 0, None, None))
    newest.take(raw(2, {"id": 1}, read(MARIADB, 1, 5, "first")))
    assert newest.start == 2
