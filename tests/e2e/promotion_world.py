"""A deployment over Kafka alone: its programs, its configuration, and what its commands do to it."""

import asyncio
import contextlib
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

from infra.stack import Stack
from infra.stack.ports import LOOPBACK
from tailrace.configuration import load
from tailrace.reindex import decide
from tailrace.reindex.control import Control
from tests.e2e.program import Program, tailrace
from tests.e2e.promotion_load import ONE, TWO, Client, Rows
from tests.e2e.support import Unavailable, eventually, say
from tests.ports import free_ports


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
        """The command line."""
        done = tailrace(self.config, *arguments)
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


def stored(world: World) -> list[int]:
    answer = httpx2.get(f"{world.url}/v1/generations", trust_env=False, timeout=10)
    if answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE:  # the index is busy with the drop
        raise Unavailable(answer.text)
    assert answer.is_success, answer.text
    found = answer.json()
    assert found["strays"] == []
    return [one["number"] for one in found["data"] if one["documents"] is not None]
