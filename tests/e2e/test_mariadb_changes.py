"""MariaDB through Debezium, from COMMIT to index, state and answer, on the real stack."""

import json
import time
from collections import Counter
from typing import Any, Final

import pytest

from infra.stack.config import MARIADB_TABLES
from tests.e2e.mariadb_oracle import check_all
from tests.e2e.mariadb_world import SOURCE, World, arrive, raw_events
from tests.e2e.support import say

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
SNAPSHOT_ROWS: Final = 1000


def test_a_snapshot_with_live_edits_loses_nothing(mariadb: World) -> None:
    say(f"arrived after {arrive(mariadb):.1f} s")
    read = [event for table in MARIADB_TABLES for event in raw_events(mariadb, table) if event["op"] == "r"]
    assert len(read) >= SNAPSHOT_ROWS
    began, ended = min(e["ts_ms"] for e in read) / 1000, max(e["ts_ms"] for e in read) / 1000
    during = sum(began <= at <= ended for at in mariadb.edits.committed)
    streamed = Counter(e["op"] for table in MARIADB_TABLES for e in raw_events(mariadb, table))
    say(f"{len(read)} rows read in {ended - began:.1f} s, {during} commits meanwhile; events: {streamed}")
    assert streamed["c"] > 10, "not exercised: nothing was streamed"
    assert check_all(mariadb) > SNAPSHOT_ROWS


def test_what_is_inserted_is_found_what_is_updated_changes_what_is_deleted_is_gone(mariadb: World) -> None:
    at = mariadb.run(
        "INSERT INTO articles VALUES (500001, 'Zephyr', 'The zephyrlamp burns for ninety hours.',"
        " 'care', 'en', TRUE, NOW(6))"
    )
    (hit,) = mariadb.hits("zephyrlamp", at)
    assert (hit["key"], "ninety" in hit["text"]) == ("500001", True)
    at = mariadb.run("UPDATE articles SET body = 'The zephyrlamp burns for seventy hours.' WHERE id = 500001")
    (hit,) = mariadb.hits("zephyrlamp", at)
    assert "seventy" in hit["text"]
    at = mariadb.run(
        "REPLACE INTO articles VALUES (500001, 'Zephyr', 'The zephyrlamp is broken.', 'care', 'en', 1, NOW())"
    )
    (hit,) = mariadb.hits("zephyrlamp", at)
    assert "broken" in hit["text"]
    answer = mariadb.ask("What is the zephyrlamp?", at)
    assert "seventy" not in json.dumps(answer)
    assert "500001" in {one["key"] for one in answer["tailrace"]["hits"]}
    at = mariadb.run("UPDATE articles SET id = 500002 WHERE id = 500001")
    (hit,) = mariadb.hits("zephyrlamp", at)
    assert hit["key"] == "500002"
    assert mariadb.api.document("mariadb-articles", 500001) is None
    at = mariadb.run("DELETE FROM articles WHERE id = 500002")
    assert mariadb.hits("zephyrlamp", at) == []
    assert mariadb.api.document("mariadb-articles", 500002) is None


def test_a_swap_of_two_keys_in_one_transaction_ends_right(mariadb: World) -> None:
    row = "'Swap', 'The {} swims.', 'care', 'en', 1, NOW(6)"
    mariadb.run(*(f"INSERT INTO articles VALUES ({key}, {row.format(fish)})" for key, fish in PAIR.items()))
    moves = ((500010, -1), (500011, 500010), (-1, 500011))
    at = mariadb.run(*(f"UPDATE articles SET id = {new} WHERE id = {old}" for old, new in moves))
    assert [hit["key"] for hit in mariadb.hits("redfish", at)] == ["500011"]
    assert [hit["key"] for hit in mariadb.hits("bluefish", at)] == ["500010"]


PAIR: Final = {500010: "redfish", 500011: "bluefish"}


def test_a_text_that_looks_like_a_connectors_placeholder_is_a_text(mariadb: World) -> None:
    placeholder = "__debezium_unavailable_value"
    at = mariadb.run(
        f"INSERT INTO articles VALUES (500020, '{placeholder}', 'The oddfish.', 'care', 'en', 1, NOW(6))"
    )
    (hit,) = mariadb.hits("oddfish", at)
    assert hit["title"] == placeholder


def test_a_truncated_table_is_empty_but_for_what_came_after(mariadb: World) -> None:
    assert len(mariadb.api.keys("mariadb-products")) >= 400
    mariadb.run("TRUNCATE TABLE products")
    at = mariadb.run(
        "INSERT INTO products SELECT seq, 'New', CONCAT('The newthing', seq, ' is new.'), 'tents', 1, 1,"
        " NOW(6) FROM seq_10001_to_10003"
    )
    assert [hit["key"] for hit in mariadb.hits("newthing10002", at)] == ["10002"]
    assert sorted(mariadb.api.keys("mariadb-products")) == ["10001", "10002", "10003"]
    assert Counter(event["op"] for event in raw_events(mariadb, "shop.products"))["t"] == 1


def test_a_transaction_over_two_tables_is_seen_whole_as_of_its_position(mariadb: World) -> None:
    for number in range(1, 6):
        at = mariadb.run(
            f"REPLACE INTO articles VALUES (500005, 'Twin {number}', 'A twinfish.', 'care', 'en', 1, NOW())",
            f"REPLACE INTO orders VALUES (500005, 500005, 201, 'twin {number}', NULL, 1, NOW(6))",
        )
        found = mariadb.search("twinfish", at, state={"mariadb-orders": "500005"})
        assert [hit["title"] for hit in found["hits"] if hit["key"] == "500005"] == [f"Twin {number}"]
        assert [row["status"] for row in found["state"]["mariadb-orders"]] == [f"twin {number}"]


def test_on_an_idle_database_a_position_is_reached_within_seconds(mariadb: World) -> None:
    took = []
    for number in range(5):
        at = mariadb.run(f"UPDATE articles SET title = 'Idle {number}' WHERE id = 101")
        assert at.startswith("0-4711-")
        began = time.monotonic()
        found = mariadb.api.search("parcel", profile="mariadb", min_position={SOURCE: at})
        took.append(time.monotonic() - began)
        assert found["freshness"]["reached_min_position"], found["freshness"]
        position = found["freshness"]["as_of"][SOURCE]["position"]
        assert int(position.split("-")[2]) >= int(at.split("-")[2])
    say(f"idle: a commit's position is reached after {max(took):.2f} s at most")
    assert max(took) < 3
    # What no document is made of moves the position as well, and what writes no row with the next beat.
    mariadb.stack.mariadb.sql("CREATE TABLE IF NOT EXISTS elsewhere (id INT PRIMARY KEY)")
    assert arrive(mariadb) < 5
    assert mariadb.search("parcel", mariadb.run("REPLACE INTO elsewhere VALUES (1)"))


@pytest.mark.parametrize(
    ("position", "why"),
    [
        ("16/B374D848", "an LSN"),
        ("1-4711-5", "GTID domain 1"),
        ("0-4711-5,1-4711-6", "several GTID domains"),
        ("binlog.000001:4", "no position"),
    ],
)
def test_a_position_that_does_not_compare_is_refused_with_the_reason(
    mariadb: World, position: str, why: str
) -> None:
    answer = mariadb.api._ask(
        "POST", "/v1/search", {"query": "x", "profile": "mariadb", "min_position": {SOURCE: position}}
    )
    assert answer.status_code == 422, answer.text
    assert why in answer.text


def test_connect_and_the_server_killed_while_it_is_written_to_lose_nothing(mariadb: World) -> None:
    stack, edits = mariadb.stack, mariadb.edits
    before = len(raw_events(mariadb, "shop.articles"))
    with edits.running():
        for _ in range(2):
            edits.wait(100)
            stack.connect.kill()
            edits.wait(50)
            stack.connect.start()
            edits.wait(100)
    say(f"arrived after {arrive(mariadb):.1f} s")
    replayed = repeated(raw_events(mariadb, "shop.articles")[before:])
    say(f"Connect killed twice: {replayed} changes of articles were sent again")
    stack.mariadb.kill()
    stack.mariadb.start()
    with edits.running():
        edits.wait(50)
    say(f"arrived {arrive(mariadb):.1f} s after the server's restart")
    check_all(mariadb)


def repeated(events: list[dict[str, Any]]) -> int:
    places = Counter((e["source"]["file"], e["source"]["pos"], e["source"]["row"], e["op"]) for e in events)
    return sum(times - 1 for times in places.values())
