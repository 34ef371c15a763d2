"""Connect dies in its first snapshot, rows that it had read are deleted, it starts again.

It takes a whole new snapshot and streams from there, so no event tells of those deletes, in the table
where the snapshot broke off and in those that it had finished. The worker is killed in between, too.
"""

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Final

import pytest
from confluent_kafka import KafkaException, TopicPartition

from infra.stack import Ports, Stack, StackSettings
from infra.stack.config import MARIADB_DATABASE
from infra.stack.processes import tail
from infra.stack.service import apply_topics
from infra.stack.settings import REPOSITORY
from tests.e2e import mariadb_oracle
from tests.e2e.mariadb_load import Edits
from tests.e2e.mariadb_world import SOURCE, World, arrive
from tests.e2e.oracle import check_all, check_index_on_disk
from tests.e2e.support import (
    HASHING,
    Api,
    committed,
    consumer,
    eventually,
    groups,
    read_topic,
    say,
    wait_arrived,
)
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROWS: Final = 30_000
"""In a table behind `articles`: enough for Connect to be killed while it reads them."""

GONE: Final = 20
"""Rows that are deleted in each of the two tables, of those that were read first."""


def end_of(stack: Stack, topic: str) -> int:
    """The offset after a topic's last record; 0 while there is no topic."""
    with consumer(stack) as reader, contextlib.suppress(KafkaException):
        return int(reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)[1])
    return 0


class Breaker:
    """Watches a snapshot in a thread, breaks it off, and says what it did."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.done: Future[None] = Future()

    def start(self) -> None:
        self._fill()
        threading.Thread(target=self._run, daemon=True).start()

    def _fill(self) -> None:
        self.stack.sql(
            "INSERT INTO customers SELECT g, 'n' || g, 'e', 'c', now()"
            f" FROM generate_series(100001, {100_000 + ROWS}) g"
        )
        self.stack.mariadb.sql(
            "INSERT INTO orders SELECT 100000 + seq, customer_id, product_id, status, eta, total, updated_at"
            f" FROM seq_1_to_{ROWS}, (SELECT * FROM orders LIMIT 1) one"
        )

    def _run(self) -> None:
        stack = self.stack
        try:
            self._break(f"{stack.settings.prefix}.public.customers", self._delete_in_postgres)
            self._kill_a_worker_in_between()
            self._break(f"{SOURCE}.{MARIADB_DATABASE}.orders", self._delete_in_mariadb)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.done.set_exception(error)
        else:
            self.done.set_result(None)

    def _break(self, topic: str, delete: Callable[[], None]) -> None:
        eventually(lambda: end_of(self.stack, topic) > 1000, within_s=90, what=f"no snapshot of {topic}")
        self.stack.connect.kill()
        read = end_of(self.stack, topic)
        assert read < ROWS, "not exercised: the snapshot was through"
        delete()
        self.stack.connect.launch()
        say(f"{topic}: Connect was killed after {read} rows")

    def _delete_in_postgres(self) -> None:
        for table in ("articles", "customers"):
            self.stack.sql(
                f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY ctid LIMIT {GONE})"
            )
        self.stack.sql("DELETE FROM products")  # the first attempt read them before `customers`

    def _delete_in_mariadb(self) -> None:
        for table in ("articles", "orders"):
            self.stack.mariadb.sql(f"DELETE FROM {table} ORDER BY id LIMIT {GONE}")

    def _kill_a_worker_in_between(self) -> None:
        """It has read some of the first attempt; what it has to know of it stands in the state topic."""
        stack = self.stack
        topic = f"{stack.settings.prefix}.public.customers"
        apply_topics(stack.settings.config_path)
        stack.tailrace.launch()
        eventually(
            lambda: committed(stack, groups(stack)["resolve"]).get((topic, 0), 0) > 0,
            within_s=60,
            what=lambda: f"the worker reads nothing: {tail(stack.tailrace.log)}",
        )
        stack.tailrace.kill()
        at = committed(stack, groups(stack)["resolve"])[topic, 0]
        say(f"{topic}: the worker was killed at {at}")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both databases read by a second attempt; Tailrace runs."""
    jars = REPOSITORY / ".tailrace" / "stack" / "jars"
    folder = tmp_path_factory.mktemp("broken") / "stack"
    settings = StackSettings(folder, Ports(*free_ports(6)), jars=jars, mariadb=True, encoder=HASHING)
    stack = Stack(settings)
    breaker = Breaker(stack)
    try:
        stack.up(with_tailrace=False, before_connector=breaker.start)
        breaker.done.result(timeout=90)
        stack.up()
        yield stack
    finally:
        stack.down()
        stack.clean()


def attempts(stack: Stack, topic: str) -> Counter[tuple[object, ...]]:
    """Rows by the place at which their snapshot stands."""
    sources = [json.loads(one.value())["source"] for one in read_topic(stack, topic) if one.value()]
    marks = ("first", "first_in_data_collection", "true", "last_in_data_collection", "last")
    return Counter((one.get("lsn"), one.get("pos")) for one in sources if one.get("snapshot") in marks)


def test_rows_deleted_around_a_first_snapshot_that_broke_off_are_not_found(broken: Stack) -> None:
    prefix = broken.settings.prefix
    for topic in (f"{prefix}.public.articles", f"{prefix}.public.customers"):
        first, second = attempts(broken, topic).values()
        say(f"{topic}: {first} rows of the first attempt, {second} of the second")
    # Of an empty table the second attempt says nothing: the runbook's cure.
    assert [*attempts(broken, f"{prefix}.public.products").values()] == [30]
    broken.sql("TRUNCATE products")
    with Api(broken.http_url) as api:
        say(f"arrived after {wait_arrived(broken, api):.1f} s")
        check_all(broken, api)


def test_rows_of_mariadb_are_not_found_either(broken: Stack) -> None:
    for table in ("articles", "orders"):
        topic = f"{SOURCE}.{MARIADB_DATABASE}.{table}"
        first, second = attempts(broken, topic).values()
        say(f"{topic}: {first} rows of the first attempt, {second} of the second")
    with Api(broken.http_url) as api:
        world = World(broken, api, Edits(broken))
        arrive(world)
        mariadb_oracle.check_all(world)
    broken.tailrace.stop()
    check_index_on_disk(broken)
