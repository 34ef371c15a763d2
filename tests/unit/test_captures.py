"""What a real connector sent becomes the rows that the database had (tests/fixtures/captures)."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.keys import RowKey, TableId
from core.settings import Source
from core.state import StateRow
from core.state_table import StateTable
from ingest.guard_alarm import GuardAlarm
from ingest.record import RawRecord
from ingest.resolve import Resolved, Resolver

CAPTURES = Path(__file__).parent.parent / "fixtures" / "captures"
TYPED = "__debezium_unavailable_value"
TOASTED = ("body", "jb", "ba", "ta", "ia", "ua", "na", "hs")
Row = dict[str, Any]
OnRestart = Callable[["Table"], None]


class Table:
    """One table followed through a capture: the line number is the offset."""

    def __init__(self, name: str, **settings: Any) -> None:
        source = Source(prefix="lab", tables=[name], **settings)
        self.name = name
        self.state = StateTable()
        self.outcomes: list[Resolved] = []
        self.resolver = Resolver(TableId("lab", name), source, 0)
        self.alarm = GuardAlarm(f"lab.{name}", source.expected_events_per_second)

    def feed(self, offset: int, line: Row) -> Resolved:
        record = RawRecord(
            line["dest"], 0, offset, 0, _dump(line["key"]), _dump(line["value"]), _headers(line)
        )
        resolved = self.resolver.resolve(record, self.state.get, 0)
        for row in resolved.rows:
            self.state.apply(0, len(self.outcomes), row)
        if resolved.truncate is not None:
            self.state.apply(0, len(self.outcomes), resolved.truncate)
        self.outcomes.append(resolved)
        assert self.alarm.observe(resolved) is None
        return resolved

    def rows(self) -> dict[str, Row]:
        return {row.key.text: dict(row.columns) for row in self.state.rows() if not row.deleted}

    def row(self, **key: int | str) -> StateRow | None:
        return self.state.get(RowKey.of(key).canonical)

    def count(self, outcome: str, kind: str = "") -> int:
        return sum(r.outcome == outcome and kind in ("", r.kind) for r in self.outcomes)


def _dump(value: object) -> bytes | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _headers(line: Row) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, _dump(value) or b"") for name, value in line["headers"].items())


def lines(capture: str) -> Iterator[tuple[int, Row]]:
    with (CAPTURES / f"{capture}.jsonl").open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            yield number, json.loads(line)


def follow(capture: str, name: str, **settings: Any) -> Table:
    table = Table(name, **settings)
    for offset, line in lines(capture):
        if line["dest"] == f"lab.{name}":
            table.feed(offset, line)
    return table


def test_all_operations_on_a_plain_table() -> None:
    table = follow("all-operations", "s.defri")
    rows = {key: (row["req"], row["num"], row["opt"]) for key, row in table.rows().items()}
    assert rows == {
        "2": ("r2", "AfQ=", "post-incr"),
        "5": ("b", "AMg=", "4"),
        "7": ("sp", "ZA==", "upserted"),
        "101": ("c", "ZA==", "x"),
        "102": ("c", "ZA==", "x"),
        "103": ("c", "ZA==", "x"),
    }
    assert table.count("parked") == 0
    assert "extra2" not in table.rows()["2"]


def test_all_operations_carry_unchanged_long_values_across_a_change_of_key() -> None:
    table = follow("all-operations", "s.docs")
    inserted = next(
        line["value"]["after"] for _, line in lines("all-operations") if line["key"] == {"tenant": 1, "id": 1}
    )
    rows = table.rows()
    assert set(rows) == {"id=2,tenant=1", "id=11,tenant=1", "id=1,tenant=2", "id=2,tenant=2"}
    moved = rows["id=11,tenant=1"]
    assert moved["title"] == "t2"
    # numeric[] comes as null when it is unchanged: no decoder can tell, the preflight refuses it.
    assert {name: moved[name] for name in TOASTED if name != "na"} == {
        name: inserted[name] for name in TOASTED if name != "na"
    }
    assert rows["id=2,tenant=1"]["title"] == "inf"
    assert rows["id=2,tenant=1"]["d"] == "infinity"
    assert rows["id=2,tenant=1"]["tz"] == "infinity"
    assert rows["id=2,tenant=2"]["title"] == 'nul? \u200b \U0001f600 "q" \\ \t'
    assert rows["id=2,tenant=2"]["tz"] == "-2023-01-01T00:00:00Z"
    assert rows["id=2,tenant=2"]["f8"] == "-Infinity"
    assert table.count("parked") == 0


def test_truncate_empties_the_table() -> None:
    assert follow("all-operations", "s.fullri").rows() == {}
    keyless = follow("all-operations", "s.nopk")
    assert keyless.rows() == {}
    assert keyless.count("parked") == 2  # no primary key: its rows cannot be followed


def test_other_topics_of_the_connector_change_nothing() -> None:
    for capture in ("all-operations", "blocking-snapshot-open-transaction", "recommended-preset"):
        table = Table("s.docs")
        for offset, line in lines(capture):
            if not line["dest"].startswith("lab.s.") or line["dest"] == "lab.s.sig":
                assert table.feed(offset, line).outcome == "ignored", line["dest"]
        assert table.rows() == {}
        assert table.outcomes


def test_a_blocking_snapshot_loses_no_open_transaction() -> None:
    table = Table("s.docs", placeholder="__unused__")
    titles = []
    for offset, line in lines("blocking-snapshot-open-transaction"):
        if line["dest"] == "lab.s.docs":
            table.feed(offset, line)
            titles.append(table.rows().get("id=2,tenant=1", {}).get("title"))
    assert [title for title in dict.fromkeys(titles) if title] == ["inf", "A-inflight", "B-inflight"]
    rows = table.rows()
    assert set(rows) == {"id=2,tenant=1", "id=11,tenant=1", "id=1,tenant=2", "id=2,tenant=2"}
    assert rows["id=2,tenant=1"]["note"] == TYPED
    assert rows["id=2,tenant=1"]["d"] == "infinity"
    assert rows["id=11,tenant=1"]["body"] == "B" * 90


def test_an_incremental_snapshot_loses_no_open_transaction() -> None:
    table = Table("s.defri")
    seen = []
    for offset, line in lines("incremental-snapshot-open-transaction"):
        if line["dest"] == "lab.s.defri":
            table.feed(offset, line)
            seen.append(table.rows().get("2", {}).get("opt"))
    assert list(dict.fromkeys(seen)) == ["h", "B2-inflight"]
    assert {key: row["opt"] for key, row in table.rows().items()} == {
        "2": "B2-inflight",
        "5": "w300",
        "7": "upserted",
        "101": "x",
        "102": "x",
        "900": "pre",
    }
    assert table.count("superseded") == 0


@pytest.mark.parametrize("name", ["s.fullri", "s.part_a", "s.part_b"])
def test_tables_emptied_by_moves_and_truncates(name: str) -> None:
    table = follow("incremental-snapshot-open-transaction", name)
    assert table.rows() == {}
    assert table.outcomes


def test_updates_without_a_prior_row_are_parked() -> None:
    table = follow("incremental-snapshot-open-transaction", "s.docs")
    # (1, 2) holds the default placeholder as typed text: this connector had no token of its own.
    assert set(table.rows()) == {"id=2,tenant=2"}
    assert table.count("parked") == 3
    assert table.count("parked", "ContractError") == 3


def test_no_step_of_a_crash_replay_is_visible() -> None:
    table = Table("s.crash")
    history: list[object] = []
    at_restart: list[list[object]] = []
    for offset, line in lines("crash-replay"):
        if line["dest"] == "RESTART":
            at_restart.append([row.get("v") for row in table.rows().values()])
            continue
        if line["dest"] != "lab.s.crash":
            continue
        before = table.row(id=1)
        resolved = table.feed(offset, line)
        after = table.row(id=1)
        if resolved.outcome == "superseded":
            assert after == before
        if resolved.outcome == "applied" and after is not None:
            history.append("gone" if after.deleted else after.columns["v"])
    assert at_restart == [[102], []]
    assert len(history) == 144
    # inserted n, updated to 100 + n, deleted, n = 1 .. 12, again and again: no step is missing,
    # none comes twice.
    assert history == [step for n in range(50) for step in (n % 12 + 1, 101 + n % 12, "gone")][: len(history)]
    assert table.count("superseded", "guard") == 5


def test_the_recommended_preset() -> None:
    table = follow("recommended-preset", "s.docs", placeholder="__uv_7f3a91c2__")
    snapshot = next(
        line["value"]["after"] for _, line in lines("recommended-preset") if line["dest"] == "lab.s.docs"
    )
    rows = table.rows()
    assert {key: row["title"] for key, row in rows.items()} == {
        "id=11,tenant=1": "iso",
        "id=2,tenant=1": "iso",
        "id=1,tenant=2": "x",
        "id=2,tenant=2": "iso",
    }
    # This connector ran with binary.handling.mode=base64: unchanged bytea is null, like numeric[].
    carried = [name for name in TOASTED if name not in ("ba", "na")]
    assert {name: rows["id=11,tenant=1"][name] for name in carried} == {
        name: snapshot[name] for name in carried
    }
    assert rows["id=2,tenant=1"]["note"] == TYPED
    assert rows["id=2,tenant=1"]["n_free"] == rows["id=2,tenant=2"]["n_free"] == "NAN"
    assert table.count("parked") == 0


def test_infinity_is_one_value_in_snapshot_and_stream() -> None:
    table = Table("s.docs", placeholder="__uv_7f3a91c2__")
    found = set()
    for offset, line in lines("recommended-preset"):
        if line["dest"] == "lab.s.docs" and line["key"] == {"tenant": 1, "id": 2}:
            table.feed(offset, line)
            found.add(table.rows()["id=2,tenant=1"]["d"])
    assert found == {"infinity"}


def test_a_row_moves_between_partitions_and_a_truncate_of_the_root_empties_them() -> None:
    table = Table("s.part", placeholder="__uv_7f3a91c2__")
    steps = []
    for offset, line in lines("recommended-preset"):
        if line["dest"] == "lab.s.part" and line["value"] is not None:
            table.feed(offset, line)
            steps.append(sorted(table.rows()))
    # The truncate of one partition sent nothing: (1, b) stays until the root is truncated.
    assert steps == [["id=1,k=a"], ["id=1,k=a"], [], ["id=1,k=b"], ["id=1,k=b", "id=3,k=a"], []]
