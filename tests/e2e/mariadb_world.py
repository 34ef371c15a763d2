"""A stack with MariaDB beside Postgres, everything started while MariaDB was written to."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors.checks import Check
from connectors.inspect import inspect
from connectors.rest import ConnectClient
from core.secret import Secret
from infra.stack import Ports, Stack, StackSettings
from infra.stack.config import REPLICATOR
from infra.stack.mariadb import ADMIN
from infra.stack.settings import REPOSITORY
from tailrace.configuration import load
from tests.e2e.mariadb_load import Edits
from tests.e2e.support import HASHING, Api, eventually, read_topic
from tests.ports import free_ports

SOURCE: Final = "shop-mariadb"
ARRIVAL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class World:
    stack: Stack
    api: Api
    edits: Edits

    def run(self, *statements: str, parameters: tuple[Any, ...] = ()) -> str:
        """One transaction; the GTID under which it was committed, as its writer reads it."""
        with self.stack.mariadb.connect() as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            for statement in statements:
                cursor.execute(statement, parameters or None)
            cursor.execute("COMMIT")
            cursor.execute("SELECT @@last_gtid")
            return str(cursor.fetchall()[0][0])

    def search(self, word: str, at: str, **fields: Any) -> dict[str, Any]:
        found = self.api.search(word, profile="mariadb", min_position={SOURCE: at}, top_k=20, **fields)
        assert found["freshness"]["reached_min_position"], found["freshness"]
        return found

    def ask(self, question: str, at: str) -> dict[str, Any]:
        asked = {"model": "mariadb", "messages": [{"role": "user", "content": question}]}
        extra = {"tailrace": {"min_position": {SOURCE: at}}}
        return self.api._found("POST", "/v1/chat/completions", {**asked, **extra})

    def hits(self, word: str, at: str) -> list[dict[str, Any]]:
        return [hit for hit in self.search(word, at)["hits"] if word in hit["text"]]


def seed(stack: Stack) -> None:
    """Beside the sample shop a thousand rows."""
    statement = (
        "INSERT INTO {} SELECT seq, CONCAT('Note ', seq), CONCAT('Note number ', seq, ' says: keep item',"
        " seq, ' dry.'), 'care', {} FROM seq_{}_to_{}"
    )
    stack.mariadb.sql(statement.format("articles", "'en', MOD(seq, 10) <> 0, NOW(6)", 10001, 10600))
    stack.mariadb.sql(statement.format("products", "MOD(seq, 90) + 0.25, 3, NOW(6)", 10001, 10400))


@contextlib.contextmanager
def written_to(folder: Path) -> Iterator[World]:
    """Everything started while MariaDB was written to: the connector's snapshot met live edits."""
    jars = REPOSITORY / ".tailrace" / "stack" / "jars"
    settings = StackSettings(folder, Ports(*free_ports(6)), jars=jars, mariadb=True, encoder=HASHING)
    stack = Stack(settings)
    edits = Edits(stack)
    try:
        with contextlib.ExitStack() as writing:

            def live_edits() -> None:
                seed(stack)
                writing.enter_context(edits.running())
                edits.wait(50)

            stack.up(before_connector=live_edits)
            edits.wait(50)
        with Api(stack.http_url) as api:
            yield World(stack, api, edits)
    finally:
        stack.down()
        stack.clean()


def raw_events(world: World, table: str) -> list[dict[str, Any]]:
    messages = read_topic(world.stack, f"{SOURCE}.{table}")
    return [json.loads(message.value()) for message in messages if message.value() is not None]


def arrive(world: World) -> float:
    """Until everything that is committed now is covered by index and state; the seconds it took."""
    at = str(world.stack.mariadb.sql("SELECT @@gtid_binlog_pos")[0][0])

    def covered() -> bool:
        found = world.api.search("anything", profile="mariadb", min_position={SOURCE: at})
        return bool(found["freshness"]["reached_min_position"])

    return eventually(covered, within_s=ARRIVAL_SECONDS, what=lambda: str(world.api.freshness()))


def preflight(world: World, dsn: str | None = None) -> list[Check]:
    settings = load(world.stack.settings.config_path).settings
    reference = settings.sources[SOURCE].database
    assert reference is not None
    with ConnectClient(world.stack.connect_url) as client:
        config = client.config(world.stack.settings.mariadb_connector)
    assert config is not None
    indexed = {"shop.articles": ["id", "title", "body", "published"]}
    return inspect(dsn or Secret(reference).reveal(), config, indexed=indexed)


def connector_runs(world: World) -> bool:
    (status,) = (one for one in world.stack.status() if one.name == "connector of MariaDB")
    return status.up


def connect(world: World, *arguments: str, folder: Path | None = None, code: int = 0) -> tuple[str, str]:
    """`tailrace connect` as its user calls it; what it says. No secret is ever among it."""
    config = world.stack.settings.config_path if folder is None else folder / "tailrace.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "tailrace", "connect", *arguments, "--config", str(config)],
        cwd=folder or config.parent,
        env={"PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    for login in (ADMIN, REPLICATOR):
        assert world.stack.mariadb.password(login) not in done.stdout + done.stderr
    return done.stdout, done.stderr


def unlogged(world: World, *statements: str) -> None:
    """What the binlog never has."""
    with world.stack.mariadb.connect(ADMIN) as connection, connection.cursor() as cursor:
        for statement in ("SET SESSION sql_log_bin = 0", *statements):
            cursor.execute(statement)
