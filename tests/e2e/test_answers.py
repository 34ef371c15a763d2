"""Answers of the real encoder over the sample shop: they follow the database, and say how fresh they are."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.rest import ConnectClient
from infra.stack import Stack
from tests.e2e.support import Api, eventually, lsn, one_stack, position, say

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with one_stack(tmp_path_factory.mktemp("answers")) as stack:
        stack.up()
        yield stack


@pytest.fixture(scope="module")
def api(shop: Stack) -> Iterator[Api]:
    with Api(shop.http_url) as made:
        yield made


def text_of(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def cited(answer: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["document"], one["key"]) for one in answer["tailrace"]["citations"]}


def test_an_answer_follows_insert_update_and_delete(shop: Stack, api: Api) -> None:
    question = "How many nights does the Kestrel voucher cover?"
    before = api.chat(question)
    assert ("articles", "700001") not in cited(before)
    shop.sql(
        "INSERT INTO articles VALUES (700001, 'Kestrel voucher', 'The Kestrel voucher covers seventeen nights"
        " in any of our mountain huts.', 'vouchers', 'en', true, now())"
    )
    answer = api.chat(question, min_position=position(shop))
    assert answer["tailrace"]["freshness"]["reached_min_position"]
    assert "seventeen nights" in text_of(answer)
    assert ("articles", "700001") in cited(answer)
    shop.sql(
        "UPDATE articles SET body = 'The Kestrel voucher covers nineteen nights in any of our mountain huts.'"
        " WHERE id = 700001"
    )
    answer = api.chat(question, min_position=position(shop))
    assert "nineteen nights" in text_of(answer)
    assert "seventeen nights" not in json.dumps(answer)
    shop.sql("DELETE FROM articles WHERE id = 700001")
    answer = api.chat(question, min_position=position(shop))
    assert answer["tailrace"]["freshness"]["reached_min_position"]
    assert ("articles", "700001") not in cited(answer)
    assert "nineteen nights" not in json.dumps(answer)


def test_the_rows_beside_an_answer_are_the_newest(shop: Stack, api: Api) -> None:
    ((customer, order),) = shop.sql("SELECT customer_id, id FROM orders ORDER BY updated_at DESC, id LIMIT 1")
    for status in ("held at customs", "out for delivery"):
        shop.sql("UPDATE orders SET status = %s, updated_at = now() WHERE id = %s", [status, order])
        found = api.chat(
            "Where is my order?", min_position=position(shop), state={"orders_by_customer": str(customer)}
        )["tailrace"]
        assert found["freshness"]["reached_min_position"]
        (row,) = [row for row in found["state"]["orders_by_customer"] if row["id"] == order]
        assert row["status"] == status


def test_a_commit_on_an_idle_database_is_reached_within_two_seconds(shop: Stack, api: Api) -> None:
    took = []
    for number in range(10):
        shop.sql("UPDATE articles SET title = %s WHERE id = (SELECT min(id) FROM articles)", [f"T {number}"])
        at = position(shop)
        began = time.monotonic()
        found = api.search("T", min_position=at)
        took.append(time.monotonic() - began)
        assert found["freshness"]["reached_min_position"] is True, (number, at, found["freshness"])
        assert lsn(found["freshness"]["as_of"]["shop"]["position"]) >= lsn(at)
    say(f"reached after {min(took):.2f} to {max(took):.2f} s")
    assert max(took) < 2.0


def test_a_position_of_the_future_is_not_reached_and_says_so_in_time(shop: Stack, api: Api) -> None:
    high, _, low = position(shop).partition("/")
    began = time.monotonic()
    found = api.search("tent", min_position=f"{int(high, 16) + 1:X}/{low}")
    assert found["freshness"]["reached_min_position"] is False
    assert time.monotonic() - began < 4.0
    assert found["hits"], "old evidence with a true statement is better than none"


def test_with_the_connector_stopped_the_service_stays_ready_and_says_how_old_it_is(
    shop: Stack, api: Api
) -> None:
    with ConnectClient(shop.connect_url, patience=20.0) as client, contextlib.ExitStack() as after:
        client.stop(shop.connector)
        after.callback(client.resume, shop.connector)
        eventually(lambda: not shop.status()[3].up, within_s=20, what="the connector does not stop")
        shop.sql("UPDATE articles SET title = 'Unseen' WHERE id = (SELECT min(id) FROM articles)")
        at = position(shop)
        found = api.search("tent", min_position=at)
        freshness = found["freshness"]
        assert freshness["reached_min_position"] is False, freshness
        assert lsn(freshness["as_of"]["shop"]["position"]) < lsn(at), "claims what it cannot know"
        assert freshness["source_status"]["shop"] == "unreachable", freshness
        assert api.ready() == 200
        assert found["hits"]
    eventually(
        lambda: api.search("tent", min_position=at)["freshness"]["reached_min_position"] is True,
        within_s=60,
        what=lambda: f"not reached after the connector came back: {api.freshness()}",
    )
    assert api.freshness()["source_status"]["shop"] == "ok"
