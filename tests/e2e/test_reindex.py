"""A reindex on the real stack while rows are written, questions asked, and the process killed.

One process runs what answers and what is built: each kill meets both. In the end both generations are
what SQL says, and the promoted one answers.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
import qdrant_edge
import yaml

from infra.stack import Stack
from infra.stack.config import tailrace_yaml
from infra.stack.settings import REPOSITORY
from tests.e2e.load import Workload, check_answers
from tests.e2e.oracle import check_points, check_rows, check_titles
from tests.e2e.support import HASHING, Api, committed, eventually, lag, one_stack, say, wait_arrived

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROWS: Final = 4000
KILLS: Final = 20
BLIND: Final = 4
"""Each so manieth kill does not wait for the replay to go on: it may meet a start."""

RATE: Final = 40
"""Embedded chunks a second: slow enough that the kills meet the replay."""

OTHER: Final = {"kind": "hashing", "dimensions": 32}


@dataclass(frozen=True, slots=True)
class World:
    stack: Stack
    api: Api

    @property
    def app(self) -> str:
        return self.stack.settings.app

    def group(self, number: int) -> str:
        return f"{self.app}-index-articles-g{number}"

    def configure(self, **section: Any) -> None:
        """The file of now: another encoder, and these settings of articles."""
        settings = replace(self.stack.settings, encoder=OTHER)
        tree = yaml.safe_load(tailrace_yaml(settings, self.stack.memory))
        tree["documents"]["articles"] |= section
        self.stack.settings.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        """The command line, from outside."""
        config = str(self.stack.settings.config_path)
        return subprocess.Popen(
            [sys.executable, "-m", "tailrace", "reindex", *arguments, "--config", config],
            cwd=REPOSITORY,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def reindex(self, *arguments: str) -> str:
        return self.ended(self.begin(*arguments))

    def ended(self, command: "subprocess.Popen[str]") -> str:
        out, err = command.communicate(timeout=120)
        assert command.returncode == 0, f"{err}\n{self.stack.tailrace.ended(self.stack.tailrace.log)}"
        return out + err

    def collections(self, document: str) -> list[str]:
        folder = self.stack.settings.directory / "index" / "collections"
        return sorted(one.name for one in folder.glob(f"{self.app}-{document}-g*"))

    def target(self, document: str) -> str:
        file = self.stack.settings.directory / "index" / "aliases.json"
        aliases = json.loads(file.read_text(encoding="utf-8"))["aliases"]
        return str(aliases[f"{self.app}-{document}"])

    def points(self, collection: str) -> list[tuple[str, dict[str, Any]]]:
        """Every point, while nobody owns the index."""
        folder = self.stack.settings.directory / "index" / "collections" / collection / "shard"
        shard = qdrant_edge.EdgeShard.load(str(folder))
        found: list[tuple[str, dict[str, Any]]] = []
        try:
            offset: Any = None
            while True:
                request = qdrant_edge.ScrollRequest(offset=offset, limit=1000, with_payload=True)
                points, offset = shard.scroll(request)
                found += [(str(one.id), one.payload or {}) for one in points]
                if offset is None:
                    return found
        finally:
            shard.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with one_stack(tmp_path_factory.mktemp("reindex"), HASHING) as stack:
        stack.up()
        for first in range(600_000, 600_000 + ROWS, 500):
            stack.sql(
                "INSERT INTO articles SELECT id, 'Bulk ' || id, 'The bulk row ' || id || ' waits.', 'care',"
                " 'en', true, now() FROM generate_series(%s::bigint, %s::bigint) id",
                [first, first + 499],
            )
        with Api(stack.http_url) as api:
            say(f"arrived after {wait_arrived(stack, api):.1f} s")
            yield World(stack, api)


def same(points: list[tuple[str, dict[str, Any]]]) -> set[str]:
    """What two generations of one configuration agree in: all but the encoder, and when it was written."""
    rows = set()
    for one, payload in points:
        if payload["kind"] == "chunk":
            rows.add(json.dumps([one, payload["key"], payload["text"], payload["metadata"]]))
        elif payload["kind"] == "manifest":
            rows.add(
                json.dumps([one, payload["key"], payload["version"], payload["chunks"], payload["title"]])
            )
    return rows


def test_a_reindex_under_load_survives_kills_at_any_moment(world: World) -> None:
    stack, api = world.stack, world.api
    rng = random.Random(31)  # noqa: S311 - the same moments each time
    workload = Workload(stack, articles=120, writers=2, seed=31)
    met = 0
    with workload.running():
        world.configure()
        world.reindex("start", "articles", "--rate", str(RATE), "--detach")
        before: dict[tuple[str, int], int] = {}
        for number in range(KILLS):
            if number == KILLS // 2:
                # The file changes again: what is recorded goes on, and the worker says what waits.
                world.configure(text="{{ title }}\n\n{{ body }}")
            if number % BLIND:
                eventually(
                    lambda before=before: committed(stack, world.group(2)) != before,  # type: ignore[misc]
                    within_s=90,
                    what="the replay does not go on",
                )
            workload.wait_commits(rng.randrange(1, 90))
            assert stack.tailrace.kill()
            now = committed(stack, world.group(2))
            waiting, moved = lag(stack, world.group(2)), now != before
            say(f"kill {number + 1}: the replay {'had' if moved else 'had not'} moved, {waiting} to go")
            met += moved and waiting > 0
            before = now
            assert stack.tailrace.launch()
        stack.tailrace.wait_ready()
        world.configure()
        said = world.reindex("start", "articles", "--rate", "0")
        assert "caught up" in said
        workload.wait_answers(50)
        # A wish that nobody was there to see is done by the next process.
        for turn in range(4):
            command = world.begin(*(["promote", "articles", "--force"], ["rollback", "articles"])[turn % 2])
            workload.wait_commits(rng.randrange(1, 30))
            if turn < 3:
                assert stack.tailrace.kill()
                assert stack.tailrace.launch()
            world.ended(command)
        workload.wait_answers(50)
        world.reindex("promote", "articles", "--force")
        workload.wait_answers(50)
    assert met >= KILLS // 2, f"not exercised: {met} kills met the replay at work"
    log = stack.tailrace.log.read_text(encoding="utf-8", errors="replace")
    assert "waits for a reindex" in log

    wait_arrived(stack, api)
    assert world.target("articles") == f"{world.app}-articles-g2"
    compared = check_rows(stack, api) + check_titles(stack, api, "articles")
    check_answers(workload, at_least=100)
    for number in (1, 2):
        eventually(
            lambda number=number: not lag(stack, world.group(number)),  # type: ignore[misc]
            within_s=30,
            what=f"generation {number} is behind",
        )
    stack.tailrace.stop()
    found = [world.points(name) for name in world.collections("articles")]
    assert len(found) == 2
    for points in found:
        compared += check_points(stack, "articles", points, unlisted_too=False)
    assert same(found[0]) == same(found[1])
    say(f"{compared} compared after {KILLS} kills, {met} of them in the replay")


def test_a_dropped_generation_leaves_nothing_behind(world: World) -> None:
    stack, api = world.stack, world.api
    stack.tailrace.launch()
    stack.tailrace.wait_ready()
    live = int(world.target("articles").rpartition("g")[2])
    for name in [*world.collections("articles")]:
        number = name.rpartition("g")[2]
        if int(number) != live:
            world.reindex("drop", "articles", number, "--yes")
    eventually(
        lambda: world.collections("articles") == [f"{world.app}-articles-g{live}"],
        within_s=30,
        what=lambda: str(world.collections("articles")),
    )
    eventually(lambda: not committed(stack, world.group(3 - live)), within_s=40, what="its group is there")
    say(world.reindex("ls"))
    wait_arrived(stack, api)
    assert check_titles(stack, api, "articles") > ROWS
