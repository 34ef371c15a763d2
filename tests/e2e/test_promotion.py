"""Promotions and rollbacks under questions: four clients never wait, and never see half of anything.

Kafka is real; what Debezium would write is written by hand. Both generations make the same rows into
texts and titles that begin with their own word, and their models have different dimensions, so an
answer made of two of them shows. Once with everything in one process over the embedded index, once
with worker, service and index server as three.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from infra.stack import Ports, Stack, StackSettings
from infra.stack.ports import LOOPBACK
from infra.stack.settings import REPOSITORY
from tests.e2e.program import Program
from tests.e2e.promotion_load import ONE, TWO, Client, asking
from tests.e2e.promotion_world import judge, moves, prepared, stored, wait_seen
from tests.e2e.support import eventually, say
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

TIMES: Final = 10


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Stack]]:
    """Kafka alone, one for each deployment."""
    with contextlib.ExitStack() as after:

        def make() -> Stack:
            folder = tmp_path_factory.mktemp("promotion")
            jars = REPOSITORY / ".tailrace" / "stack" / "jars"
            stack = Stack(StackSettings(folder, Ports(*free_ports(5)), jars=jars))
            after.callback(stack.broker.stop)
            stack.broker.launch()
            stack.broker.wait_ready()
            return stack

        yield make


def test_ten_promotions_and_rollbacks_in_one_process(broker: Callable[[], Stack]) -> None:
    stack = broker()
    folder = stack.settings.directory
    world = prepared(
        stack,
        {"kind": "edge", "path": "index"},
        lambda config: (Program("dev", ["tailrace", "dev", "--config", str(config)], folder / "dev.log"),),
    )
    (dev,) = world.programs
    with contextlib.ExitStack() as after:
        after.callback(dev.stop)
        dev.launch()
        world.wait_ready()
        after.enter_context(world.rows)
        with asking(world.url) as clients:
            world.reindex()
            assert {word for client in clients for word in client.seen} == {ONE}
            spent = moves(world, clients, TIMES)
        say(f"milliseconds from wish to alias: {sorted(spent)}")
        judge(clients)
        listed = json.loads(world.tailrace("reindex", "ls", "--json").stdout)
        assert [(one["number"], one["role"], one["note"]) for one in listed["generations"]] == [
            (1, "live", None),
            (2, "candidate", None),
        ]
        assert listed["strays"] == []
        refused = world.tailrace("reindex", "drop", "articles", "1", "--yes", code=2)
        assert "generation 1 answers for articles" in refused.stderr
        world.tailrace("reindex", "drop", "articles", "2", "--yes")
        eventually(lambda: stored(world) == [1], within_s=30, what=world.said)


def test_so_with_worker_service_and_index_apart_and_restarted_in_between(
    broker: Callable[[], Stack],
) -> None:
    stack = broker()
    folder = stack.settings.directory
    (index_port,) = free_ports(1)
    served = ["tests.qdrant_server", "--dir", str(folder / "server"), "--port", str(index_port)]
    world = prepared(
        stack,
        {"kind": "qdrant", "url": f"http://{LOOPBACK}:{index_port}"},
        lambda config: (
            Program("index", served, folder / "index.log"),
            Program("worker", ["tailrace", "worker", "--config", str(config)], folder / "worker.log"),
            Program("serve", ["tailrace", "serve", "--config", str(config)], folder / "serve.log"),
        ),
    )
    _, worker, serve = world.programs
    with contextlib.ExitStack() as after:
        for program in world.programs:
            after.callback(program.stop)
            program.launch()
        world.wait_ready()
        after.enter_context(world.rows)
        all_clients: list[Client] = []
        with asking(world.url) as clients:
            all_clients += clients
            world.reindex()
            world.tailrace("reindex", "promote", "articles")
            wait_seen(clients, TWO, world)
        for _ in range(2):  # what was promoted answers after both were started anew
            for program in (worker, serve):
                assert program.kill()
                program.launch()
            world.wait_ready()
            with asking(world.url) as clients:
                all_clients += clients
                wait_seen(clients, TWO, world)
                world.tailrace("reindex", "rollback", "articles")
                wait_seen(clients, ONE, world)
                world.tailrace("reindex", "promote", "articles", "--force")
                wait_seen(clients, TWO, world)
        with asking(world.url) as clients:
            all_clients += clients
            world.tailrace("reindex", "rollback", "articles")
            wait_seen(clients, ONE, world)
            spent = moves(world, clients, TIMES)
        say(f"milliseconds from wish to alias: {sorted(spent)}")
        judge(all_clients)
        world.tailrace("reindex", "drop", "articles", "2", "--yes")
        eventually(lambda: stored(world) == [1], within_s=30, what=world.said)
