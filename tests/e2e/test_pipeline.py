"""Every kind of change, from COMMIT to index, state and answer, on the real stack."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from infra.stack import Stack
from tests.e2e.load import Workload, check_answers
from tests.e2e.oracle import check_all, check_index_on_disk, check_rows, check_titles
from tests.e2e.support import (
    HASHING,
    Api,
    committed,
    groups,
    long_text,
    one_stack,
    position,
    raw_end,
    read_topic,
    say,
    wait_arrived,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SNAPSHOT_ROWS: Final = 5000


@dataclass(frozen=True, slots=True)
class World:
    stack: Stack
    api: Api
    workload: Workload


def seed(stack: Stack) -> None:
    """Beside the sample shop 5,000 rows; long texts are kept out of line."""
    stack.sql("ALTER TABLE articles ALTER COLUMN body SET STORAGE EXTERNAL")
    stack.sql("ALTER TABLE products ALTER COLUMN description SET STORAGE EXTERNAL")
    stack.sql(
        "INSERT INTO articles SELECT id, 'Note ' || id, 'Note number ' || id || ' says: keep item' || id"
        " || ' dry. Store it in a cool place.', 'care', 'en', mod(id, 10) <> 0, now()"
        " FROM generate_series(10001, 12500) id"
    )
    stack.sql(
        "INSERT INTO products SELECT id, 'Thing ' || id, 'Thing ' || id || ' weighs ' || mod(id, 900)"
        " || ' grams.', 'tents', mod(id, 700) + 0.5, mod(id, 7), now() FROM generate_series(10001, 11000) id"
    )
    stack.sql(
        "INSERT INTO customers SELECT id, 'Customer ' || id, id || '@example.org', 'Bern', '2026-01-31'"
        " FROM generate_series(10001, 10500) id"
    )
    stack.sql(
        "INSERT INTO orders SELECT id, 10000 + mod(id, 300), 201, 'packed', null, mod(id, 80) + 0.25,"
        " now() + id * interval '1 ms' FROM generate_series(10001, 11000) id"
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything started while the shop was written to: the connector's snapshot met live edits."""
    with contextlib.ExitStack() as stack_of:
        stack = stack_of.enter_context(one_stack(tmp_path_factory.mktemp("pipeline"), HASHING))
        workload = Workload(stack)
        with contextlib.ExitStack() as writing:

            def live_edits() -> None:
                seed(stack)
                writing.enter_context(workload.running())
                workload.wait_commits(50)

            stack.up(before_connector=live_edits)
            workload.wait_answers(200)
        yield World(stack, stack_of.enter_context(Api(stack.http_url)), workload)


def events(stack: Stack, table: str) -> Iterator[dict[str, Any]]:
    for message in read_topic(stack, f"{stack.settings.prefix}.{table}"):
        if message.value() is not None:
            with contextlib.suppress(ValueError):
                yield json.loads(message.value())


def test_a_snapshot_with_live_edits_loses_nothing(world: World) -> None:
    stack = world.stack
    say(f"arrived after {wait_arrived(stack, world.api):.1f} s")
    tables = ("public.articles", "public.products", "public.customers", "public.orders")
    read = [event for table in tables for event in events(stack, table) if event["op"] == "r"]
    assert len(read) >= SNAPSHOT_ROWS
    began, ended = min(e["ts_ms"] for e in read) / 1000, max(e["ts_ms"] for e in read) / 1000
    during = sum(began <= at <= ended for at, _ in world.workload.times)
    say(f"{len(read)} rows were read in {ended - began:.1f} s, {during} changes were committed meanwhile")
    assert during > 0, "not exercised: nothing was written while the snapshot ran"
    assert check_all(stack, world.api) > SNAPSHOT_ROWS


def test_every_answer_given_meanwhile_was_true_as_of_its_position(world: World) -> None:
    check_answers(world.workload, at_least=100)


def test_what_is_inserted_is_found_what_is_updated_changes_what_is_deleted_is_gone(world: World) -> None:
    stack, api = world.stack, world.api
    stack.sql(
        "INSERT INTO articles VALUES (500001, 'Zephyr lamps', 'The zephyrlamp burns for ninety hours.',"
        " 'care', 'en', true, now())"
    )
    (hit,) = hits(api, "zephyrlamp", position(stack))
    assert (hit["key"], "ninety hours" in hit["text"]) == ("500001", True)
    stack.sql("UPDATE articles SET body = 'The zephyrlamp burns for seventy hours.' WHERE id = 500001")
    (hit,) = hits(api, "zephyrlamp", position(stack))
    assert "seventy hours" in hit["text"]
    answer = api.chat("How long does the zephyrlamp burn?", min_position=position(stack))
    assert "ninety" not in json.dumps(answer)
    stack.sql("DELETE FROM articles WHERE id = 500001")
    assert hits(api, "zephyrlamp", position(stack)) == []
    answer = api.chat("How long does the zephyrlamp burn?", min_position=position(stack))
    assert "500001" not in {one["key"] for one in answer["tailrace"]["citations"]}
    assert "seventy" not in json.dumps(answer)
    assert api.document("articles", 500001) is None


def test_a_row_that_stops_to_match_leaves_the_index_and_stays_in_the_state(world: World) -> None:
    stack, api = world.stack, world.api
    assert [hit["key"] for hit in hits(api, "item10007", position(stack))] == ["10007"]
    stack.sql("UPDATE articles SET published = false WHERE id = 10007")
    assert hits(api, "item10007", position(stack)) == []
    assert api.document("articles", 10007) is None
    stack.sql("UPDATE articles SET published = true, category = 'shipping' WHERE id = 10007")
    (hit,) = hits(api, "item10007", position(stack))
    assert hit["key"] == "10007"
    filtered = api.search("item10007", filters={"category": "shipping"}, min_position=position(stack))
    assert "10007" in {hit["key"] for hit in filtered["hits"]}
    filtered = api.search("item10007", filters={"category": "care"}, min_position=position(stack))
    assert "10007" not in {hit["key"] for hit in filtered["hits"]}


def test_an_update_that_leaves_the_long_text_alone_keeps_it(world: World) -> None:
    stack, api = world.stack, world.api
    text = f"The quillstone is heavy. {long_text(1)}"
    stack.sql("INSERT INTO articles VALUES (500002, 'Before', %s, 'care', 'en', true, now())", [text])
    stack.sql("UPDATE articles SET title = 'After' WHERE id = 500002")
    found = hits(api, "quillstone", position(stack))
    assert [hit["title"] for hit in found] == ["After"]
    assert shown_text(api, 500002) == text.split()
    placeholders = [
        event
        for event in events(stack, "public.articles")
        if (event["after"] or {}).get("body") == stack.memory.placeholder and event["after"]["id"] == 500002
    ]
    assert len(placeholders) == 1, "not exercised: the connector sent the text"


def test_a_change_of_key_takes_the_long_text_along(world: World) -> None:
    stack, api = world.stack, world.api
    identity = stack.sql("SELECT relreplident::text FROM pg_class WHERE oid = 'articles'::regclass")
    assert identity == [("d",)], "not exercised: the source logs whole rows"
    text = f"The marlspike is old. {long_text(2)}"
    stack.sql("INSERT INTO articles VALUES (500003, 'Spike', %s, 'care', 'en', true, now())", [text])
    stack.sql("UPDATE articles SET id = 500004 WHERE id = 500003")
    found = hits(api, "marlspike", position(stack))
    assert [hit["key"] for hit in found] == ["500004"]
    assert api.document("articles", 500003) is None
    assert shown_text(api, 500004) == text.split()
    # And back in one transaction with a swap of two keys.
    with stack.postgres.connect() as connection, connection.transaction():
        for old, new in ((500004, -1), (500002, 500004), (-1, 500002)):
            connection.execute("UPDATE articles SET id = %s WHERE id = %s", [new, old])
    (hit,) = hits(api, "marlspike", position(stack))
    assert hit["key"] == "500002"
    assert shown_text(api, 500002) == text.split()
    (hit,) = hits(api, "quillstone", position(stack))
    assert hit["key"] == "500004"
    placeholders = sum(
        (event["after"] or {}).get("body") == stack.memory.placeholder
        for event in events(stack, "public.articles")
        if event["op"] == "c"
    )
    assert placeholders >= 3, "not exercised: the connector sent the text"


def test_a_transaction_over_two_tables_is_seen_whole_as_of_its_position(world: World) -> None:
    stack, api = world.stack, world.api
    for number in range(1, 11):
        with stack.postgres.connect() as connection, connection.transaction():
            connection.execute(
                "INSERT INTO articles VALUES (500005, %s, 'The twinfish swims.', 'care', 'en', true, now())"
                " ON CONFLICT (id) DO UPDATE SET title = excluded.title",
                [f"Twin {number}"],
            )
            connection.execute(
                "INSERT INTO orders VALUES (500005, 500005, 201, %s, null, 1, now())"
                " ON CONFLICT (id) DO UPDATE SET status = excluded.status",
                [f"twin {number}"],
            )
        found = api.search("twinfish", min_position=position(stack), state={"orders_by_customer": "500005"})
        assert found["freshness"]["reached_min_position"]
        assert [hit["title"] for hit in found["hits"] if hit["key"] == "500005"] == [f"Twin {number}"]
        assert [row["status"] for row in found["state"]["orders_by_customer"]] == [f"twin {number}"]


def test_orders_of_one_instant_apart_are_in_the_order_of_their_times(world: World) -> None:
    """Whole and fractional seconds are spelled with different lengths."""
    stack, api = world.stack, world.api
    times = ["12:00:00", "12:00:00.000001", "12:00:00.5", "12:00:00.51", "12:00:01"]
    for number, at in enumerate(times):
        stack.sql(
            "INSERT INTO orders VALUES (%s, 500006, 201, 'packed', null, 1, %s)",
            [500100 - number, f"2026-11-01 {at}Z"],
        )
    found = api.search("orders", min_position=position(stack), state={"orders_by_customer": "500006"})
    shown = [row["id"] for row in found["state"]["orders_by_customer"]]
    assert shown == [500100 - number for number in reversed(range(len(times)))]


def test_a_malformed_record_is_set_aside_with_its_bytes_and_the_stream_goes_on(world: World) -> None:
    stack, api = world.stack, world.api
    topic = f"{stack.settings.prefix}.public.articles"
    value = b'{"op":"c","after":{"id":1'
    headers: list[tuple[str, str | bytes | None]] = [("origin", b"by hand"), ("odd", b"\xff\x00")]
    delivered: list[int | None] = []
    producer = Producer({"bootstrap.servers": stack.brokers, "log_level": 0})
    producer.produce(
        topic,
        value,
        b'{"id":10008}',
        partition=0,
        headers=headers,
        on_delivery=lambda _, message: delivered.append(message.offset()),
    )
    producer.flush(10)
    stack.sql("UPDATE articles SET title = 'After the malformed one' WHERE id = 10009")
    (hit,) = hits(api, "item10009", position(stack))
    assert hit["title"] == "After the malformed one"
    letters = list(read_topic(stack, f"{stack.settings.app}.dead-letters"))
    (letter,) = [one for one in letters if dict(one.headers()).get("origin") == b"by hand"]
    said = dict(letter.headers())
    assert (letter.key(), letter.value(), said["odd"]) == (b'{"id":10008}', value, b"\xff\x00")
    assert said["tailrace.topic"] == topic.encode()
    assert said["tailrace.offset"] == str(delivered[0]).encode()
    assert said["tailrace.error"] == b"DecodeError"
    assert len(letters) == 1, "what is well formed was set aside too"
    # Its key is readable: the row is marked until a whole record of it comes.
    stack.sql("UPDATE articles SET body = 'Now dry again: item10008.' WHERE id = 10008")
    (hit,) = hits(api, "item10008", position(stack))
    assert not hit["stale"]


def test_a_truncated_table_is_empty_but_for_what_came_after(world: World) -> None:
    stack, api = world.stack, world.api
    assert len(api.keys("products")) > 1000
    with stack.postgres.connect() as connection, connection.transaction():
        connection.execute("TRUNCATE products")
        connection.execute(
            "INSERT INTO products SELECT id, 'New ' || id, 'The newthing' || id || ' is new.', 'tents', 1, 1,"
            " now() FROM generate_series(10001, 10003) id"
        )
    found = api.search("weighs grams", min_position=position(stack))
    assert found["freshness"]["reached_min_position"]
    assert not [hit for hit in found["hits"] if hit["document"] == "products" and "Thing" in hit["text"]]
    assert sorted(api.keys("products")) == ["10001", "10002", "10003"]
    assert [hit["key"] for hit in hits(api, "newthing10002", position(stack))] == ["10002"]
    assert sum(event["op"] == "t" for event in events(stack, "public.products")) == 1


def test_after_all_of_it_every_row_is_equal_and_the_index_holds_nothing_else(world: World) -> None:
    stack, api = world.stack, world.api
    wait_arrived(stack, api)
    check_rows(stack, api)
    for document in ("articles", "products"):
        check_titles(stack, api, document)
    assert markers_in_every_partition(stack)
    stack.tailrace.stop()
    for group in groups(stack).values():
        ends = committed(stack, group)
        assert ends, f"{group} has committed nothing"
    assert committed(stack, groups(stack)["resolve"])["shop.public.articles", 0] == raw_end(
        stack, "public.articles"
    ), "a clean stop left records uncommitted"
    check_index_on_disk(stack)


def markers_in_every_partition(stack: Stack) -> bool:
    """The rows that say that everything has arrived: without one in a partition they prove nothing."""
    found: Counter[tuple[str, int]] = Counter()
    for table in ("public.articles", "public.products", "public.orders"):
        for message in read_topic(stack, f"{stack.settings.app}.state.{stack.settings.prefix}.{table}"):
            if message.value() is not None and b'"mark ' in message.value():
                found[table, message.partition()] += 1
    return len(found) == 3 * 4


def hits(api: Api, word: str, at: str) -> list[dict[str, Any]]:
    """The passages that hold the word, as of a position that must be reached."""
    found = api.search(word, min_position=at, top_k=20)
    assert found["freshness"]["reached_min_position"], found["freshness"]
    return [hit for hit in found["hits"] if word in hit["text"]]


def shown_text(api: Api, key: int) -> list[str]:
    found = api.document("articles", key)
    assert found is not None
    return " ".join(chunk["text"] for chunk in found["chunks"]).split()
