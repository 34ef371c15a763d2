"""State views: which rows an entry shows, in which order, to whom."""

import random
import time
from dataclasses import replace

import pytest

from core.errors import ContractError
from core.keys import RowKey
from core.settings import StateView as ViewSettings
from core.state import Json, StateRow
from embed.model import Scope
from retrieve.views import LONG, View

ANY = Scope(None)


class Rows:
    """A view and the rows it is over."""

    def __init__(self, **settings: object) -> None:
        self.view = View("v", ViewSettings.model_validate({"table": "shop.public.orders", **settings}))
        self.rows: dict[bytes, StateRow] = {}

    def put(self, key: int, version: int = 1, *, deleted: bool = False, **columns: Json) -> None:
        row = StateRow(RowKey.of({"id": key}), version, {"id": key, **columns}, deleted=deleted)
        self.rows[row.key.canonical] = row
        self.view.apply(row)

    def ids(self, key: str, scope: Scope = ANY, **claims: str) -> list[Json]:
        return [row["id"] for row in self.view.entry(key, scope, claims, self.rows.get)]


def test_rows_come_in_order_up_to_the_limit() -> None:
    rows = Rows(by=["customer"], order_by="-total", limit=3)
    for key, total in enumerate(["9.50", "100.00", None, "20.00", 30, "20.0"], start=1):
        rows.put(key, customer=7, total=total)
    assert rows.ids("7") == [2, 5, 4]  # decimals as numbers, ties by key
    rows = Rows(by=["customer"], order_by="total")
    for key, total in enumerate(["9.50", "100.00", None, "20.00"], start=1):
        rows.put(key, customer=7, total=total)
    assert rows.ids("7") == [1, 4, 2, 3]  # nulls last here too


def test_texts_order_as_texts_in_both_directions() -> None:
    for order_by, expected in (("at", [2, 1, 3]), ("-at", [1, 2, 3])):
        rows = Rows(by=["customer"], order_by=order_by)
        for key, at in ((1, "2026-02-01T00:00:00Z"), (2, "2026-01-01T00:00:00Z"), (3, None)):
            rows.put(key, customer=7, at=at)
        assert rows.ids("7") == expected


def test_half_a_second_past_is_later_than_the_second() -> None:
    for order_by, expected in (("at", [1, 2]), ("-at", [2, 1])):
        rows = Rows(by=["customer"], order_by=order_by)
        rows.put(1, customer=7, at="2026-01-01T00:00:00Z")
        rows.put(2, customer=7, at="2026-01-01T00:00:00.5Z")
        assert rows.ids("7") == expected


def test_a_row_moves_leaves_and_comes_back() -> None:
    rows = Rows(by=["customer"])
    rows.put(1, customer=7)
    rows.put(1, customer=8)
    assert (rows.ids("7"), rows.ids("8")) == ([], [1])
    rows.put(1, customer=None)
    assert rows.ids("8") == []
    rows.put(1, customer=8)
    rows.put(1, customer=8, deleted=True)
    assert (rows.ids("8"), len(rows.view)) == ([], 0)


def test_an_entry_of_several_columns_is_named_by_all_of_them() -> None:
    rows = Rows(by=["region", "customer"])
    rows.put(1, region="eu,west", customer=7)
    rows.put(2, region="eu", customer=7)
    assert rows.ids('customer=7,region="eu,west"') == [1]
    assert rows.ids("region=eu,customer=7") == [2]
    for wrong in ("7", "customer=7", "customer=7,region=eu,x=1"):
        with pytest.raises(ContractError, match=r"customer=…,region=…|column=value"):
            rows.ids(wrong)


def test_a_number_and_its_text_name_the_same_entry() -> None:
    rows = Rows(by=["customer"])
    rows.put(1, customer="42")
    assert rows.ids("42") == rows.ids('"42"') == [1]
    assert rows.ids("42.0") == []


def test_another_tenants_entry_looks_like_an_absent_one() -> None:
    rows = Rows(by=["customer"], tenant="tenant", limit=1)
    rows.put(1, customer=7, tenant=1)
    rows.put(2, customer=7, tenant=2)
    rows.put(3, customer=8, tenant=None)
    assert rows.ids("7", Scope("1")) == [1]  # the limit counts the tenant's own rows
    assert rows.ids("7", Scope("2")) == [2]
    assert rows.ids("7", Scope("3")) == rows.ids("99", Scope("1")) == []
    assert rows.ids("7", Scope(None)) == rows.ids("8", Scope(None)) == rows.ids("8", Scope("None")) == []


def test_a_view_that_cannot_be_scoped_is_refused_to_scoped_callers() -> None:
    rows = Rows(by=["customer"])
    rows.put(1, customer=7)
    assert rows.ids("7") == [1]
    with pytest.raises(ContractError, match=r"add `tenant: <column>` to state\.v"):
        rows.ids("7", Scope("1"))


def test_a_claim_must_equal_the_key() -> None:
    rows = Rows(by=["customer"], claim="sub")
    rows.put(1, customer=7)
    assert rows.ids("7", Scope("1"), sub="7") == [1]
    for claims in ({}, {"sub": "8"}, {"other": "7"}):
        with pytest.raises(ContractError, match="'sub'"):
            rows.ids("7", Scope("1"), **claims)


def test_only_the_columns_asked_for_are_shown() -> None:
    rows = Rows(by=["customer"], columns=["id", "status"])
    rows.put(1, customer=7, note="x")
    assert rows.view.entry("7", ANY, {}, rows.rows.get) == ({"id": 1, "status": None},)


def test_any_order_of_changes_gives_what_a_sort_gives() -> None:
    chance = random.Random(1)  # noqa: S311 - repeatable
    rows = Rows(by=["customer"], order_by="-total", limit=100)
    totals: list[Json] = [None, 1, "2.5", "2.50", "x", "y", True, 3.5, [1]]
    for _ in range(2000):
        total: Json = chance.choice(totals)
        rows.put(
            chance.randrange(60), customer=chance.randrange(3), total=total, deleted=chance.random() < 0.2
        )
    for customer in range(3):
        fresh = Rows(by=["customer"], order_by="-total", limit=100)
        for row in rows.rows.values():
            fresh.view.apply(row)
        expected = fresh.view.entry(str(customer), ANY, {}, rows.rows.get)
        assert rows.view.entry(str(customer), ANY, {}, rows.rows.get) == expected
        live = [r for r in rows.rows.values() if r.columns["customer"] == customer and not r.deleted]
        assert len(expected) == len(live) > 0


def _open(count: int) -> list[StateRow]:
    chance = random.Random(1)  # noqa: S311 - repeatable
    return [
        StateRow(RowKey.of({"id": n}), 1, {"id": n, "status": "open", "total": chance.random()})
        for n in range(count)
    ]


@pytest.mark.parametrize("order_by", ["-id", "id", "-total"])
def test_an_entry_of_very_many_rows_is_in_order_and_can_be_emptied(order_by: str) -> None:
    view = View("v", ViewSettings(table="shop.public.orders", by=["status"], order_by=order_by, limit=10_000))
    rows = _open(3 * LONG)
    held = {row.key.canonical: row for row in rows}
    for left in (rows, rows[LONG:], rows[-5:], []):
        kept = {row.key for row in left}
        view.apply_all(row if row.key in kept else replace(row, version=2, deleted=True) for row in rows)
        by, down = order_by.removeprefix("-"), order_by.startswith("-")
        expected = sorted(left, key=lambda row: float(str(row.columns[by])), reverse=down)
        shown = view.entry("open", ANY, {}, held.get)
        assert [row["id"] for row in shown] == [row.columns["id"] for row in expected]
        assert len(view) == len(left)


def test_a_row_costs_no_more_in_an_entry_of_very_many() -> None:
    def seconds(count: int) -> float:
        view = View("v", ViewSettings(table="shop.public.orders", by=["status"], order_by="-id"))
        rows = _open(count)
        begun = time.process_time()
        view.apply_all(rows)
        return time.process_time() - begun

    assert seconds(160_000) < 10 * seconds(40_000)  # four times the rows; a list would take 14 times as long
