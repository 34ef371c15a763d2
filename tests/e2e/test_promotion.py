"""Promotions and rollbacks under questions: four clients never wait, and never see half of anything.

Kafka is real; what Debezium would write is written by hand. Both generations make the same rows into
texts and titles that begin with their own word, and their models have different dimensions, so an
answer made of two of them shows. Once with everything in one process over the embedded index, once
with worker, service and index server as three.
"""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx2
import pytest
import yaml
from confluent_kafka import Producer

from infra.stack import Ports, Stack, StackSettings
from infra.stack.ports import LOOPBACK, free_ports
from infra.stack.processes import Command, Process, tail
from infra.stack.settings import REPOSITORY
from tailrace.configuration import load
from tailrace.reindex import decide
from tailrace.reindex.control import Control
from tests.e2e.support import eventually, say

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

TIMES: Final = 10
CLIENTS: Final = 4
ROWS: Final = 400
WORDS: Final = ("tent", "boot", "stove", "rope", "map", "lamp", "bag")
ONE, TWO = "Alpha", "Omega"


class Program(Process):
    """`python -m …`, started as a user would."""

    def __init__(self, folder: Path, name: str, argv: Sequence[str]) -> None:
        super().__init__(name, folder / f"{name}.json")
        self.log = folder / f"{name}.log"
        self._argv = [sys.executable, "-m", *argv]

    def launch(self) -> bool:
        if self.is_running():
            return False
        self.spawn(Command(self._argv, self.log, environ=dict(os.environ), cwd=REPOSITORY))
        return True

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """The tests wait for what a whole deployment answers."""

    def said(self) -> str:
        return f"{self.name}: {'running' if self.is_running() else 'ended'}\n{tail(self.log)}"


def configuration(brokers: str, port: int, index: dict[str, Any], word: str, dimensions: int) -> str:
    section = {
        "table": "shop.public.articles",
        "title": f"{word} {{{{ id }}}}",
        "text": f"{word} {{{{ body }}}}",
    }
    return yaml.safe_dump(
        {
            "app": "shop",
            "log": {"kind": "kafka", "brokers": [brokers]},
            "index": index,
            "encoder": {"kind": "hashing", "dimensions": dimensions},
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
            "documents": {"articles": section},
            "profiles": {"support": {"documents": ["articles"]}},
            "serve": {"port": port},
            "ingest": {"session_seconds": 6},
        }
    )


class Rows:
    """Writes the raw topic as Debezium would: all rows once, then edits, births and deaths until it stops."""

    def __init__(self, brokers: str) -> None:
        self._producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5})
        self._lsn = 1000
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._edit, daemon=True)

    def write(self, key: int, body: str | None) -> None:
        self._lsn += 10
        row = {"id": key, "body": body}
        source = {
            "connector": "postgresql",
            "name": "shop",
            "ts_ms": int(time.time() * 1000),
            "snapshot": "false",
            "sequence": json.dumps([str(self._lsn - 1), str(self._lsn)]),
            "schema": "public",
            "table": "articles",
            "lsn": self._lsn,
        }
        value = {
            "before": row if body is None else None,
            "after": None if body is None else row,
            "source": source,
            "op": "d" if body is None else "u",
            "ts_ms": source["ts_ms"],
        }
        made = json.dumps({"id": key}).encode(), json.dumps(value).encode()
        self._producer.produce("shop.public.articles", key=made[0], value=made[1], partition=0)

    def fill(self) -> None:
        for key in range(1, ROWS + 1):
            self.write(key, body(key, 0))
        self._producer.flush(30)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        self._producer.flush(30)

    def _edit(self) -> None:
        chance = random.Random(4)  # noqa: S311 - repeatable, not a secret
        turn = 0
        while not self._stop.wait(0.03):
            turn += 1
            self.write(chance.randint(1, ROWS), body(chance.randint(1, ROWS), turn))
            self.write(10_000 + turn, body(turn, turn))
            if turn > 20:
                self.write(10_000 + turn - 20, None)
            self._producer.poll(0)


def body(key: int, turn: int) -> str:
    return f"says that a {WORDS[key % len(WORDS)]} of kind {key % 17} needs care, edit {turn}."


@dataclass
class Client:
    """Searches, reads documents and pages without a pause."""

    url: str
    seed: int
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        chance = random.Random(self.seed)  # noqa: S311 - repeatable, not a secret
        with httpx2.Client(base_url=self.url, timeout=20, trust_env=False) as http:
            while not self._stop.is_set():
                ask = chance.choice((self._search, self._search, self._document, self._page))
                try:
                    ask(http, chance)
                except httpx2.HTTPError as error:
                    self.wrong.append(repr(error))

    def _search(self, http: httpx2.Client, chance: random.Random) -> None:
        query = f"{chance.choice(WORDS)} of kind {chance.randint(0, 16)}"
        found = http.post("/v1/search", json={"query": query, "profile": "support"})
        if self._good(found):
            hits = found.json()["hits"]
            self._marks("search", [hit["title"] for hit in hits] + [hit["text"] for hit in hits])

    def _document(self, http: httpx2.Client, chance: random.Random) -> None:
        found = http.get(f"/v1/documents/articles/{chance.randint(1, ROWS)}")
        if self._good(found):
            made = found.json()
            texts = [chunk["text"] for chunk in made["chunks"]]
            self._marks("document", [made["manifest"]["title"], *texts] if texts else [])

    def _page(self, http: httpx2.Client, chance: random.Random) -> None:
        found = http.get(f"/v1/documents/articles?limit={chance.randint(5, 100)}")
        if self._good(found):
            self._marks("page", [line["title"] for line in found.json()["data"]])

    def _good(self, answer: httpx2.Response) -> bool:
        if not answer.is_success:
            self.wrong.append(f"{answer.request.url}: {answer.status_code} {answer.text[:300]}")
        return answer.is_success

    def _marks(self, what: str, texts: Sequence[str]) -> None:
        marks = {text.partition(" ")[0] for text in texts}
        if len(marks) != 1:
            self.wrong.append(f"{what}: {'empty' if not marks else f'mixed: {sorted(marks)}'}")
        self.seen.update(marks)

    def stop(self) -> None:
        self._stop.set()


@contextlib.contextmanager
def asking(url: str) -> Iterator[list[Client]]:
    clients = [Client(url, seed) for seed in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.stop()
        for thread in threads:
            thread.join(30)


@dataclass(frozen=True, slots=True)
class World:
    folder: Path
    config: Path
    url: str
    brokers: str
    programs: tuple[Program, ...]
    index: dict[str, Any]
    port: int
    rows: Rows

    def configure(self, word: str, dimensions: int) -> None:
        made = configuration(self.brokers, self.port, self.index, word, dimensions)
        self.config.write_text(made, encoding="utf-8")

    def tailrace(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """The command line, from outside."""
        done = subprocess.run(
            [sys.executable, "-m", "tailrace", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            timeout=120,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stderr}\n{self.said()}"
        return done

    def said(self) -> str:
        return "\n".join(one.said() for one in self.programs)

    def wait_ready(self) -> None:
        def ready() -> bool:
            for (
                program
            ) in self.programs:  # what a supervisor does: a broker just made is not ready for groups
                program.launch()
            with contextlib.suppress(httpx2.HTTPError):
                return httpx2.get(f"{self.url}/health/ready", trust_env=False, timeout=5).status_code == 200
            return False

        eventually(ready, within_s=60, what=self.said)

    def reindex(self) -> None:
        """The configuration of the second generation, built by replay while questions are answered."""
        self.configure(TWO, 32)
        done = self.tailrace("reindex", "start", "articles")
        assert "generation 2 of articles begins: title, text, encoder changed" in done.stderr
        assert "caught up" in done.stderr


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


def prepared(stack: Stack, index: dict[str, Any], programs: Callable[[Path], tuple[Program, ...]]) -> World:
    """Topics and rows are there; nothing of ours runs yet."""
    (port,) = free_ports(1)
    folder = stack.settings.directory
    config = folder / "tailrace.yaml"
    made = World(
        folder,
        config,
        f"http://{LOOPBACK}:{port}",
        stack.brokers,
        programs(config),
        index,
        port,
        Rows(stack.brokers),
    )
    made.configure(ONE, 64)
    made.tailrace("topics", "apply")
    made.rows.fill()
    return made


def wait_seen(clients: Sequence[Client], word: str, world: World) -> None:
    """Each client has got several answers of this generation from now on."""
    before = [client.seen[word] for client in clients]
    eventually(
        lambda: all(c.seen[word] >= b + 3 for c, b in zip(clients, before, strict=True)),
        within_s=30,
        what=world.said,
    )


def judge(clients: Sequence[Client]) -> None:
    wrong = [what for client in clients for what in client.wrong]
    seen = sum((client.seen for client in clients), Counter[str]())
    say(f"{sum(seen.values())} answers, {dict(seen)}, {len(wrong)} wrong")
    assert not wrong, wrong[:5]
    assert min(seen[ONE], seen[TWO]) > 100, "not exercised"


def moves(world: World, clients: Sequence[Client], times: int) -> list[int]:
    """Promote and roll back so many times, clients seeing each; the milliseconds of each move.

    The first time by the commands, gate included; then as they do it, without starting a program each.
    """
    spent = []
    for command, word in (("promote", TWO), ("rollback", ONE)):
        done = world.tailrace("reindex", command, "articles", "--json")
        spent.append(json.loads(done.stdout)["milliseconds"])
        wait_seen(clients, word, world)

    async def others() -> None:
        async with Control(load(world.config).settings) as control:
            for _ in range(times - 1):
                for wish, word in ((decide.promotion, TWO), (decide.rollback, ONE)):
                    moved = await control.move(wish(control.registry, "articles", control.now()), 30.0)
                    spent.append(moved.milliseconds)
                    await asyncio.to_thread(wait_seen, clients, word, world)

    asyncio.run(others())
    return spent


def test_ten_promotions_and_rollbacks_in_one_process(broker: Callable[[], Stack]) -> None:
    stack = broker()
    folder = stack.settings.directory
    world = prepared(
        stack,
        {"kind": "edge", "path": "index"},
        lambda config: (Program(folder, "dev", ["tailrace", "dev", "--config", str(config)]),),
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
        eventually(lambda: _stored(world) == [1], within_s=30, what=world.said)


def _stored(world: World) -> list[int]:
    found = httpx2.get(f"{world.url}/v1/generations", trust_env=False, timeout=10).json()
    assert found["strays"] == []
    return [one["number"] for one in found["data"] if one["documents"] is not None]


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
            Program(folder, "index", served),
            Program(folder, "worker", ["tailrace", "worker", "--config", str(config)]),
            Program(folder, "serve", ["tailrace", "serve", "--config", str(config)]),
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
        eventually(lambda: _stored(world) == [1], within_s=30, what=world.said)
