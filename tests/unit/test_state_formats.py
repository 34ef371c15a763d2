"""A record of a newer release is refused by name, never guessed at."""

import json

import pytest

from core.errors import ConfigurationError
from core.keys import RowKey
from core.state import (
    PROGRESS_KEY,
    TRUNCATE_KEY,
    Removed,
    StateRow,
    Truncate,
    decode_state,
    encode_state,
)
from core.state_table import StateTable
from core.version import LIMIT, epoch_of, version

KEY = RowKey.of({"id": 1})


@pytest.mark.parametrize("key", [KEY.canonical, PROGRESS_KEY])
def test_a_newer_format_is_refused(key: bytes) -> None:
    with pytest.raises(ConfigurationError, match="format 99 is newer"):
        decode_state(key, json.dumps({"f": 99, "v": "other"}).encode())


def test_a_tombstone_removes_nothing_newer() -> None:
    table = StateTable()
    table.apply(0, 0, StateRow(KEY, 7, {}, resolved_at=3))
    assert table.apply(0, 1, Removed(KEY, 6)) == []
    assert len(table) == 1
    assert table.regressed == {KEY.canonical}, "compaction would keep the tombstone: publish the row again"
    assert [(row.deleted, row.resolved_at) for row in table.apply(0, 2, Removed(KEY, 7))] == [(True, 3)]
    assert len(table) == 0


@pytest.mark.parametrize("truncate_first", [True, False])
def test_the_grave_of_a_truncated_row_is_as_old_as_the_truncate(truncate_first: bool) -> None:
    """Compaction keeps either order. A row that was deleted before, or came late, has its own age."""
    rows = [
        StateRow(RowKey.of({"id": number}), 7, {}, deleted, resolved_at=at)
        for number, deleted, at in ((1, False, 100), (2, True, 100), (3, False, 900))
    ]
    truncate = decode_state(*encode_state(Truncate(8, resolved_at=500)))
    table = StateTable()
    for offset, record in enumerate([truncate, *rows] if truncate_first else [*rows, truncate]):
        table.apply(0, offset, record)
    found = [table.get(row.key.canonical) for row in rows]
    assert [(row.deleted, row.resolved_at) for row in found if row] == [(True, 500), (True, 100), (True, 900)]


def test_a_truncate_that_an_older_release_wrote_leaves_the_graves_their_rows_ages() -> None:
    table = StateTable()
    table.apply(0, 0, StateRow(KEY, 7, {}, resolved_at=100))
    table.apply(0, 1, decode_state(TRUNCATE_KEY, b'{"f":1,"v":8,"p":"0/1E","at":9999}'))
    row = table.get(KEY.canonical)
    assert row is not None
    assert (row.deleted, row.resolved_at) == (True, 100)


def test_a_version_orders_epochs_before_offsets_and_stays_exact() -> None:
    assert version(1, 0) > version(0, 2**40 - 1)
    assert epoch_of(version(5, 3)) == 5
    with pytest.raises(ValueError, match="epoch"):
        version(LIMIT >> 40, 0)
    with pytest.raises(ValueError, match="offset"):
        version(0, 2**40)
