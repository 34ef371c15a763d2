"""A desk for `tailrace connect`: a folder with connectors beside the stack's own, and the command line in it.

Names, prefixes, slots and publications are the desk's; at the end nothing of them is left.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from connectors.preset import derived_name, postgres_config
from connectors.rest import ConnectClient
from connectors.spec import spec_of, write_spec
from infra.stack import Stack
from infra.stack.config import ADMIN, HEARTBEAT, SIGNAL
from tests.e2e.support import eventually

SECRET = "s3cret-canary-7c1f"  # noqa: S105 - looked for in every output
LOOPBACK = {"no-tls": "database and connector are on one machine"}


@dataclass
class Desk:
    """A folder with tailrace.yaml and connectors, and the command line in it."""

    stack: Stack
    folder: Path
    said: list[str] = field(default_factory=list)
    """Everything that was ever printed."""

    def write(
        self,
        name: str,
        *,
        state: str = "running",
        tables: tuple[str, ...] = ("public.articles",),
        accept: Mapping[str, str] | None = None,
        **changed: str,
    ) -> Path:
        config = postgres_config(
            prefix=name,
            tables=tables,
            host="127.0.0.1",
            port=self.stack.settings.ports.pg,
            database="shop",
            user="debezium",
            password=f"${{file:{self.stack.settings.secrets / 'connect.properties'}:debezium}}",
            placeholder=f"__uv_{name}_0123456789__",
            sslmode="disable",
            poll_interval_ms=10,
            heartbeat_interval_ms=500,
        )
        config |= {key.replace("__", "."): value for key, value in changed.items()}
        path = self.folder / "connectors" / f"{name}.yaml"
        spec = spec_of(name, config, accept={**LOOPBACK, **(accept or {})})
        write_spec(spec.model_copy(update={"state": state}), path)
        return path

    def publish(self, name: str, *tables: str) -> None:
        """What an administrator makes beforehand."""
        listed = ", ".join((*(tables or ("public.articles",)), HEARTBEAT, SIGNAL))
        made = f"CREATE PUBLICATION {derived_name(name)} FOR TABLE {listed}"
        self.admin(f"{made} WITH (publish_via_partition_root = true)")

    def admin(self, statement: str) -> list[tuple[Any, ...]]:
        with self.stack.postgres.connect(ADMIN) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tailrace", "connect", *arguments],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(timeout=120)
        self.said += [out, err]
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def run(self, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = self.end(self.start(*arguments, **environment))
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def apply(self, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("apply", *arguments, "--settle", "2", code=code, **environment)

    def put(self, name: str, **changed: str) -> None:
        """Somebody with curl."""
        with ConnectClient(self.stack.connect_url) as client:
            config = client.config(name) or {}
            client.put_config(name, {**config, **{k.replace("__", "."): v for k, v in changed.items()}})


@contextlib.contextmanager
def desk_in(folder: Path, stack: Stack) -> Iterator[Desk]:
    """Beside a stack that runs; at the end nothing of the desk is left there."""
    made = Desk(stack, folder)
    (folder / "connectors").mkdir()
    whole = yaml.safe_load(stack.settings.config_path.read_text())
    source = {key: whole["sources"]["shop"][key] for key in ("database", "tables")}
    tree = {
        "app": "trial",
        "connect": whole["connect"],
        "sources": {"one": {**source, "prefix": "one", "tables": ["public.articles"]}},
    }
    (folder / "tailrace.yaml").write_text(yaml.safe_dump(tree))
    before = publications(made)
    yield made
    password = stack.postgres.password("debezium")
    assert not [text for text in made.said if password in text or SECRET in text]
    if not stack.connect.is_running():
        stack.up(with_tailrace=stack.tailrace.is_running())
    with ConnectClient(stack.connect_url, patience=30.0) as client:
        for name in client.names():
            if name != stack.connector:
                client.stop(name)
                eventually(
                    lambda name=name: state(client, name) == "stopped",  # type: ignore[misc]
                    within_s=30,
                    what="it stops",
                )
                client.delete_offsets(name)
                client.delete(name)
    eventually(lambda: drop_slots(made), within_s=30, what="slots stay")
    for publication in publications(made) - before:
        made.admin(f"DROP PUBLICATION {publication}")


def publications(desk: Desk) -> set[str]:
    return {row[0] for row in desk.admin("SELECT pubname FROM pg_publication")}


def slots(desk: Desk) -> set[str]:
    own = derived_name(desk.stack.settings.prefix)
    return {row[0] for row in desk.admin("SELECT slot_name FROM pg_replication_slots")} - {own}


def drop_slots(desk: Desk) -> bool:
    own = derived_name(desk.stack.settings.prefix)
    desk.admin(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        f" WHERE NOT active AND slot_name <> '{own}'"
    )
    return not slots(desk)


def state(client: ConnectClient, name: str) -> str:
    found = client.status(name)
    return "none" if found is None else found.summary
