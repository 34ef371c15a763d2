"""Rows as the snapshots of two connectors read them."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.unit.resolve_world import value

POSTGRES: Final = "postgresql"
MARIADB: Final = "mariadb"
both = pytest.mark.parametrize("connector", [POSTGRES, MARIADB])


def read(connector: str, nr: int, at: int, mark: str, commit: int | None = None) -> dict[str, Any]:
    """A row as a snapshot at `at` reads it; `commit` where the connector has streamed before."""
    after = {"id": nr, "text": f"row {nr} at {at}"}
    if connector == POSTGRES:
        made = value("r", after, (commit, at), ts_ms=at)
    else:
        where = {"connector": MARIADB, "db": "public", "table": "notes", "file": "binlog.000001", "pos": at}
        served = {"server_id": 0, "gtid": None} if commit is None else {"server_id": 4711, "gtid": "0-4711-9"}
        made = {"op": "r", "after": after, "source": {**where, **served, "row": 0, "ts_ms": at}}
    made["source"] |= {"snapshot": mark, "name": "shop"}
    return made


def attempt(connector: str, numbers: list[int], at: int, *, whole: bool = True) -> Iterator[dict[str, Any]]:
    """The rows of a table that is neither the first nor the last one of its snapshot."""
    for place, nr in enumerate(numbers):
        last = whole and place == len(numbers) - 1
        mark = "first_in_data_collection" if place == 0 else "true"
        yield read(connector, nr, at, "last_in_data_collection" if last else mark)
