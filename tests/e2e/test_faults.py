"""kill -9 of the worker and of Kafka Connect, under load. After each nothing is lost and no answer was wrong.

A test that cannot show that its fault hit fails as "not exercised".
"""

import json
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import pytest

from infra.stack import Stack
from tests.e2e.load import Workload, check_answers
from tests.e2e.oracle import check_index_on_disk, check_rows, check_titles
from tests.e2e.support import (
    HASHING,
    Api,
    Launched,
    committed,
    eventually,
    groups,
    lag,
    launch,
    members,
    one_stack,
    raw_end,
    read_topic,
    say,
    wait_arrived,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

FAILPOINTS: Final = (
    "after_decode:2",
    "before_ack:3",
    "after_ack:3",
    "after_chunk:3",
    "after_embed:3",
    "before_upsert:3",
    "after_upsert:3",
    "before_delete_extra:3",
    "after_apply:3",
    "after_flush:3",
    "before_ack_index:3",
)
WAITING: Final = 3500
KILLS, MOST_KILLS = 4, 12
"""Blind ones: more only if none has met a batch between its write and its commit."""

OFFSET_BITS: Final = 40


@dataclass(frozen=True, slots=True)
class World:
    stack: Stack
    api: Api


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with one_stack(tmp_path_factory.mktemp("faults"), HASHING) as stack:
        stack.up()
        stack.sql("ALTER TABLE articles ALTER COLUMN body SET STORAGE EXTERNAL")
        with Api(stack.http_url) as api:
            yield World(stack, api)


def check(world: World) -> int:
    """Everything has arrived and is what SQL says: state, entries, answers' titles, and every point.

    Leaves tailrace stopped: its index is read from the folder.
    """
    wait_arrived(world.stack, world.api)
    compared = check_rows(world.stack, world.api)
    compared += sum(check_titles(world.stack, world.api, one) for one in ("articles", "products"))
    world.stack.tailrace.stop()
    return compared + check_index_on_disk(world.stack, unlisted_too=False)


@pytest.fixture(autouse=True)
def running(world: World) -> None:
    """Each test finds everything up, whatever the one before it left."""
    world.stack.up()


def done_and_not_committed(stack: Stack, table: str) -> int:
    """Raw records whose rows stand in the state topic and which the group has yet to commit."""
    topic = f"{stack.settings.prefix}.{table}"
    mark = committed(stack, groups(stack)["resolve"]).get((topic, 0), 0)
    state = read_topic(stack, f"{stack.settings.app}.state.{topic}")
    offsets = {json.loads(m.value())["v"] % (1 << OFFSET_BITS) for m in state if m.key()[:1] == b"k"}
    return sum(offset >= mark for offset in offsets)


def wait_killed(launched: Launched, within_s: float = 60.0) -> None:
    """It killed itself: nobody else did."""
    eventually(launched.gone, within_s=within_s, what="the failpoint is never passed")
    assert launched.signal() == signal.SIGKILL, f"it ended by itself: {launched.said()}"


def test_a_worker_that_dies_at_any_step_of_a_batch_loses_nothing(world: World) -> None:
    stack = world.stack
    stack.tailrace.stop()
    workload = Workload(stack, articles=120, writers=2, seed=11)
    redone = 0
    with workload.running():
        for failpoint in FAILPOINTS:
            launched = launch(stack, failpoint)
            wait_killed(launched)
            waiting = sum(lag(stack, group) for group in groups(stack).values())
            done = done_and_not_committed(stack, "public.articles")
            say(f"killed at {failpoint}: {waiting} records uncommitted, {done} of them written")
            assert waiting > 0, f"not exercised: {failpoint} killed an idle worker"
            redone += done
        stack.tailrace.start()
        workload.wait_answers(100)
    assert redone > 0, "not exercised: no kill came between a write and its commit"
    check(world)
    check_answers(workload, at_least=50)


def test_blind_kills_under_load_lose_nothing(world: World) -> None:
    stack, api = world.stack, world.api
    rng = random.Random(5)  # noqa: S311 - the same moments each time
    workload = Workload(stack, first_key=200_000, seed=12)
    kills = killed = redone = 0
    with workload.running():
        while kills < KILLS or (redone == 0 and kills < MOST_KILLS):
            workload.wait_commits(rng.randrange(20, 200))
            kills += 1
            killed += stack.tailrace.kill()
            redone += done_and_not_committed(stack, "public.articles")
            stack.tailrace.start()
        workload.wait_answers(100)
    say(f"{killed} kills, {redone} records written and not committed")
    assert killed == kills
    assert redone > 0, "not exercised: every kill met an idle worker"
    wait_arrived(stack, api)
    again = api.counter("tailrace_unchanged_documents_total") + api.counter(
        "tailrace_raw_records_total", outcome="superseded"
    )
    say(f"{again:.0f} redelivered to the last worker")
    check(world)
    check_answers(workload, at_least=100)
    assert workload.unavailable > 0, "not exercised: no question met a dead service"


def test_a_worker_killed_with_thousands_of_rows_waiting_loses_none(world: World) -> None:
    stack = world.stack
    workload = Workload(stack, first_key=300_000, articles=60, seed=13)
    with workload.running():
        workload.wait_commits(50)
        assert stack.tailrace.kill()
        for first in range(600_000, 600_000 + WAITING, 500):
            stack.sql(
                "INSERT INTO articles SELECT id, 'Bulk ' || id, 'The bulk row ' || id || ' waits.', 'care',"
                " 'en', true, now() FROM generate_series(%s::bigint, %s::bigint) id",
                [first, first + 499],
            )
        stack.sql("UPDATE articles SET title = title || ' again' WHERE id BETWEEN 600000 AND 600499")
        stack.sql("DELETE FROM articles WHERE id BETWEEN 600500 AND 600599")
        topic = (f"{stack.settings.prefix}.public.articles", 0)
        mark = committed(stack, groups(stack)["resolve"])[topic]
        wanted = mark + WAITING + 500 + 100
        eventually(
            lambda: raw_end(stack, "public.articles") >= wanted, within_s=60, what="the connector is behind"
        )
        assert lag(stack, groups(stack)["resolve"]) > 3000, "not exercised"
        for failpoint in ("before_ack:3", "before_ack_index:6", "after_upsert:9"):
            wait_killed(launch(stack, failpoint))
            waiting = {name: lag(stack, group) for name, group in groups(stack).items()}
            say(f"killed at {failpoint}; waiting: {waiting}")
            assert sum(waiting.values()) > 0, "not exercised: it had caught up"
        stack.tailrace.start()
        workload.wait_answers(200)
    assert check(world) > 3 * WAITING
    check_answers(workload, at_least=10)


def duplicates(stack: Stack, *tables: str) -> int:
    """Raw records that were sent before: the same position in the same table."""
    sent: Counter[tuple[str, bytes | None, str, str]] = Counter()
    for table in tables:
        for message in read_topic(stack, f"{stack.settings.prefix}.{table}"):
            if message.value() is not None:
                event = json.loads(message.value())
                if event["op"] != "r":
                    sent[table, message.key(), event["op"], str(event["source"]["sequence"])] += 1
    return sum(times - 1 for times in sent.values())


def test_connect_killed_under_interleaved_transactions_loses_nothing(world: World) -> None:
    stack, api = world.stack, world.api
    tables = ("public.articles", "public.orders")
    before = duplicates(stack, *tables)
    workload = Workload(
        stack, first_key=400_000, articles=160, writers=10, pause_s=0.01, hold_s=0.25, seed=14
    )
    kills = 0
    with workload.running():
        while kills < 2 or (duplicates(stack, *tables) == before and kills < 5):
            workload.wait_commits(250)
            kills += stack.connect.kill()
            workload.wait_commits(100)
            stack.up()
        workload.wait_commits(200)
        workload.wait_newer(3)
    again = duplicates(stack, *tables) - before
    say(f"Connect was killed {kills} times; {again} events were sent again")
    assert kills >= 2
    assert again > 0, "not exercised: no event was sent twice"
    wait_arrived(stack, api)
    dropped = api.counter("tailrace_raw_records_total", outcome="superseded")
    say(f"{dropped:.0f} replayed events were dropped")
    assert dropped > 0
    check(world)
    check_answers(workload, at_least=100)


def test_a_frozen_worker_that_wakes_up_exits_and_loses_nothing(world: World) -> None:
    stack = world.stack
    workload = Workload(stack, first_key=500_000, articles=60, seed=15)
    with ExitStack() as after, workload.running(ask=False):
        group = groups(stack)["resolve"]
        topic = (f"{stack.settings.prefix}.public.articles", 0)
        before = committed(stack, group).get(topic, 0)
        eventually(
            lambda: committed(stack, group).get(topic, 0) > before + 50,
            within_s=30,
            what="the worker does not work",
        )
        pid = stack.tailrace.pid
        stack.tailrace.send(signal.SIGSTOP)
        after.callback(stack.tailrace.send, signal.SIGCONT)
        # Longer than its session of six seconds: until the broker has given its partitions up.
        eventually(
            lambda: not members(stack, group),
            within_s=30,
            what="the broker still waits for the frozen worker",
        )
        stack.tailrace.send(signal.SIGCONT)
        eventually(
            lambda: stack.tailrace.pid != pid, within_s=30, what="the worker goes on as if nothing was"
        )
        stack.tailrace.start()
        workload.wait_commits(100)
    check(world)


def test_what_the_kills_have_left_in_the_index_is_swept(world: World) -> None:
    """Deleted and replaced texts, too: nothing stays that no manifest lists."""
    wait_arrived(world.stack, world.api)
    world.stack.tailrace.stop()
    check_index_on_disk(world.stack)
