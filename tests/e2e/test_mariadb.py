"""MariaDB through Debezium, from COMMIT to index, state and answer, on the real stack."""

import contextlib
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pymysql
import pytest
import yaml

from connectors.checks import Check
from connectors.inspect import inspect
from connectors.preset import violations
from connectors.rest import ConnectClient
from connectors.spec import write_spec
from core.settings import Secret
from infra.stack import Ports, Stack, StackSettings
from infra.stack.config import MARIADB_SIGNAL, MARIADB_TABLES, REPLICATOR, mariadb_connector_spec
from infra.stack.mariadb import ADMIN
from infra.stack.ports import free_ports
from infra.stack.settings import REPOSITORY
from infra.stack.shop_mariadb import grants
from tailrace.configuration import load
from tailrace.doctor import examine
from tests.e2e.oracle import Compared, _live, _plain, _points
from tests.e2e.support import HASHING, Api, eventually, read_topic, say

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SOURCE: Final = "shop-mariadb"
ASIDE: Final = "aside-mariadb"
SNAPSHOT_ROWS: Final = 1000
FIRST_KEY: Final = 100_000
ARRIVAL_SECONDS: Final = 60.0


class Edits:
    """One writer: inserts, updates, REPLACE, deletes and changes of key, in transactions, until stopped."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self.committed: list[float] = []
        """When (s since 1970) each transaction was committed."""

    @contextlib.contextmanager
    def running(self) -> Iterator["Edits"]:
        self._stop.clear()
        thread = threading.Thread(target=self._guard)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(30)
        if self._failure is not None:
            raise self._failure

    def wait(self, more: int) -> None:
        wanted = len(self.committed) + more
        eventually(
            lambda: len(self.committed) >= wanted or self._failure is not None, within_s=30, what="commits"
        )

    def _guard(self) -> None:
        try:
            self._write()
        except BaseException as error:  # noqa: BLE001 - raised again where the test is
            self._failure = error

    def _write(self) -> None:
        rng = random.Random(11)  # noqa: S311 - the same load each time
        with self._stack.mariadb.connect() as connection, connection.cursor() as cursor:
            while not self._stop.is_set():
                cursor.execute("BEGIN")
                for _ in range(rng.choice((1, 1, 2, 4))):
                    number = len(self.committed)
                    for statement, parameters in _edit(rng, number):
                        cursor.execute(statement, parameters)
                cursor.execute("COMMIT")
                self.committed.append(time.time())
                self._stop.wait(0.005)


_UPSERT: Final = (
    "INSERT INTO articles VALUES (%s, %s, %s, 'care', 'en', 1, NOW(6)) ON DUPLICATE KEY UPDATE"
    " title = VALUES(title), body = VALUES(body), published = %s, updated_at = NOW(6)"
)


def _edit(rng: random.Random, number: int) -> list[tuple[str, list[Any]]]:
    key, kind = FIRST_KEY + rng.randrange(300), rng.random()
    said = [f"Note {number}", f"Note {number} of {key}: keep it dry."]
    if kind < 0.1:
        return [("DELETE FROM articles WHERE id = %s", [key])]
    if kind < 0.2:
        moved = FIRST_KEY + 1000 + rng.randrange(300)
        return [
            ("DELETE FROM articles WHERE id = %s", [moved]),
            ("UPDATE articles SET id = %s WHERE id = %s", [moved, key]),
        ]
    if kind < 0.4:
        order = FIRST_KEY + rng.randrange(100)
        values = [order, order % 30, f"step {number}", f"{number}.50"]
        return [
            (
                "REPLACE INTO orders VALUES (%s, %s, 201, %s, '2026-12-01', %s, NOW(6))",
                values,
            )
        ]
    if kind < 0.6:
        return [("REPLACE INTO articles VALUES (%s, %s, %s, 'care', 'en', 1, NOW(6))", [key, *said])]
    return [
        (
            _UPSERT,
            [key, *said, int(rng.random() < 0.9)],
        )
    ]


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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything started while MariaDB was written to: the connector's snapshot met live edits."""
    folder = tmp_path_factory.mktemp("mariadb") / "stack"
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


def check_all(world: World) -> int:
    """State topics, documents over HTTP, state entries: every row against SQL."""
    count = sum(_check_state(world, table) for table in MARIADB_TABLES)
    count += sum(_check_documents(world, name) for name in ("articles", "products"))
    return count + _check_entries(world)


def _check_state(world: World, table: str) -> int:
    expected = sql_rows(world, f"SELECT * FROM {table}")
    result = Compared(f"{table} in the state topic")
    handle = Stack(replace(world.stack.settings, prefix=SOURCE))
    live = list(_live(handle, table))
    result.keys(Counter(str(row["id"]) for row in live), expected)
    for row in live:
        if (key := str(row["id"])) in expected:
            result.equal(key, like(expected[key], row), expected[key])
    return result.check()


def _check_documents(world: World, table: str) -> int:
    where = "WHERE published" if table == "articles" else ""
    rows = sql_rows(world, f"SELECT * FROM {table} {where}")
    text = "body" if table == "articles" else "description"
    result = Compared(f"mariadb-{table} over HTTP")
    keys = [one["key"] for one in world.api.pages(f"mariadb-{table}")]
    result.keys(Counter(keys), rows)
    for key in keys:
        if key in rows:
            found = world.api.document(f"mariadb-{table}", key)
            assert found is not None, key
            said = _plain(*(chunk["text"] for chunk in found["chunks"]))
            result.equal(
                key, (said, like(rows[key], found["row"])), (_plain(str(rows[key][text])), rows[key])
            )
    return result.check()


def _check_entries(world: World) -> int:
    result = Compared("mariadb-orders over HTTP")
    for (customer,) in world.stack.mariadb.sql("SELECT DISTINCT customer_id FROM orders"):
        rows = sql_rows(
            world, f"SELECT * FROM orders WHERE customer_id = {customer} ORDER BY updated_at DESC, id LIMIT 5"
        )
        found = {str(one["id"]): one for one in world.api.state("mariadb-orders", customer)["rows"]}
        shown = {key: like(rows[key], one) if key in rows else one for key, one in found.items()}
        result.equal(customer, shown, rows)
    return result.check()


def sql_rows(world: World, query: str) -> dict[str, dict[str, Any]]:
    """By id, as MariaDB gives it; its times are UTC."""
    with world.stack.mariadb.connect() as one, one.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(query)
        rows = cursor.fetchall()
    aware = ({k: v.replace(tzinfo=UTC) if isinstance(v, datetime) else v for k, v in r.items()} for r in rows)
    return {str(row["id"]): row for row in aware}


def like(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The found row with its texts read as the types that MariaDB gives."""
    return {name: _read(expected.get(name), value) for name, value in found.items()}


def _read(expected: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if isinstance(expected, Decimal):
        return Decimal(value)
    if isinstance(expected, datetime):
        return datetime.fromisoformat(value).astimezone(UTC)
    return date.fromisoformat(value.removesuffix("Z")) if isinstance(expected, date) else value


def test_the_deployed_connector_fits_the_preset_and_every_check_is_green(world: World) -> None:
    with ConnectClient(world.stack.connect_url) as client:
        config = client.config(world.stack.settings.mariadb_connector)
        assert config is not None
        assert violations(config, ("no-tls",)) == []
        assert world.stack.mariadb.password(REPLICATOR) not in json.dumps(config)
    checks = preflight(world)
    assert {check.status for check in checks} == {"ok"}, checks
    assert {f"table {table}" for table in MARIADB_TABLES} <= {check.name for check in checks}


def test_a_snapshot_with_live_edits_loses_nothing(world: World) -> None:
    say(f"arrived after {arrive(world):.1f} s")
    read = [event for table in MARIADB_TABLES for event in raw_events(world, table) if event["op"] == "r"]
    assert len(read) >= SNAPSHOT_ROWS
    began, ended = min(e["ts_ms"] for e in read) / 1000, max(e["ts_ms"] for e in read) / 1000
    during = sum(began <= at <= ended for at in world.edits.committed)
    streamed = Counter(e["op"] for table in MARIADB_TABLES for e in raw_events(world, table))
    say(f"{len(read)} rows read in {ended - began:.1f} s, {during} commits meanwhile; events: {streamed}")
    assert streamed["c"] > 10, "not exercised: nothing was streamed"
    assert check_all(world) > SNAPSHOT_ROWS


def test_what_is_inserted_is_found_what_is_updated_changes_what_is_deleted_is_gone(world: World) -> None:
    at = world.run(
        "INSERT INTO articles VALUES (500001, 'Zephyr', 'The zephyrlamp burns for ninety hours.',"
        " 'care', 'en', TRUE, NOW(6))"
    )
    (hit,) = world.hits("zephyrlamp", at)
    assert (hit["key"], "ninety" in hit["text"]) == ("500001", True)
    at = world.run("UPDATE articles SET body = 'The zephyrlamp burns for seventy hours.' WHERE id = 500001")
    (hit,) = world.hits("zephyrlamp", at)
    assert "seventy" in hit["text"]
    at = world.run(
        "REPLACE INTO articles VALUES (500001, 'Zephyr', 'The zephyrlamp is broken.', 'care', 'en', 1, NOW())"
    )
    (hit,) = world.hits("zephyrlamp", at)
    assert "broken" in hit["text"]
    answer = world.ask("What is the zephyrlamp?", at)
    assert "seventy" not in json.dumps(answer)
    assert "500001" in {one["key"] for one in answer["tailrace"]["hits"]}
    at = world.run("UPDATE articles SET id = 500002 WHERE id = 500001")
    (hit,) = world.hits("zephyrlamp", at)
    assert hit["key"] == "500002"
    assert world.api.document("mariadb-articles", 500001) is None
    at = world.run("DELETE FROM articles WHERE id = 500002")
    assert world.hits("zephyrlamp", at) == []
    assert world.api.document("mariadb-articles", 500002) is None


def test_a_swap_of_two_keys_in_one_transaction_ends_right(world: World) -> None:
    row = "'Swap', 'The {} swims.', 'care', 'en', 1, NOW(6)"
    world.run(*(f"INSERT INTO articles VALUES ({key}, {row.format(fish)})" for key, fish in PAIR.items()))
    moves = ((500010, -1), (500011, 500010), (-1, 500011))
    at = world.run(*(f"UPDATE articles SET id = {new} WHERE id = {old}" for old, new in moves))
    assert [hit["key"] for hit in world.hits("redfish", at)] == ["500011"]
    assert [hit["key"] for hit in world.hits("bluefish", at)] == ["500010"]


PAIR: Final = {500010: "redfish", 500011: "bluefish"}


def test_a_text_that_looks_like_a_connectors_placeholder_is_a_text(world: World) -> None:
    placeholder = "__debezium_unavailable_value"
    at = world.run(
        f"INSERT INTO articles VALUES (500020, '{placeholder}', 'The oddfish.', 'care', 'en', 1, NOW(6))"
    )
    (hit,) = world.hits("oddfish", at)
    assert hit["title"] == placeholder


def test_a_truncated_table_is_empty_but_for_what_came_after(world: World) -> None:
    assert len(world.api.keys("mariadb-products")) >= 400
    world.run("TRUNCATE TABLE products")
    at = world.run(
        "INSERT INTO products SELECT seq, 'New', CONCAT('The newthing', seq, ' is new.'), 'tents', 1, 1,"
        " NOW(6) FROM seq_10001_to_10003"
    )
    assert [hit["key"] for hit in world.hits("newthing10002", at)] == ["10002"]
    assert sorted(world.api.keys("mariadb-products")) == ["10001", "10002", "10003"]
    assert Counter(event["op"] for event in raw_events(world, "shop.products"))["t"] == 1


def test_a_transaction_over_two_tables_is_seen_whole_as_of_its_position(world: World) -> None:
    for number in range(1, 6):
        at = world.run(
            f"REPLACE INTO articles VALUES (500005, 'Twin {number}', 'A twinfish.', 'care', 'en', 1, NOW())",
            f"REPLACE INTO orders VALUES (500005, 500005, 201, 'twin {number}', NULL, 1, NOW(6))",
        )
        found = world.search("twinfish", at, state={"mariadb-orders": "500005"})
        assert [hit["title"] for hit in found["hits"] if hit["key"] == "500005"] == [f"Twin {number}"]
        assert [row["status"] for row in found["state"]["mariadb-orders"]] == [f"twin {number}"]


def test_on_an_idle_database_a_position_is_reached_within_seconds(world: World) -> None:
    took = []
    for number in range(5):
        at = world.run(f"UPDATE articles SET title = 'Idle {number}' WHERE id = 101")
        assert at.startswith("0-4711-")
        began = time.monotonic()
        found = world.api.search("parcel", profile="mariadb", min_position={SOURCE: at})
        took.append(time.monotonic() - began)
        assert found["freshness"]["reached_min_position"], found["freshness"]
        position = found["freshness"]["as_of"][SOURCE]["position"]
        assert int(position.split("-")[2]) >= int(at.split("-")[2])
    say(f"idle: a commit's position is reached after {max(took):.2f} s at most")
    assert max(took) < 3
    # What no document is made of moves the position as well, and what writes no row with the next beat.
    world.stack.mariadb.sql("CREATE TABLE IF NOT EXISTS elsewhere (id INT PRIMARY KEY)")
    assert arrive(world) < 5
    assert world.search("parcel", world.run("REPLACE INTO elsewhere VALUES (1)"))


@pytest.mark.parametrize(
    ("position", "why"),
    [
        ("16/B374D848", "an LSN"),
        ("1-4711-5", "GTID domain 1"),
        ("0-4711-5,1-4711-6", "several GTID domains"),
        ("binlog.000001:4", "no position"),
    ],
)
def test_a_position_that_does_not_compare_is_refused_with_the_reason(
    world: World, position: str, why: str
) -> None:
    answer = world.api._ask(
        "POST", "/v1/search", {"query": "x", "profile": "mariadb", "min_position": {SOURCE: position}}
    )
    assert answer.status_code == 422, answer.text
    assert why in answer.text


def test_connect_and_the_server_killed_while_it_is_written_to_lose_nothing(world: World) -> None:
    stack, edits = world.stack, world.edits
    before = len(raw_events(world, "shop.articles"))
    with edits.running():
        for _ in range(2):
            edits.wait(100)
            stack.connect.kill()
            edits.wait(50)
            stack.connect.start()
            edits.wait(100)
    say(f"arrived after {arrive(world):.1f} s")
    replayed = repeated(raw_events(world, "shop.articles")[before:])
    say(f"Connect killed twice: {replayed} changes of articles were sent again")
    stack.mariadb.kill()
    stack.mariadb.start()
    with edits.running():
        edits.wait(50)
    say(f"arrived {arrive(world):.1f} s after the server's restart")
    check_all(world)


def repeated(events: list[dict[str, Any]]) -> int:
    places = Counter((e["source"]["file"], e["source"]["pos"], e["source"]["row"], e["op"]) for e in events)
    return sum(times - 1 for times in places.values())


def preflight(world: World, dsn: str | None = None) -> list[Check]:
    settings = load(world.stack.settings.config_path).settings
    reference = settings.sources[SOURCE].database
    assert reference is not None
    with ConnectClient(world.stack.connect_url) as client:
        config = client.config(world.stack.settings.mariadb_connector)
    assert config is not None
    indexed = {"shop.articles": ["id", "title", "body", "published"]}
    return inspect(dsn or Secret(reference).reveal(), config, indexed=indexed)


def test_a_wrong_password_and_a_missing_grant_are_seen_and_no_secret_is_shown(world: World) -> None:
    password = world.stack.mariadb.password(REPLICATOR)
    dsn = world.stack.mariadb.dsn(REPLICATOR)
    (refused,) = preflight(world, dsn.replace(password, "canary-5e1f"))
    assert (refused.status, "refused the login of debezium" in refused.what) == ("fail", True)
    assert "canary" not in str(refused)
    login = "'debezium'@'127.0.0.1'"
    for grant, title, status in (
        ("RELOAD ON *.*", "privileges", "fail"),
        ("BINLOG MONITOR ON *.*", "privileges", "fail"),
        ("REPLICATION SLAVE ON *.*", "privileges", "fail"),
        ("SELECT ON shop.articles", "table shop.articles", "fail"),
        ("INSERT ON shop.debezium_signal", "signal table", "warn"),
    ):
        world.stack.mariadb.sql(f"REVOKE {grant} FROM {login}", user=ADMIN)
        try:
            bad = [check for check in preflight(world) if check.status != "ok"]
        finally:
            for one in grants():
                world.stack.mariadb.sql(one, user=ADMIN)
        assert [(check.name, check.status) for check in bad] == [(title, status)], grant
        assert password not in str(bad)
    assert {check.status for check in preflight(world)} == {"ok"}


def test_a_connector_that_may_not_beat_ends_is_explained_and_goes_on_after_a_second_up(world: World) -> None:
    login = "'debezium'@'127.0.0.1'"
    world.stack.mariadb.sql(f"REVOKE UPDATE ON shop.debezium_heartbeat FROM {login}", user=ADMIN)
    eventually(lambda: not connector_runs(world), within_s=30, what="the heartbeat's failure")
    bad = [check for check in preflight(world) if check.status != "ok"]
    assert [(check.name, check.status) for check in bad] == [("heartbeat table", "fail")]
    at = world.run("UPDATE articles SET body = 'Written while the deafstone slept.' WHERE id = 101")
    for one in grants():
        world.stack.mariadb.sql(one, user=ADMIN)
    world.stack.up(with_tailrace=False)
    assert connector_runs(world)
    arrive(world)
    assert [hit["key"] for hit in world.hits("deafstone", at)] == ["101"]


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


def test_rows_that_the_binlog_never_had_are_read_by_a_snapshot_while_changes_keep_flowing(
    world: World,
) -> None:
    unlogged(
        world,
        "INSERT INTO articles VALUES (500030, 'Moss', 'The mossfish hides.', 'care', 'en', 1, NOW(6))",
        "UPDATE articles SET body = 'The mossfish was here.' WHERE id = 101",
    )
    at = world.run("UPDATE articles SET title = 'Before' WHERE id = 102")
    assert world.hits("mossfish", at) == []
    name = world.stack.settings.mariadb_connector
    assert (
        "it would be read" in connect(world, "snapshot", "start", name, "-t", "shop.articles", "--dry-run")[1]
    )
    with world.edits.running():
        world.edits.wait(20)
        said = connect(world, "snapshot", "start", name, "--table", "shop.articles", "--wait")
        world.edits.wait(20)
    assert "shop.articles read" in "".join(said)
    arrive(world)
    at = world.run("UPDATE articles SET title = 'After' WHERE id = 102")
    assert {hit["key"] for hit in world.hits("mossfish", at)} == {"101", "500030"}
    check_all(world)


@pytest.fixture
def aside(world: World, tmp_path: Path) -> Iterator[Path]:
    """A folder with a connector of its own beside the stack's, and a table that takes seconds to read."""
    stack = world.stack
    stack.mariadb.sql("CREATE TABLE big (id BIGINT PRIMARY KEY, body VARCHAR(250) NOT NULL)")
    unlogged(world, "INSERT INTO big SELECT seq, REPEAT('x', 200) FROM seq_1_to_300000")
    stack.mariadb.sql(
        "CREATE TABLE totals (id INT PRIMARY KEY, a INT, b INT GENERATED ALWAYS AS (a + 1) STORED)"
    )
    stack.mariadb.sql("INSERT INTO totals (id, a) VALUES (1, 41)")
    stack.mariadb.sql("CREATE TABLE keyless (a INT)")
    for table in ("big", "totals", "keyless"):
        stack.mariadb.sql(f"GRANT SELECT ON shop.{table} TO '{REPLICATOR}'@'127.0.0.1'", user=ADMIN)
    source = {
        "connector": "connectors/aside.yaml",
        "prefix": ASIDE,
        "tables": ["shop.articles"],
        "database": f"${{file:{stack.settings.secrets / 'mariadb.dsn'}}}",
    }
    tree = {"app": "trial", "connect": {"url": stack.connect_url}, "sources": {"aside": source}}
    (tmp_path / "tailrace.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "connectors").mkdir()
    yield tmp_path
    with ConnectClient(stack.connect_url) as client:
        if "aside" in client.names():
            client.delete("aside")
    for table in ("big", "totals", "keyless"):
        stack.mariadb.sql(f"DROP TABLE {table}")


def write_aside(world: World, folder: Path, *tables: str) -> None:
    """The stack's own connector under another name and prefix, with these tables too."""
    spec = mariadb_connector_spec(replace(world.stack.settings, prefix="aside"), server_id=4799)
    listed = ",".join((spec.config["table.include.list"], *map(re.escape, tables)))
    config = {**spec.config, "table.include.list": listed}
    made = spec.model_copy(update={"name": "aside", "config": config})
    write_spec(made, folder / "connectors" / "aside.yaml")


def test_a_new_table_is_read_with_progress_and_stopped_and_the_connector_deleted_clean(
    world: World, aside: Path
) -> None:
    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        return connect(world, *arguments, folder=aside, code=code)

    write_aside(world, aside)
    assert "ok    aside: running" in run("apply", "--settle", "1")[0]
    refused = run("snapshot", "start", "aside", "-t", "shop.big", "-t", "public.big", code=2)[1]
    assert "shop.big is not in the connector's table.include.list" in refused
    assert "public.big does not exist, or the login may not see it: write it as database.table" in refused
    write_aside(world, aside, "shop.big", "shop.totals", "shop.keyless")
    planned, _ = run("plan")
    assert "tailrace connect snapshot start aside --table shop.big" in planned
    run("apply", "--settle", "1", "--skip-preflight")
    assert "no primary key" in run("snapshot", "start", "aside", "-t", "shop.keyless", code=2)[1]
    assert "no snapshot runs" in run("snapshot", "status", "aside")[0]
    started, _ = run("snapshot", "start", "aside", "--table", "shop.big")
    assert re.search(r"reading shop\.big, .* 300000", started), started
    assert json.loads(run("snapshot", "status", "aside", "--json")[0])["tables"] == ["shop.big"]
    assert "no snapshot runs any more" in run("snapshot", "stop", "aside")[0]
    read = sum(1 for _ in read_topic(world.stack, f"{ASIDE}.shop.big"))
    assert 0 < read < 300_000, "stopped in the middle"
    began = time.monotonic()
    whole, said = run("snapshot", "start", "aside", "-t", "shop.totals", "-t", "shop.big", "--wait")
    say(f"stopped after {read} rows; 300,000 rows read in {time.monotonic() - began:.1f} s:\n{whole}")
    shares = [int(share) for share in re.findall(r"reading shop\.big.* \((\d+)%\)", whole)]
    assert shares == sorted(shares)
    assert len(shares) > 1, whole
    assert "shop.totals, shop.big read" in said
    (total,) = (
        json.loads(str(one.value(), "utf-8")) for one in read_topic(world.stack, f"{ASIDE}.shop.totals")
    )
    assert (total["op"], total["after"]["b"]) == ("r", 42)

    deleted, stays = run("delete", "aside", "--clean", "--yes")
    assert deleted.splitlines() == ["deleted source offsets", "deleted connector aside"]
    for topic in (
        f"{ASIDE}.schema-history stays: the schema history",
        f"{ASIDE} stays: changes of tables",
        f"{ASIDE}.shop.big stays",
    ):
        assert f"topic {topic}" in stays
    # It begins anew, with the history that stayed.
    write_aside(world, aside)
    assert "ok    aside: running" in run("apply", "--settle", "1")[0]
    assert "source offsets" in run("delete", "aside", "--yes")[1]


def test_a_signal_that_nobody_may_write_is_refused(world: World) -> None:
    name = world.stack.settings.mariadb_connector
    login = "'debezium'@'127.0.0.1'"
    world.stack.mariadb.sql(f"REVOKE INSERT ON {MARIADB_SIGNAL} FROM {login}", user=ADMIN)
    try:
        said = connect(world, "snapshot", "start", name, "-t", "shop.articles", code=2)[1]
    finally:
        for one in grants():
            world.stack.mariadb.sql(one, user=ADMIN)
    assert f"GRANT INSERT ON {MARIADB_SIGNAL}" in said


def test_doctor_looks_at_both_databases(world: World) -> None:
    found = list(examine(load(world.stack.settings.config_path).settings))
    failed = [check for check in found if check.status == "fail"]
    assert failed == []
    names = {check.name for check in found}
    assert {"wal_level", "binlog_format", "table shop.articles", "table public.articles"} <= names


def test_after_all_of_it_the_index_holds_what_sql_says_and_nothing_else(world: World) -> None:
    arrive(world)
    check_all(world)
    expected = {
        name: {str(row[0]) for row in world.stack.mariadb.sql(f"SELECT id FROM {name} {where}")}
        for name, where in (("articles", "WHERE published"), ("products", ""))
    }
    world.stack.tailrace.stop()
    for name, keys in expected.items():
        points = list(_points(world.stack, f"mariadb-{name}"))
        manifests = [payload for _, payload in points if payload["kind"] == "manifest"]
        assert {one["key"] for one in manifests} == keys
        listed = {chunk for one in manifests for chunk in one["chunks"].split()}
        assert {one for one, payload in points if payload["kind"] == "chunk"} == listed
