"""State records are read back as written, and any order of records gives the same newest rows."""

from hypothesis import given
from hypothesis import strategies as st

from core.errors import TailraceError
from core.keys import RowKey
from core.state import (
    Progress,
    Removed,
    Seen,
    StateRow,
    Truncate,
    decode_state,
    encode_state,
    encode_tombstone,
)
from core.state_table import StateTable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.builds(
    StateRow,
    key=st.integers(0, 3).map(lambda number: RowKey.of({"id": number})),
    version=st.integers(0, 50),
    columns=st.dictionaries(st.text("ab", min_size=1, max_size=2), JSON, max_size=3),
    deleted=st.booleans(),
    streamed=st.none() | st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)),
    position=st.text(max_size=5),
    committed_at=st.integers(0, 2**45),
    resolved_at=st.integers(0, 2**45),
    tainted=st.booleans(),
)


POSITIONS = st.none() | st.tuples(st.integers(0, 2**63), st.integers(0, 2**63))
TRUNCATES = st.builds(Truncate, st.integers(0, 9), streamed=POSITIONS, resolved_at=st.integers(0, 2**45))
SEEN = st.none() | st.builds(Seen, POSITIONS, st.integers(0, 2**45), POSITIONS, st.booleans())


@given(ROWS | TRUNCATES | st.builds(Progress, st.integers(0, 9), seen=SEEN))
def test_a_record_is_read_back(record: StateRow | Truncate | Progress) -> None:
    assert decode_state(*encode_state(record)) == record


@given(st.integers(0, 2**52))
def test_a_tombstone_names_the_version_it_removes(version: int) -> None:
    removed = Removed(RowKey.of({"id": 1}), version)
    key, value, headers = encode_tombstone(removed)
    assert decode_state(key, value, dict(headers)) == removed


@given(st.binary(max_size=60), st.binary(max_size=60) | st.none())
def test_any_bytes_are_a_record_or_an_error_of_ours(key: bytes, value: bytes | None) -> None:
    try:
        decode_state(key, value, {})
    except TailraceError:
        return


@given(st.lists(ROWS, max_size=12), st.randoms(use_true_random=False))
def test_the_highest_version_wins_in_any_order(rows: list[StateRow], chance: object) -> None:
    newest: dict[bytes, int] = {}
    for row in rows:
        canonical = row.key.canonical
        newest[canonical] = max(newest.get(canonical, -1), row.version)
    shuffled = list(rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    table = StateTable()
    for offset, row in enumerate(shuffled):
        table.apply(0, offset, row)
    assert {key: held.row.version for key, held in table.items()} == newest


@given(st.lists(ROWS, max_size=12), st.integers(0, 50), st.integers(0, 12))
def test_a_truncate_kills_what_is_below_it_wherever_it_stands(
    rows: list[StateRow], version: int, place: int
) -> None:
    records: list[StateRow | Truncate] = list(rows)
    records.insert(min(place, len(records)), Truncate(version))
    table = StateTable()
    for offset, record in enumerate(records):
        table.apply(0, offset, record)
    assert all(row.deleted for row in table.rows() if row.version < version)


@given(st.lists(ROWS, min_size=1, max_size=12))
def test_a_key_is_regressed_until_its_highest_version_stands_last(rows: list[StateRow]) -> None:
    table = StateTable()
    for offset, row in enumerate(rows):
        table.apply(0, offset, row)
    last = {row.key.canonical: row.version for row in rows}
    behind = {key for key, held in table.items() if last[key] < held.row.version}
    assert table.regressed == behind
    for key in list(table.regressed):
        highest = table.get(key)
        assert highest is not None
        table.apply(0, len(rows), highest)
    assert not table.regressed


MARKS = st.builds(Truncate, st.integers(1, 20)) | st.builds(Progress, st.integers(0, 20))


@given(st.lists(st.tuples(st.integers(0, 1), ROWS | MARKS), max_size=14))
def test_what_compaction_leaves_of_a_repaired_log_is_what_the_log_said(
    log: list[tuple[int, StateRow | Truncate | Progress]],
) -> None:
    """Records of several owners in any order, each late; the repair; then only the last of each key."""
    places = {key: key[-1] % 2 for key in (row.key.canonical for _, row in log if isinstance(row, StateRow))}
    log = [(places[one.key.canonical] if isinstance(one, StateRow) else at, one) for at, one in log]
    table = StateTable()
    for offset, (partition, record) in enumerate(log):
        table.apply(partition, offset, record)
    for key in set(table.regressed):
        held = table.held(key)
        assert held is not None
        log.append((held.partition, held.row))
    log += table.regressed_marks
    for offset, (partition, record) in enumerate(log):
        table.apply(partition, offset, record)
    assert not table.regressed
    assert not table.regressed_marks
    last = {(partition, encode_state(record)[0]): (n, record) for n, (partition, record) in enumerate(log)}
    fresh = StateTable()
    for (partition, _), (offset, record) in last.items():
        fresh.apply(partition, offset, record)
    assert {k: (h.row.version, h.row.deleted) for k, h in fresh.items()} == {
        k: (h.row.version, h.row.deleted) for k, h in table.items()
    }
    assert {n: fresh.dead_below(n) for n in (0, 1)} == {n: table.dead_below(n) for n in (0, 1)}
    assert {n: mark.version for n, mark in fresh.progress.items()} == {
        n: mark.version for n, mark in table.progress.items()
    }
