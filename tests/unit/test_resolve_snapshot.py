"""A connector's first snapshot that broke off and begins anew: what only the first attempt read is gone."""

from typing import Any

import pytest

from core.errors import ContractError
from core.state import Progress, Truncate, decode_state, encode_state
from core.version import version
from ingest.course import seen_before
from ingest.resolve import Resolver
from tests.unit.resolve_world import SOURCE, TABLE, Log, raw, value
from tests.unit.snapshot_world import POSTGRES, attempt, both, read


def send(log: Log, sent: dict[str, Any]) -> Truncate | None:
    return log.send({"id": sent["after"]["id"]}, sent).truncate


def restarted(log: Log) -> None:
    """Another worker goes on, from what the progress record says."""
    progress = decode_state(*encode_state(Progress(0, seen=log.resolver.seen)))
    assert isinstance(progress, Progress)
    log.resolver = Resolver(TABLE, SOURCE, 0, log.state.truncate, seen=progress.seen)


@both
@pytest.mark.parametrize("whole", [False, True], ids=["broke off in this table", "in a later one"])
@pytest.mark.parametrize("restarts", [False, True])
def test_rows_deleted_around_a_snapshot_that_broke_off_are_gone(
    connector: str, whole: bool, restarts: bool
) -> None:
    """No event ever tells of such a delete: streaming begins where the new snapshot stands."""
    log = Log()
    made = []
    for sent in [
        *attempt(connector, [1, 2, 3, 4], at=100, whole=whole),
        *attempt(connector, [3, 4, 5], at=200, whole=False),
        *attempt(connector, [4, 5, 6], at=300),
    ]:
        made.append(send(log, sent))
        if restarts:
            restarted(log)
    second, third = Truncate(4, resolved_at=77), Truncate(7, resolved_at=77)
    assert made == [None, None, None, None, second, None, None, third, None, None]
    assert log.live() == {str(nr): f"row {nr} at 300" for nr in (4, 5, 6)}


@both
def test_a_batch_that_was_sent_twice_begins_nothing(connector: str) -> None:
    log = Log()
    first, second = (list(attempt(connector, [1, 2, 3], at=at, whole=False)) for at in (100, 200))
    for sent in [*first, *first, *second, *second[:2], *second, *first[1:]]:
        made = send(log, sent)
        assert (made is not None) == (log.offset == 6)
    assert set(log.live()) == {"1", "2", "3"}


def seen_at(log: Log, offset: int, sent: list[dict[str, Any]]) -> list[Truncate | None]:
    """What the records from `offset` on give when they are read again by the same resolver."""
    return [
        log.take(raw(offset + place, {"id": one["after"]["id"]}, one)).truncate
        for place, one in enumerate(sent)
    ]


@both
def test_records_that_are_read_again_give_what_they_gave(connector: str) -> None:
    """The write may have failed half way, or the offset was not committed."""
    log = Log()
    sent = [*attempt(connector, [1, 2], at=100, whole=False), *attempt(connector, [2, 3], at=200)]
    given = [send(log, one) for one in sent[:2]]
    before = log.resolver.seen
    given += [send(log, one) for one in sent[2:]]
    after = log.resolver.seen
    assert given == [None, None, Truncate(2, resolved_at=77), None]
    assert seen_at(log, 2, sent[2:]) == [Truncate(2, resolved_at=77), None]
    log.resolver = Resolver(TABLE, SOURCE, 0, log.state.truncate, seen=before)
    assert seen_at(log, 0, sent) == [None, None, Truncate(2, resolved_at=77), None]
    log.resolver = Resolver(TABLE, SOURCE, 0, log.state.truncate, seen=after)
    assert seen_at(log, 0, sent) == [None] * 4, "all of it stands in the state topic"
    assert set(log.live()) == {"2", "3"}


@both
def test_a_resync_that_reads_both_attempts_again_ends_the_same(connector: str) -> None:
    log = Log(epoch=1)
    log.state.apply(0, 0, Truncate(version(1, 0)))
    log.resolver = Resolver(TABLE, SOURCE, 1, log.state.truncate)
    for sent in [*attempt(connector, [1, 2], at=100), *attempt(connector, [2, 3], at=200)]:
        send(log, sent)
    assert set(log.live()) == {"2", "3"}


@both
@pytest.mark.parametrize("mark", ["first", "true", "last"])
def test_a_blocking_snapshot_is_none(connector: str, mark: str) -> None:
    """It may read a part of the table; the connector has streamed, if nothing of this table."""
    log = Log()
    for sent in attempt(connector, [1, 2, 3], at=100):
        send(log, sent)
    assert send(log, read(connector, 2, 200, mark, commit=150)) is None
    assert send(log, read(connector, 2, 300, mark)) is None, "streaming has begun"
    assert set(log.live()) == {"1", "2", "3"}


@both
def test_an_incremental_snapshot_is_none(connector: str) -> None:
    log = Log()
    for sent in attempt(connector, [1, 2, 3], at=100):
        send(log, sent)
    assert send(log, read(connector, 2, 200, "incremental")) is None
    assert send(log, read(connector, 3, 300, "incremental", commit=250)) is None
    assert set(log.live()) == {"1", "2", "3"}


@pytest.mark.parametrize("op", ["c", "d", "t"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_snapshot_after_the_table_was_streamed_buries_nothing(op: str, restarts: bool) -> None:
    log = Log()
    for sent in attempt(POSTGRES, [1, 2], at=100):
        send(log, sent)
    key = None if op == "t" else {"id": 3}
    log.send(key, value(op, {"id": 3, "text": "streamed"} if op == "c" else None, (110, 120)))
    if restarts:
        restarted(log)
    live = set(log.live())
    assert send(log, read(POSTGRES, 2, 200, "first")) is None
    assert set(log.live()) == live | {"2"}


@both
def test_a_snapshot_of_another_connector_buries_nothing(connector: str) -> None:
    """Two databases with the same tables may be routed to one topic."""
    log = Log()
    for nr in range(4):
        sent = read(connector, nr, 100 * (1 + nr % 2), "true")
        sent["source"]["name"] = ("shop", "other")[nr % 2]
        assert send(log, sent) is None
    assert len(log.live()) == 4


def test_rows_of_an_older_attempt_that_come_late_bury_nothing() -> None:
    """A Connect worker that was cut off may go on sending for a while."""
    log = Log()
    for nr, at in [(1, 100), (2, 200), (3, 100), (4, 200), (5, 100)]:
        assert (send(log, read(POSTGRES, nr, at, "true")) is not None) == (nr == 2)
    assert set(log.live()) == {"2", "3", "4", "5"}


def test_a_row_that_cannot_be_applied_begins_a_snapshot_too() -> None:
    log = Log()
    for sent in attempt(POSTGRES, [1, 2], at=100, whole=False):
        send(log, sent)
    log.resolver = Resolver(TABLE, SOURCE, 0, log.state.truncate, (("key", str),), log.resolver.seen)
    resolved = log.send({"id": 2}, read(POSTGRES, 2, 200, "first"))
    assert (type(resolved.error), resolved.truncate) == (ContractError, Truncate(2, resolved_at=77))
    assert (log.row(2).deleted, log.row(2).tainted) == (False, True), "the database has it"
    assert log.row(1).deleted


def test_what_an_older_release_wrote_begins_no_snapshot() -> None:
    """It did not say whether anything else than a snapshot had come."""
    log = Log()
    for sent in attempt(POSTGRES, [1, 2], at=100, whole=False):
        send(log, sent)
    log.resolver = Resolver(TABLE, SOURCE, 0, None, None, seen_before(Progress(1), 0, log.state.rows()))
    assert send(log, read(POSTGRES, 2, 200, "first")) is None
    assert set(log.live()) == {"1", "2"}
