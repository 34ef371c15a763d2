"""A log or an index that is no longer the one that was read or written, on the real broker.

Of a raw topic the worker refuses and names `tailrace resync`; the command is killed between any two of its
steps, and the worker refuses until it has been run to its end. What an older index lacks is read again by
itself. Afterwards everything is what SQL says.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.stack import Stack
from infra.stack.processes import tail
from infra.stack.service import apply_topics
from infra.stack.settings import REPOSITORY
from tests.e2e.oracle import check_all, check_index_on_disk
from tests.e2e.support import (
    HASHING,
    Api,
    committed,
    eventually,
    groups,
    lag,
    one_stack,
    raw_end,
    read_topic,
    say,
    wait_arrived,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

STEPS: Final = ("resync_marked", "resync_truncated", "resync_reset")
"""After the mark, after the truncates, after the offset: where the command is killed."""


@dataclass(frozen=True, slots=True)
class World:
    stack: Stack
    api: Api

    def refused(self) -> str:
        """What the worker says when it is started: it must end by itself."""
        self.stack.tailrace.log.write_bytes(b"")
        assert self.stack.tailrace.launch()
        eventually(
            lambda: not self.stack.tailrace.is_running(),
            within_s=60,
            what="the worker goes on as if nothing was",
        )
        return tail(self.stack.tailrace.log)

    def resync(self, topic: str, *arguments: str, failpoint: str = "") -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-m", "tailrace", "resync", topic, *arguments]
        return subprocess.run(
            [*argv, "--config", str(self.stack.settings.config_path)],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            timeout=60,
            env={**os.environ, "TAILRACE_FAILPOINT": failpoint},
        )

    def connector(self, method: str, what: str) -> httpx2.Response:
        url = f"{self.stack.connect_url}/connectors/{self.stack.connector}/{what}"
        return httpx2.request(method, url, timeout=30, trust_env=False)

    def forget(self) -> None:
        """The connector stops, and no longer knows what it has read."""
        assert self.connector("PUT", "stop").is_success
        eventually(
            lambda: self.connector("GET", "status").json()["connector"]["state"] == "STOPPED",
            within_s=30,
            what="the connector does not stop",
        )
        assert self.connector("DELETE", "offsets").is_success

    def record(self, topic: str) -> dict[str, Any]:
        """What is recorded of a raw topic: the newest wins."""
        sources = read_topic(self.stack, f"{self.stack.settings.app}.sources")
        (*_, newest) = (json.loads(one.value()) for one in sources if one.key() == topic.encode())
        found: dict[str, Any] = newest
        return found

    def check(self) -> None:
        """Everything has arrived, and is what SQL says. Leaves tailrace stopped."""
        say(f"arrived after {wait_arrived(self.stack, self.api):.1f} s")
        check_all(self.stack, self.api)
        self.stack.tailrace.stop()
        check_index_on_disk(self.stack)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with one_stack(tmp_path_factory.mktemp("resync"), HASHING) as stack:
        stack.up()
        with Api(stack.http_url) as api:
            yield World(stack, api)


@pytest.fixture(autouse=True)
def running(world: World) -> None:
    """Each test finds everything up, whatever the one before it left."""
    world.stack.up()


def admin(stack: Stack) -> AdminClient:
    return AdminClient({"bootstrap.servers": stack.brokers, "log_level": 0})


def test_a_topic_that_was_made_anew_is_resynced_although_the_command_is_killed_at_every_step(
    world: World,
) -> None:
    stack = world.stack
    topic = f"{stack.settings.prefix}.public.articles"
    stack.sql(
        "INSERT INTO articles SELECT id, 'Note ' || id, 'Note number ' || id || ' says: keep item' || id"
        " || ' dry.', 'care', 'en', true, now() FROM generate_series(50001, 50400) id"
    )
    wait_arrived(stack, world.api)
    known = world.record(topic)
    early = world.resync(topic, "--yes")
    assert (early.returncode, "nothing was changed" in early.stderr) == (1, True), early
    assert world.record(topic) == known, "a worker was running"
    stack.tailrace.stop()
    world.forget()  # and the topic is lost with all that it held
    client = admin(stack)  # held: its calls end with it
    client.delete_topics([topic])[topic].result(30)
    # None of this is in any record: only a snapshot can tell.
    stack.sql("DELETE FROM articles WHERE id BETWEEN 50001 AND 50100")
    stack.sql("UPDATE articles SET body = body || ' Or not.' WHERE id BETWEEN 50101 AND 50200")
    stack.sql("UPDATE articles SET id = id + 1000 WHERE id BETWEEN 50201 AND 50210")
    apply_topics(stack.settings.config_path)

    said = world.refused()
    assert f"tailrace resync {topic}" in said, said
    before = world.record(topic)
    looked = world.resync(topic)
    assert (looked.returncode, "nothing was changed" in looked.stderr) == (0, True), looked
    assert world.record(topic) == before
    for number, step in enumerate(STEPS, 1):
        killed = world.resync(topic, "--yes", failpoint=step)
        assert killed.returncode == -signal.SIGKILL, killed
        assert world.record(topic)["epoch"] == before["epoch"] + number
        said = world.refused()
        assert "a resync was interrupted" in said, said
        assert f"tailrace resync {topic}" in said, said
    done = world.resync(topic, "--yes")
    assert done.returncode == 0, done
    assert world.record(topic)["epoch"] == before["epoch"] + len(STEPS) + 1

    stack.tailrace.launch()
    assert world.connector("PUT", "resume").is_success
    stack.tailrace.wait_ready()
    world.check()


def test_records_that_were_deleted_before_they_were_read_are_replaced_by_a_snapshot(world: World) -> None:
    stack = world.stack
    topic = f"{stack.settings.prefix}.public.products"
    wait_arrived(stack, world.api)
    stack.tailrace.stop()
    end = raw_end(stack, "public.products")
    stack.sql("DELETE FROM products WHERE id >= 9000000")
    stack.sql("UPDATE products SET description = description || ' Sold out.' WHERE mod(id, 2) = 0")
    eventually(lambda: raw_end(stack, "public.products") > end + 40, within_s=30, what="no record comes")
    gone = TopicPartition(topic, 0, raw_end(stack, "public.products"))
    client = admin(stack)
    client.delete_records([gone])[gone].result(30)
    assert committed(stack, groups(stack)["resolve"])[topic, 0] < gone.offset, "not exercised"

    said = world.refused()
    assert f"tailrace resync {topic}" in said, said
    assert world.resync(topic, "--yes").returncode == 0
    stack.sql(
        "INSERT INTO debezium_signal VALUES ('again', 'execute-snapshot',"
        ' \'{"data-collections": ["public.products"], "type": "incremental"}\')'
    )
    stack.tailrace.start()
    world.check()


def test_a_new_snapshot_in_a_topic_that_is_kept_takes_the_place_of_all_before(world: World) -> None:
    """The slot was lost, say: what was deleted until the snapshot is told by no record of the topic."""
    stack = world.stack
    topic = f"{stack.settings.prefix}.public.articles"
    stack.sql(
        "INSERT INTO articles SELECT id, 'Tip ' || id, 'Tip number ' || id || ' says: oil tool' || id || '.',"
        " 'care', 'en', true, now() FROM generate_series(60001, 60200) id"
    )
    wait_arrived(stack, world.api)
    stack.tailrace.stop()
    world.forget()
    stack.sql("DELETE FROM articles WHERE id BETWEEN 60001 AND 60050")
    stack.sql("UPDATE articles SET body = body || ' Or not.' WHERE id BETWEEN 60051 AND 60060")
    end = raw_end(stack, "public.articles")
    assert world.connector("PUT", "resume").is_success
    rows = stack.sql("SELECT count(*) FROM articles")[0][0]
    eventually(lambda: raw_end(stack, "public.articles") >= end + rows, within_s=60, what="no snapshot")

    done = world.resync(topic, "--yes")
    assert done.returncode == 0, done
    assert f"records {end} to" in done.stderr, "from the first row of the new snapshot on"
    stack.tailrace.start()
    world.check()


def test_what_an_index_put_back_from_an_older_copy_lacks_is_read_again(world: World, tmp_path: Path) -> None:
    stack = world.stack
    index, copy = stack.settings.directory / "index", tmp_path / "index"
    wait_arrived(stack, world.api)
    stack.tailrace.stop()
    shutil.copytree(index, copy)
    stack.tailrace.start()
    stack.sql("UPDATE articles SET body = body || ' As of late.' WHERE mod(id, 7) = 0")
    stack.sql("DELETE FROM articles WHERE mod(id, 7) = 1")
    stack.sql("DELETE FROM products WHERE mod(id, 7) = 2")
    wait_arrived(stack, world.api)
    documents = [group for name, group in groups(stack).items() if name != "resolve"]
    eventually(
        lambda: not any(lag(stack, group) for group in documents),
        within_s=30,
        what="the worker does not acknowledge what it has indexed",
    )
    assert stack.tailrace.kill()
    shutil.rmtree(index)
    shutil.copytree(copy, index)
    stack.tailrace.log.write_bytes(b"")

    stack.tailrace.start()
    said = stack.tailrace.log.read_text(encoding="utf-8")
    for document in ("articles", "products"):
        assert f"{stack.settings.app}-{document}-g1 is older than what was read for it" in said, said
    world.check()
