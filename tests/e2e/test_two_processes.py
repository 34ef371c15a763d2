"""`tailrace worker` and `tailrace serve` as processes that share Kafka, an index server and made vectors.

Each is killed while the others go on; in the end there are two workers. The server is the tests' own:
Qdrant's REST over Edge.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from core.topics import index_group
from infra.stack import Stack
from infra.stack.ports import LOOPBACK
from infra.stack.service import apply_topics
from tests.e2e.load import Workload, check_answers
from tests.e2e.oracle import check_all, check_points
from tests.e2e.program import Program, tailrace
from tests.e2e.support import (
    HASHING,
    Api,
    at_work,
    committed,
    eventually,
    groups,
    lag,
    members,
    one_stack,
    position,
    say,
    wait_arrived,
)
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@dataclass(frozen=True, slots=True)
class World:
    stack: Stack
    api: Api
    index: Program
    worker: Program
    serve: Program
    index_url: str

    def wait_ready(self) -> None:
        eventually(
            lambda: self.api.ready() == 200,
            within_s=60,
            what=lambda: "\n".join(one.said() for one in (self.index, self.worker, self.serve)),
        )

    def check(self) -> None:
        """Everything has arrived: state, entries and documents over HTTP, and every point of the index."""
        say(f"arrived after {wait_arrived(self.stack, self.api):.1f} s")
        check_all(self.stack, self.api)
        for document in ("articles", "products"):
            # What is no longer listed is dropped after the answer has changed: once all is committed.
            group = index_group(self.stack.settings.app, document, self.answering(document))
            eventually(
                lambda group=group: not lag(self.stack, group),  # type: ignore[misc]
                within_s=30,
                what=self.worker.said,
            )
            check_points(
                self.stack,
                document,
                self._points(f"{self.stack.settings.app}-{document}"),
                unlisted_too=False,
            )

    def answering(self, document: str) -> int:
        """The number of the generation that its alias names."""
        answer = httpx2.get(f"{self.index_url}/aliases", trust_env=False, timeout=30).raise_for_status()
        found = {one["alias_name"]: one["collection_name"] for one in answer.json()["result"]["aliases"]}
        return int(found[f"{self.stack.settings.app}-{document}"].rpartition("-g")[2])

    def _points(self, alias: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """By the server's own pages; the alias is a collection's name to it."""
        after: str | None = None
        while True:
            body = {"limit": 1000, "offset": after, "with_payload": True}
            answer = httpx2.post(
                f"{self.index_url}/collections/{alias}/points/scroll", json=body, trust_env=False, timeout=30
            )
            found = answer.raise_for_status().json()["result"]
            yield from ((one["id"], one["payload"]) for one in found["points"])
            after = found["next_page_offset"]
            if after is None:
                return


def configure(stack: Stack, index_url: str, instance: str, dimensions: int = 64) -> Path:
    """The stack's configuration with the index on a server, for the processes of one instance name."""
    tree = yaml.safe_load(stack.settings.config_path.read_text(encoding="utf-8"))
    tree["index"] = {"kind": "qdrant", "url": index_url}
    tree["encoder"] = {**HASHING, "dimensions": dimensions}
    tree["ingest"]["instance"] = instance
    path = stack.settings.directory / f"{instance}.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything up, the shop snapshotted in; the service was there before the first worker."""
    with contextlib.ExitStack() as after:
        stack = after.enter_context(one_stack(tmp_path_factory.mktemp("two"), HASHING))
        stack.up(with_tailrace=False)
        (port,) = free_ports(1)
        config = configure(stack, f"http://{LOOPBACK}:{port}", "first")
        apply_topics(config)
        folder, logs = str(stack.settings.directory / "server"), stack.settings.logs
        index = Program(
            "index", ["tests.qdrant_server", "--dir", folder, "--port", str(port)], logs / "two-index.log"
        )
        worker, serve = (
            Program(name, ["tailrace", name, "--config", str(config)], logs / f"two-{name}.log")
            for name in ("worker", "serve")
        )
        api = after.enter_context(Api(stack.http_url))
        made = World(stack, api, index, worker, serve, f"http://{LOOPBACK}:{port}")
        for one in (index, worker, serve):
            after.callback(one.stop)
        index.launch()
        serve.launch()
        eventually(lambda: api.ready() == 503, within_s=30, what=serve.said)
        worker.launch()
        made.wait_ready()
        yield made


@pytest.fixture(autouse=True)
def running(world: World) -> None:
    """Each test finds everything up, whatever the one before it left."""
    for one in (world.index, world.worker, world.serve):
        one.launch()
    world.wait_ready()


def test_the_service_becomes_ready_when_the_other_process_has_loaded_the_snapshot(world: World) -> None:
    world.check()


def test_an_edit_changes_the_answer_and_what_is_deleted_is_never_cited(world: World) -> None:
    stack, api = world.stack, world.api
    stack.sql(
        "INSERT INTO articles VALUES (500001, 'Zephyrlamp', 'The zephyrlamp burns ten hours.', 'care', 'en',"
        " true, now())"
    )
    asked, every = "The zephyrlamp burns how many hours?", ("ninety", "seventy", "fifty")
    for said in every:
        stack.sql("UPDATE articles SET body = %s WHERE id = 500001", [f"The zephyrlamp burns {said} hours."])
        answer = api.chat(asked, min_position=position(stack))
        assert answer["tailrace"]["freshness"]["reached_min_position"]
        assert [one["key"] for one in answer["tailrace"]["citations"]] == ["500001"]
        assert [one for one in every if one in json.dumps(answer)] == [said]
    stack.sql("DELETE FROM articles WHERE id = 500001")
    deleted = position(stack)
    for _ in range(20):
        answer = api.chat(asked, min_position=deleted)
        assert "500001" not in {one["key"] for one in answer["tailrace"]["citations"]}
        assert "zephyrlamp burns" not in answer["choices"][0]["message"]["content"]
    assert api.document("articles", 500001) is None


def test_a_killed_worker_leaves_the_service_answering_and_loses_nothing(world: World) -> None:
    stack = world.stack
    workload = Workload(stack, first_key=100_000, seed=21)
    with workload.running():
        for _ in range(3):
            workload.wait_commits(60)
            assert world.worker.kill()
            waiting = sum(lag(stack, group) for group in groups(stack).values())
            say(f"killed the worker: {waiting} records uncommitted")
            assert waiting > 0, "not exercised: it was idle"
            workload.wait_answers(20)
            assert world.worker.launch()
            workload.wait_newer(3)
    assert workload.unavailable == 0, "the service was away while only the worker was"
    world.check()
    check_answers(workload, at_least=100)


def test_a_killed_service_leaves_the_worker_working_and_comes_back_whole(world: World) -> None:
    stack = world.stack
    workload = Workload(stack, first_key=200_000, seed=22)
    with workload.running():
        for _ in range(2):
            workload.wait_commits(60)
            workload.wait_answers(20)
            assert world.serve.kill()
            workload.wait_commits(60)
            assert world.worker.is_running()
            assert world.serve.launch()
            world.wait_ready()
            workload.wait_newer(3)
    assert workload.unavailable > 0, "not exercised: no question met a dead service"
    world.check()
    check_answers(workload, at_least=100)


def test_a_killed_index_server_is_waited_for_by_both(world: World) -> None:
    stack = world.stack
    pids = world.worker.pid, world.serve.pid
    workload = Workload(stack, first_key=300_000, seed=23)
    with workload.running():
        for _ in range(2):
            workload.wait_commits(60)
            workload.wait_answers(20)
            assert world.index.kill()
            workload.wait_commits(60)
            assert world.index.launch()
            workload.wait_newer(3)
    assert workload.unavailable > 0, "not exercised: no question met a dead index"
    world.check()
    check_answers(workload, at_least=100)
    assert (world.worker.pid, world.serve.pid) == pids, "a process ended although waiting was enough"


def test_two_workers_share_the_tables_and_a_reindex_while_each_is_killed(world: World) -> None:
    stack = world.stack
    config = configure(stack, world.index_url, "second", dimensions=32)
    second = Program(
        "second", ["tailrace", "worker", "--config", str(config)], stack.settings.logs / "two-second.log"
    )
    candidate = index_group(stack.settings.app, "articles", 2)

    def reindex(*arguments: str) -> None:
        # The writer never pauses: on busy cores the last records take as long as all before.
        done = tailrace(config, "reindex", *arguments, within_s=300)
        assert done.returncode == 0, f"{done.stderr}\n{world.worker.said()}\n{second.said()}"

    def both(group: str) -> None:
        eventually(
            lambda: at_work(stack, group) == 2,
            within_s=60,
            what=lambda: f"{group}\n{world.worker.said()}\n{second.said()}",
        )

    workload = Workload(stack, first_key=400_000, seed=24)
    met = 0
    second.launch()
    try:
        both(groups(stack)["resolve"])
        with workload.running():
            reindex("start", "articles", "--rate", "20", "--detach")
            for one, moves in ((second, True), (world.worker, True), (second, False)):
                both(candidate)
                before = committed(stack, candidate)
                eventually(
                    lambda before=before: committed(stack, candidate) != before,  # type: ignore[misc]
                    within_s=60,
                    what="the replay does not go on",
                )
                met += lag(stack, candidate) > 0
                assert one.kill()
                workload.wait_commits(30)
                if moves:  # or it is back within its session, and no partition moves
                    eventually(lambda: members(stack, candidate) == 1, within_s=60, what="it stays a member")
                assert one.launch()
            reindex("start", "articles", "--rate", "0")
            reindex("promote", "articles", "--force")
            workload.wait_newer(3)
        assert met, "not exercised: no kill met the replay at work"
        assert world.answering("articles") == 2
        world.check()
        check_answers(workload, at_least=100)
    finally:
        second.stop()
