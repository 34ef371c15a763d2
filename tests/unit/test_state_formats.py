"""A record of a newer release is refused by name, never guessed at."""

import json

import pytest

from core.errors import ConfigurationError
from core.keys import RowKey
from core.state import PROGRESS_KEY, Removed, StateRow, decode_state
from core.state_table import StateTable
from core.version import LIMIT, epoch_of, version

KEY = RowKey.of({"id": 1})


@pytest.mark.parametrize("key", [KEY.canonical, PROGRESS_KEY])
def test_a_newer_format_is_refused(key: bytes) -> None:
    with pytest.raises(ConfigurationError, match="format 99 is newer"):
        decode_state(key, json.dumps({"f": 99, "v": "other"}).encode())


def test_a_tombstone_removes_nothing_newer() -> None:
    table = StateTable()
    table.apply(0, 0, StateRow(KEY, 7, {}))
    assert table.apply(0, 1, Removed(KEY, 6)) == []
    assert len(table) == 1
    assert table.regressed == {KEY.canonical}, "compaction would keep the tombstone: publish the row again"
    assert [row.deleted for row in table.apply(0, 2, Removed(KEY, 7))] == [True]
    assert len(table) == 0


def test_a_version_orders_epochs_before_offsets_and_stays_exact() -> None:
    assert version(1, 0) > version(0, 2**40 - 1)
    assert epoch_of(version(5, 3)) == 5
    with pytest.raises(ValueError, match="epoch"):
        version(LIMIT >> 40, 0)
    with pytest.raises(ValueError, match="offset"):
        version(0, 2**40)
