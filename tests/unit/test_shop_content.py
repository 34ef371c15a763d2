"""The sample shop: its content fits its tables, and hangs together."""

import re
from collections import Counter
from collections.abc import Mapping

import pytest

from tailrace.demo.shop import (
    TABLES,
    Shop,
    TableSpec,
    check_row,
    load_shop,
    parse_document,
    schema_sql,
)

ORDER: Mapping[str, object] = {
    "id": 1,
    "customer_id": 2,
    "product_id": 3,
    "status": "packed",
    "eta": None,
    "total": "4.50",
    "updated_at": "2026-11-01T09:00:00Z",
}
PRODUCT = """---
id: 7
name: Peg
category: tents
price: "1.20"
in_stock: 3
---

A peg.

## Details
---
Steel.

"""


@pytest.fixture(scope="module")
def shop() -> Shop:
    return load_shop()


@pytest.mark.parametrize("table", sorted(TABLES))
def test_rows_have_the_columns_of_their_table_and_ids_of_their_own(shop: Shop, table: str) -> None:
    rows = shop.rows(table)
    assert rows
    assert {tuple(row) for row in rows} == {TABLES[table].columns}
    assert len({row["id"] for row in rows}) == len(rows)


def test_the_shop_is_large_enough_to_search(shop: Shop) -> None:
    documents = [*shop.articles, *shop.products]
    assert len(documents) >= 60
    assert len({row["id"] for row in documents}) == len(documents)
    assert sum(len(str(row["body"]).split()) > 2000 for row in shop.articles) >= 4


def test_products_are_distinct_and_described_at_length(shop: Shop) -> None:
    assert [row["id"] for row in shop.products] == list(range(201, 231))
    assert len({row["name"] for row in shop.products}) == 30
    for row in shop.products:
        description = str(row["description"])
        assert 200 <= len(description.split()) <= 350, row["name"]
        assert description == description.strip()
        assert len(re.findall(r"^## ", description, re.MULTILINE)) >= 3, row["name"]
        assert "## Details" in description


def test_every_order_is_by_a_customer_for_a_product_at_its_price(shop: Shop) -> None:
    customers = {row["id"] for row in shop.customers}
    prices = {row["id"]: row["price"] for row in shop.products}
    assert [row["id"] for row in shop.orders] == list(range(5001, 5121))
    assert len({row["updated_at"] for row in shop.orders}) == len(shop.orders)
    for order in shop.orders:
        assert order["customer_id"] in customers
        assert order["total"] == prices[order["product_id"]]
        assert order["eta"] is None or str(order["eta"])[:7] in {"2026-11", "2026-12"}
    assert {row["status"] for row in shop.orders} == {
        "processing",
        "packed",
        "shipped",
        "delivered",
        "cancelled",
    }


def test_customer_42_waits_for_one_order_and_has_two(shop: Shop) -> None:
    assert [row["id"] for row in shop.customers] == list(range(1, 43))
    assert all(str(row["email"]).endswith("@example.org") for row in shop.customers)
    orders = {row["id"]: row for row in shop.orders if row["customer_id"] == 42}
    waiting = orders[5042]
    assert (waiting["status"], waiting["eta"]) == ("processing", "2026-11-27")
    assert Counter(row["status"] for row in orders.values()) == {"processing": 1, "delivered": 2}


def test_every_load_gives_the_same_rows_and_none_is_shared(shop: Shop) -> None:
    again = load_shop()
    assert again == shop
    again.orders[0]["status"] = "lost"
    assert shop.orders[0]["status"] != "lost"


def test_schema_creates_exactly_the_tables() -> None:
    found = {}
    statement = r"CREATE TABLE IF NOT EXISTS public\.(\w+) \(\n(.*?)\n\);"
    for name, body in re.findall(statement, schema_sql(), re.DOTALL):
        columns = [line.strip(" ,").split(" ", 1) for line in body.splitlines()]
        found[name] = TableSpec(
            name,
            key=tuple(column for column, rest in columns if "PRIMARY KEY" in rest),
            types={
                column: re.split(r" (?:PRIMARY|NOT)\b", rest)[0].replace(", ", ",")
                for column, rest in columns
            },
            nullable=frozenset(
                column for column, rest in columns if not re.search("PRIMARY KEY|NOT NULL", rest)
            ),
        )
    assert found == dict(TABLES)


def test_a_document_is_its_front_matter_and_the_text_below() -> None:
    row = parse_document(PRODUCT, TABLES["products"], "description", source="p.md")
    assert row == {
        "id": 7,
        "name": "Peg",
        "description": "A peg.\n\n## Details\n---\nSteel.",
        "category": "tents",
        "price": "1.20",
        "in_stock": 3,
        "updated_at": "2026-09-01T19:19:00Z",
    }


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("---\nid", "id", "no front matter"),
        ("name: Peg", "name: [Peg", "not valid YAML"),
        ('id: 7\nname: Peg\ncategory: tents\nprice: "1.20"\nin_stock: 3', "Peg", "no mapping"),
        ("in_stock: 3\n", "", "in_stock missing"),
        ("in_stock: 3", "in_stock: 3\nweight: 9", "weight unknown"),
        ("in_stock: 3", "in_stock: true", "in_stock is True"),
        ('price: "1.20"', "price: 1.20", "price is 1.2"),
        ("in_stock: 3", "in_stock: 3\ndescription: x", "description must not be"),
        ("id: 7", "id: seven", "id is 'seven'"),
        ("A peg.\n\n## Details\n---\nSteel.", "", "description is ''"),
    ],
)
def test_a_broken_document_is_named(old: str, new: str, complaint: str) -> None:
    assert old in PRODUCT
    broken = PRODUCT.replace(old, new)
    with pytest.raises(ValueError, match=rf"^p\.md: {complaint}"):
        parse_document(broken, TABLES["products"], "description", source="p.md")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", None),
        ("id", True),
        ("status", " "),
        ("eta", "2026-11-31"),
        ("eta", "2026-1-5"),
        ("total", "4.5"),
        ("total", 4.5),
        ("updated_at", "2026-11-01T09:00:00"),
        ("updated_at", None),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_refused(column: str, value: object) -> None:
    assert check_row(ORDER, TABLES["orders"], source="orders.yaml") == ORDER
    with pytest.raises(ValueError, match=rf"^orders\.yaml: {column} is "):
        check_row({**ORDER, column: value}, TABLES["orders"], source="orders.yaml")
