"""`tailrace connect` as its user meets it: the real Connect, the real Postgres, through the command line.

All of it beside the stack's own connector: with names, prefixes, slots and publications of its own.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from connectors.preset import derived_name, postgres_config
from connectors.rest import ConnectClient
from connectors.spec import spec_of, write_spec
from infra.stack import Stack
from infra.stack.config import ADMIN, HEARTBEAT, SIGNAL

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

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


@pytest.fixture
def desk(stack: Stack, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(stack, tmp_path)
    (tmp_path / "connectors").mkdir()
    whole = yaml.safe_load(stack.settings.config_path.read_text())
    source = {key: whole["sources"]["shop"][key] for key in ("database", "tables")}
    tree = {
        "app": "trial",
        "connect": whole["connect"],
        "sources": {"one": {**source, "prefix": "one", "tables": ["public.articles"]}},
    }
    (tmp_path / "tailrace.yaml").write_text(yaml.safe_dump(tree))
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
                eventually(lambda name=name: state(client, name) == "stopped", "it does not stop")  # type: ignore[misc]
                client.delete_offsets(name)
                client.delete(name)
    eventually(lambda: not idle_slots(made) or drop(made), "slots stay")
    for publication in publications(made) - before:
        made.admin(f"DROP PUBLICATION {publication}")


def publications(desk: Desk) -> set[str]:
    return {row[0] for row in desk.admin("SELECT pubname FROM pg_publication")}


def slots(desk: Desk) -> set[str]:
    own = derived_name(desk.stack.settings.prefix)
    return {row[0] for row in desk.admin("SELECT slot_name FROM pg_replication_slots")} - {own}


def idle_slots(desk: Desk) -> set[str]:
    return slots(desk)


def drop(desk: Desk) -> bool:
    own = derived_name(desk.stack.settings.prefix)
    desk.admin(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        f" WHERE NOT active AND slot_name <> '{own}'"
    )
    return not slots(desk)


def state(client: ConnectClient, name: str) -> str:
    found = client.status(name)
    return "none" if found is None else found.summary


def eventually(true: Callable[[], bool], what: str, *, within_s: float = 30.0) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, what
        time.sleep(0.05)


def test_a_connector_is_created_and_a_second_apply_writes_nothing(desk: Desk) -> None:
    desk.write("one")
    desk.publish("one")
    assert "ok    one" in desk.run("validate").stdout
    planned = desk.run("plan", "--check", code=3)
    assert "+ one" in planned.stdout
    assert "1 change: 1 create" in planned.stderr
    assert f"not ours, left alone: {desk.stack.connector}" in planned.stderr
    done = desk.apply()
    assert "ok    one: running" in done.stdout
    assert "1 write, 1 ok, 0 failed" in done.stderr
    assert "0 writes, 1 ok, 0 failed" in desk.apply().stderr
    assert desk.run("plan", "--check").stderr.strip().endswith("no changes")
    with ConnectClient(desk.stack.connect_url) as client:
        eventually(lambda: "one.public.articles" in client.topics("one"), "no snapshot came")


def test_drift_made_by_hand_is_found_and_repaired(desk: Desk) -> None:
    desk.write("one")
    desk.publish("one")
    desk.apply()
    desk.put("one", poll__interval__ms="9999", slot__name="another")
    found = json.loads(desk.run("plan", "--check", "--json", code=3).stdout)
    (step,) = found["steps"]
    assert {change["key"] for change in step["changes"]} == {"poll.interval.ms", "slot.name"}
    assert any("tailrace resync" in (change["risk"] or "") for change in step["changes"])
    repaired = desk.apply()
    assert "~ poll.interval.ms: 9999 → 10" in repaired.stdout
    desk.run("plan", "--check")


def test_a_configuration_that_cannot_work_is_stopped_by_whoever_knows_first(desk: Desk) -> None:
    """The preset offline, then the database, then the worker; and then the task, when all were skipped."""
    with ConnectClient(desk.stack.connect_url) as client:
        desk.write("one", skipped__operations="t")
        assert "TRUNCATE" in desk.apply(code=2).stderr
        assert "TRUNCATE" in desk.run("validate", "--offline", code=1).stdout
        desk.write("one")
        refused = desk.apply(code=1)
        assert "CREATE PUBLICATION tailrace_one FOR TABLE" in refused.stderr
        assert "nothing was sent" in refused.stderr
        desk.write("one", snapshot__mode="bogus", accept={"snapshot.mode": "a test"})
        wrong = desk.apply("--skip-preflight", code=1)
        assert "snapshot.mode: The 'snapshot.mode' value is invalid" in wrong.stderr
        assert client.config("one") is None
        desk.write("one", tables=("public.articles",))
        failed = desk.apply("--skip-preflight", code=1)
        assert "fail  one: failed" in failed.stdout
        assert "Publication autocreation is disabled" in failed.stderr
        assert "hint: the publication is missing" in failed.stderr
        assert "\tat io.debezium" not in failed.stderr
        assert "\tat io.debezium" in desk.apply("--skip-preflight", "--trace", code=1).stderr
    shown = desk.run("status", "one", code=1)
    assert "hint: the publication is missing" in shown.stdout


def test_a_failed_task_is_restarted_and_waited_for(desk: Desk) -> None:
    desk.write("one")
    desk.apply("--skip-preflight", code=1)
    again = desk.run("restart", "--settle", "1", code=1)
    assert "fail  one: failed" in again.stdout
    desk.publish("one")
    assert "ok    one: running" in desk.run("restart", "--settle", "1").stdout
    assert "nothing has failed" in desk.run("restart").stderr
    assert "ok    one: running" in desk.run("restart", "one", "--task", "0", "--settle", "1").stdout
    desk.run("status", "one")


def test_a_wrong_password_is_a_hint_and_never_shown(desk: Desk) -> None:
    desk.write("one", database__password="${env:PG_PASSWORD}")  # noqa: S106 - a reference
    desk.publish("one")
    assert "environment variable PG_PASSWORD is not set" in desk.run("plan", code=2).stderr
    planned = desk.run("plan", PG_PASSWORD=SECRET)
    assert "+ database.password: ********" in planned.stdout
    for arguments in (["validate"], ["apply", "--trace"], ["apply", "--json", "--skip-preflight"]):
        done = desk.run(*arguments, code=1, PG_PASSWORD=SECRET)
        assert "password authentication failed" in done.stdout + done.stderr
    with ConnectClient(desk.stack.connect_url) as client:
        assert client.config("one") is None
    right = desk.stack.postgres.password("debezium")
    desk.apply(PG_PASSWORD=right)
    changed = desk.run("plan", PG_PASSWORD=SECRET)
    assert "~ database.password: ******** → ********" in changed.stdout
    desk.run("plan", "--check", PG_PASSWORD=right)
    exported = desk.run("export", "one")
    assert "database.password: ${env:ONE_DATABASE_PASSWORD}" in exported.stdout
    assert "held a secret in the open" in exported.stderr


def test_a_worker_restarted_in_the_middle_of_an_apply_is_waited_for(desk: Desk) -> None:
    desk.write("one")
    desk.publish("one")
    running = desk.start("apply", "--settle", "4", "--timeout", "90")
    with ConnectClient(desk.stack.connect_url) as client:
        eventually(lambda: client.config("one") is not None, "nothing was sent")
    desk.stack.connect.kill()
    desk.stack.connect.start()
    done = desk.end(running)
    assert done.returncode == 0, done.stderr
    assert "ok    one: running" in done.stdout
    assert "0 writes, 1 ok" in desk.apply().stderr


def test_a_worker_that_is_away_when_apply_begins_is_waited_for(desk: Desk) -> None:
    desk.write("one")
    desk.publish("one")
    desk.stack.connect.kill()
    running = desk.start("apply", "--settle", "1")
    desk.stack.connect.start()
    done = desk.end(running)
    assert done.returncode == 0, done.stderr


def test_two_connectors_at_once_and_one_that_fails(desk: Desk) -> None:
    desk.write("one")
    desk.write("two", tables=("public.products",))
    desk.publish("one")
    done = desk.apply("--skip-preflight", code=1)
    assert "ok    one: running" in done.stdout
    assert "fail  two: failed" in done.stdout
    desk.publish("two", "public.products")
    done = desk.apply()
    assert "ok    two: running" in done.stdout
    assert "1 change: 1 state" in done.stderr
    (desk.folder / "connectors" / "two.yaml").unlink()
    assert "in no file, and ours: two" in desk.apply().stderr
    refused = desk.apply("--prune", code=2)
    assert "--yes" in refused.stderr
    assert "ok    two: absent" in desk.apply("--prune", "--yes").stdout
    with ConnectClient(desk.stack.connect_url) as client:
        assert set(client.names()) == {"one", desk.stack.connector}


def test_two_connectors_of_one_slot_are_a_conflict(desk: Desk) -> None:
    desk.write("one", slot__name=derived_name(desk.stack.settings.prefix))
    done = desk.run("plan", code=1)
    assert f"connectors {desk.stack.connector} and one have the same slot.name" in done.stderr


def test_state_goes_there_and_back_by_file_and_by_hand(desk: Desk) -> None:
    desk.publish("one")
    desk.write("one", state="stopped")
    assert "ok    one: stopped" in desk.apply().stdout
    assert slots(desk) == set(), "what is to be stopped has never begun"
    desk.write("one", state="paused", poll__interval__ms="20")
    assert "ok    one: paused" in desk.apply().stdout
    desk.write("one")
    assert "~ state: paused → running" in desk.apply().stdout
    for verb, word in (("pause", "paused"), ("stop", "stopped")):
        assert f"ok    one: {word}" in desk.run(verb, "one").stdout
        assert f"~ state: {word} → running" in desk.run("plan", "--check", code=3).stdout
    assert "ok    one: running" in desk.run("resume", "one", "--settle", "1").stdout
    assert "there is no connector nope" in desk.run("pause", "nope", code=2).stderr


def test_offsets_are_shown_set_and_reset(desk: Desk, tmp_path: Path) -> None:
    desk.write("one")
    desk.publish("one")
    desk.apply()
    with ConnectClient(desk.stack.connect_url) as client:
        eventually(lambda: bool(client.offsets("one")), "nothing is committed")
    assert '{"server": "one"}' in desk.run("offsets", "show", "one").stdout
    assert "tailrace connect stop one" in desk.run("offsets", "reset", "one", "--yes", code=2).stderr
    assert "--yes" in desk.run("offsets", "reset", "one", "--stop", code=2).stderr
    desk.run("stop", "one")
    saved = tmp_path / "saved.json"
    saved.write_text(desk.run("offsets", "show", "one", "--json").stdout)
    assert "1 offset(s) forgotten" in desk.run("offsets", "reset", "one", "--yes").stdout
    assert "nothing is committed" in desk.run("offsets", "show", "one").stderr
    assert "1 offset(s) set" in desk.run("offsets", "set", "one", str(saved), "--yes").stdout
    assert desk.run("offsets", "show", "one", "--json").stdout == saved.read_text()
    saved.write_text('[{"partition": {"server": "else"}, "offset": {"lsn": 1}}]')
    assert (
        "is none of this connector's" in desk.run("offsets", "set", "one", str(saved), "--yes", code=2).stderr
    )
    assert "ok    one: running" in desk.run("resume", "one", "--settle", "1").stdout


def test_a_lost_slot_is_told_and_mended_by_a_reset(desk: Desk) -> None:
    desk.write("one")
    desk.publish("one")
    desk.apply()
    with ConnectClient(desk.stack.connect_url) as client:
        eventually(lambda: "lsn_commit" in str(client.offsets("one")), "nothing is committed")
    desk.run("stop", "one")
    eventually(lambda: drop(desk), "the slot stays")
    failed = desk.run("resume", "one", "--settle", "1", code=1)
    assert "no longer available on the server" in failed.stderr
    assert "tailrace connect offsets reset one --stop" in failed.stderr
    desk.run("offsets", "reset", "one", "--stop", "--yes")
    assert "ok    one: running" in desk.run("resume", "one", "--settle", "1").stdout


@pytest.fixture
def big(desk: Desk) -> Iterator[Desk]:
    """A table that takes some seconds to read, and one with a generated column."""
    desk.stack.sql(
        "CREATE TABLE big AS SELECT g AS id, repeat('x', 200) AS body"
        " FROM generate_series(1::bigint, 400000) g"
    )
    desk.stack.sql("ALTER TABLE big ADD PRIMARY KEY (id)")
    desk.stack.sql(
        "CREATE TABLE totals (id bigint PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a + 1) STORED)"
    )
    desk.stack.sql("GRANT SELECT ON big, totals TO debezium")
    yield desk
    desk.stack.sql("DROP TABLE big, totals")


def test_a_table_is_read_by_an_incremental_snapshot_with_progress_and_stop(big: Desk) -> None:
    desk = big
    desk.write("one")
    desk.publish("one", "public.articles", "public.big", "public.totals")
    desk.apply()
    refused = desk.run("snapshot", "start", "one", "--table", "public.big", code=2)
    assert "not in the connector's table.include.list" in refused.stderr
    desk.write("one", tables=("public.articles", "public.big", "public.totals"))
    added = desk.apply("--skip-preflight")
    assert "tailrace connect snapshot start one --table public.big --table public.totals" in added.stdout
    refused = desk.run("snapshot", "start", "one", "-t", "public.totals", "-t", "public.nosuch", code=2)
    assert "skips such a table without a word" in refused.stderr
    assert "public.nosuch does not exist" in refused.stderr
    assert "no snapshot runs" in desk.run("snapshot", "status", "one").stdout
    started = desk.run("snapshot", "start", "one", "--table", "public.big")
    assert re.search(r"reading public\.big, .* 400000", started.stdout)
    assert json.loads(desk.run("snapshot", "status", "one", "--json").stdout)["tables"] == ["public.big"]
    assert "no snapshot runs any more" in desk.run("snapshot", "stop", "one").stdout
    assert "no snapshot runs" in desk.run("snapshot", "stop", "one").stderr
    whole = desk.run("snapshot", "start", "one", "-t", "public.articles", "-t", "public.big", "--wait")
    shares = [int(share) for share in re.findall(r"reading public\.big.* \((\d+)%\)", whole.stdout)]
    assert shares == sorted(shares)
    assert len(shares) > 1
    assert "public.articles, public.big read" in whole.stderr
    assert desk.admin(f"SELECT count(*) FROM {SIGNAL} WHERE id LIKE 'tailrace-%'") == [(0,)]


def test_an_exported_cluster_is_adopted_without_a_change(desk: Desk) -> None:
    desk.publish("one")
    desk.write("one")
    desk.apply()
    (desk.folder / "connectors" / "one.yaml").unlink()
    desk.run("export", "one", "--to", "adopted")
    again = desk.run("export", "one", "--to", "adopted", code=2)
    assert "--force" in again.stderr
    path = desk.folder / "adopted" / "one.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["accept"] = LOOPBACK
    path.write_text(yaml.safe_dump(tree))
    assert desk.run("plan", "adopted", "--check").stderr.strip().endswith("no changes")
    assert "= one" in desk.run("plan", "adopted").stdout


def test_what_a_deleted_connector_leaves_is_told_and_clean_removes_it(desk: Desk) -> None:
    desk.publish("one")
    desk.write("one")
    desk.apply()
    with ConnectClient(desk.stack.connect_url) as client:
        eventually(lambda: "one.public.articles" in client.topics("one"), "no snapshot came")
        eventually(lambda: bool(client.offsets("one")), "nothing is committed")
    assert "--yes" in desk.run("delete", "one", code=2).stderr
    told = desk.run("delete", "one", "--yes").stderr
    for what in (
        "slot tailrace_one",
        "publication tailrace_one",
        "source offsets",
        "topic one.public.articles",
    ):
        assert what in told
    assert slots(desk) == {"tailrace_one"}
    desk.apply()
    kept = desk.run("delete", "one", "--clean", "--yes", code=1)
    assert "deleted slot tailrace_one" in kept.stdout
    assert "publication tailrace_one stays" in kept.stderr, "the connector's own role may not drop it"
    desk.apply()
    dsn = desk.folder / "admin.dsn"
    dsn.write_text(desk.stack.postgres.dsn(ADMIN))
    done = desk.run("delete", "one", "--clean", "--yes", "--database", f"${{file:{dsn}}}")
    assert "deleted source offsets" in done.stdout
    assert "topic one.public.articles stays" in done.stderr
    assert slots(desk) == set()
    assert "tailrace_one" not in publications(desk)


def test_no_secret_is_taken_on_the_command_line(desk: Desk) -> None:
    desk.publish("one")
    desk.write("one")
    desk.apply()
    done = desk.run("delete", "one", "--clean", "--yes", "--database", f"postgresql://u:{SECRET}@h/d", code=2)
    assert "--database takes a reference" in done.stderr


def test_a_connect_that_is_not_there_is_one_line(desk: Desk) -> None:
    began = time.monotonic()
    done = desk.run("status", "--url", "http://127.0.0.1:9", code=1)
    assert "is Connect running there" in done.stderr
    assert not done.stdout
    assert time.monotonic() - began < 20


def test_status_shows_worker_connectors_and_topics(desk: Desk) -> None:
    desk.publish("one")
    desk.write("one")
    desk.apply()
    shown = desk.run("status")
    assert "healthy, version 4." in shown.stderr
    assert re.search(r"one +running +0 RUNNING +\S+ +PostgresConnector 3\.", shown.stdout)
    data = json.loads(desk.run("status", "one", "--json").stdout)
    assert data["connectors"][0]["state"] == "running"
    answer = httpx2.get(f"{desk.stack.connect_url}/connectors/one/config", trust_env=False)
    assert answer.json()["tailrace.owner"] == "trial"
