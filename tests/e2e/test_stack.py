"""The local stack as its user meets it: up, again, killed, down, and what stays."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from connectors.positions import CommittedPositions, committed_lsn
from connectors.postgres import read_facts
from connectors.postgres_facts import Wanted
from connectors.preflight import preflight
from connectors.preset import derived_name
from connectors.rest import ConnectClient
from core.errors import ConfigurationError
from core.positions import parse_position
from infra.stack import Ports, Stack, StackSettings
from infra.stack.config import HEARTBEAT, SIGNAL, TABLES
from infra.stack.processes import Command, identity
from infra.stack.settings import REPOSITORY
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def run(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line on this stack's folder; its ports are remembered there."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TAILRACE_")}
    return subprocess.run(
        [sys.executable, "-m", "infra.stack", *arguments],
        cwd=REPOSITORY,
        env={**environ, "TAILRACE_STACK_DIR": str(stack.settings.directory)},
        capture_output=True,
        text=True,
        check=False,
    )


def records(stack: Stack, table: str) -> list[dict[str, Any]]:
    """The values of a raw topic, whole, tombstones left out."""
    topic = TopicPartition(f"{stack.settings.prefix}.{table}", 0, 0)
    consumer = reader(stack)
    try:
        _, end = consumer.get_watermark_offsets(topic, timeout=10)
        consumer.assign([topic])
        found = []
        while consumer.position([topic])[0].offset < end:
            message = consumer.poll(1.0)
            if message is not None and (value := message.value()) is not None:
                found.append(json.loads(value))
        return found
    finally:
        consumer.close()


def reader(stack: Stack) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": stack.brokers,
            "group.id": "test",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )


def eventually(true: Callable[[], bool], *, within_s: float, what: str) -> float:
    """Seconds until it was so."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, what
        time.sleep(0.01)
    return time.monotonic() - began


def test_the_connector_runs_and_the_raw_topics_hold_the_snapshot(stack: Stack) -> None:
    with ConnectClient(stack.connect_url) as client:
        status = client.status(stack.connector)
    assert status is not None
    assert status.running
    for table in TABLES:
        keys = {row[0] for row in stack.sql(f"SELECT id FROM {table}")}
        eventually(
            lambda table=table, keys=keys: (
                keys <= {r["after"]["id"] for r in records(stack, table) if r["after"]}
            ),  # type: ignore[misc]
            within_s=20,
            what=f"{table} has {len(keys)} rows, its topic fewer",
        )


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    pids = [piece.pid for piece in stack.pieces]
    assert stack.up(with_tailrace=stack.tailrace.is_running()) == []
    assert [piece.pid for piece in stack.pieces] == pids


def test_status_tells_people_and_programs(stack: Stack) -> None:
    answer = run(stack, "status", "--json")
    found = {piece["name"]: piece for piece in json.loads(answer.stdout)}
    assert list(found) == ["postgres", "broker", "connect", "connector", "tailrace"]
    assert all(found[name]["up"] for name in ("postgres", "broker", "connect", "connector"))
    assert answer.returncode == (0 if found["tailrace"]["up"] else 1)
    assert "connector  up" in run(stack, "status").stdout
    assert str(found["broker"]["pid"]) in run(stack, "status").stdout


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    """No socket of ours on another address: /proc/net/tcp lists them by port."""
    for name in Ports.names()[:4]:
        port = getattr(stack.settings.ports, name)
        for table in ("tcp", "tcp6"):
            rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
            at = {
                row[1].split(":")[0]
                for row in rows
                if row[3] == "0A" and int(row[1].split(":")[1], 16) == port
            }
            assert at <= {"0100007F", "0000000000000000FFFF00000100007F"}, name


def test_the_connector_may_read_and_replicate_and_its_password_is_nowhere(stack: Stack) -> None:
    name = derived_name(stack.settings.prefix)
    wanted = Wanted(
        TABLES, {"public.articles": frozenset({"title", "body"})}, name, name, heartbeat_table=HEARTBEAT
    )
    dsn = (stack.settings.secrets / "doctor.dsn").read_text()
    assert [check for check in preflight(read_facts(dsn, wanted), wanted) if check.status != "ok"] == []
    password = stack.postgres.password("debezium")
    with ConnectClient(stack.connect_url) as client:
        shown = json.dumps(client.config(stack.connector))
    assert password not in shown
    assert "${file:" in shown
    for log in stack.settings.logs.iterdir():
        assert password not in log.read_text(errors="replace")


def test_a_taken_port_is_named_with_its_owner_before_anything_starts(
    new_stack: Callable[[str], Stack],
) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        made = new_stack("taken")
        pg, kafka, controller, http = free_ports(4)
        taken = Stack(StackSettings(made.settings.directory, Ports(pg, kafka, controller, port, http)))
        with pytest.raises(ConfigurationError, match="TAILRACE_CONNECT_PORT") as raised:
            taken.up(with_tailrace=False)
    assert f"port {port} is taken by process {os.getpid()}" in str(raised.value)
    assert not any(piece.is_running() for piece in taken.pieces)
    assert not taken.memory.cluster.exists()


def test_a_stranger_with_our_old_pid_is_not_killed(new_stack: Callable[[str], Stack]) -> None:
    made = new_stack("stranger")
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        record = made.settings.directory / "run" / "broker.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"pid": stranger.pid, "identity": "an earlier process"}))
        assert not made.broker.is_running()
        assert made.broker.stop() is False
        assert made.broker.kill() is False
        assert made.down() == []
        assert stranger.poll() is None
        made.broker.spawn(Command(["sleep", "60"], made.settings.logs / "own.log"))
        assert made.broker.stop() is True, "and our own is"
    finally:
        stranger.kill()
        stranger.wait()
    made.settings.directory.joinpath("stack.json").unlink(missing_ok=True)
    made.memory.write(made.settings.directory)


def test_a_commit_is_covered_by_the_committed_offset_within_two_seconds(stack: Stack) -> None:
    """On an idle database: one commit, and the position that its writer reads is reached."""

    async def slowest() -> float:
        positions = CommittedPositions(stack.connect_url, {"shop": stack.connector})
        took = []
        try:
            for _ in range(10):
                stack.sql("UPDATE products SET in_stock = in_stock + 1 WHERE id = 201")
                written = parse_position(stack.sql("SELECT pg_current_wal_lsn()::text")[0][0])
                began = time.monotonic()
                while parse_position(await positions.committed("shop") or "0/0") < written:
                    assert time.monotonic() - began < 2.0
                    await asyncio.sleep(0.01)
                took.append(time.monotonic() - began)
        finally:
            await positions.aclose()
        return max(took)

    assert asyncio.run(slowest()) < 2.0


@contextlib.contextmanager
def writers(stack: Stack, count: int, commits: list[tuple[int, int]]) -> Iterator[None]:
    """Transactions that overlap: each writes, lets others commit, and commits later.

    `commits` gets (what it wrote, the position after its commit).
    """
    stop = threading.Event()
    numbers = iter(range(1, 1_000_000))
    lock = threading.Lock()

    def write(customer: int) -> None:
        with psycopg.connect(stack.dsn()) as connection:
            while not stop.is_set():
                with lock:
                    number = next(numbers)
                connection.execute(
                    "UPDATE customers SET city = %s WHERE id = %s", [f"city {number}", customer]
                )
                stop.wait((number % 7) / 100)
                connection.commit()
                row = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
                assert row is not None
                connection.commit()
                commits.append((number, parse_position(row[0])))

    customers = [row[0] for row in stack.sql("SELECT id FROM customers ORDER BY id LIMIT %s", [count])]
    threads = [threading.Thread(target=write, args=(customer,)) for customer in customers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_everything_up_to_the_committed_position_is_on_the_raw_topics(stack: Stack) -> None:
    """Under overlapping transactions and a kill -9 of Connect: first the position, then the end offset."""
    topic = TopicPartition("shop.public.customers", 0)
    commits: list[tuple[int, int]] = []
    looks: list[tuple[int, int]] = []
    consumer = reader(stack)
    with writers(stack, 6, commits), ConnectClient(stack.connect_url, patience=20.0) as client:
        for phase in range(2):
            until = time.monotonic() + 4.0
            while time.monotonic() < until:
                lsn = committed_lsn(client.offsets(stack.connector))
                end = consumer.get_watermark_offsets(topic, timeout=10)[1]
                if lsn is not None:
                    looks.append((lsn, end))
            if phase == 0:
                stack.connect.kill()
                stack.up(with_tailrace=stack.tailrace.is_running())
    last = max(position for _, position in commits)
    with ConnectClient(stack.connect_url) as client:
        eventually(
            lambda: (committed_lsn(client.offsets(stack.connector)) or 0) >= last,
            within_s=20,
            what="the last commit is never covered",
        )
    consumer.assign([TopicPartition("shop.public.customers", 0, 0)])
    end = consumer.get_watermark_offsets(topic, timeout=10)[1]
    first_offset: dict[str, int] = {}
    while consumer.position([topic])[0].offset < end:
        message = consumer.poll(1.0)
        if message is not None and (value := message.value()) is not None:
            offset = message.offset()
            assert offset is not None
            first_offset.setdefault(json.loads(value)["after"]["city"], offset)
    consumer.close()
    assert len(commits) > 200
    assert len({lsn for lsn, _ in looks}) > 4, "the position moved while we looked"
    broken = [
        (number, position, lsn, seen)
        for lsn, seen in looks
        for number, position in commits
        if position <= lsn and first_offset[f"city {number}"] >= seen
    ]
    assert broken == []


def test_a_frozen_connect_moves_no_position_and_catches_up(stack: Stack) -> None:
    with ConnectClient(stack.connect_url, patience=20.0) as client:
        stack.connect.send(signal.SIGSTOP)
        try:
            stack.sql("UPDATE products SET in_stock = in_stock + 1 WHERE id = 202")
            written = parse_position(stack.sql("SELECT pg_current_wal_lsn()::text")[0][0])
        finally:
            stack.connect.send(signal.SIGCONT)
        eventually(
            lambda: (committed_lsn(client.offsets(stack.connector)) or 0) >= written,
            within_s=30,
            what="the change written meanwhile is never covered",
        )


@pytest.mark.parametrize("name", ["postgres", "broker", "connect"])
def test_up_restarts_what_was_killed_and_changes_flow_again(stack: Stack, name: str) -> None:
    piece = {piece.name: piece for piece in stack.pieces}[name]
    before = piece.pid
    assert piece.kill()
    assert not piece.is_running()
    assert f"started {name}" in stack.up(with_tailrace=stack.tailrace.is_running())
    assert piece.pid not in {None, before}
    city = f"after {name} {time.time_ns()}"
    stack.sql("UPDATE customers SET city = %s WHERE id = (SELECT min(id) FROM customers)", [city])
    eventually(
        lambda: city in {r["after"]["city"] for r in records(stack, "public.customers")},
        within_s=40,
        what="no change came after the restart",
    )


def test_down_and_up_keep_the_data_and_the_ports(stack: Stack) -> None:
    with_tailrace = stack.tailrace.is_running()
    stack.sql("DELETE FROM orders WHERE id = (SELECT max(id) FROM orders)")
    orders = stack.sql("SELECT count(*) FROM orders")
    placeholder, pids = stack.memory.placeholder, [piece.pid for piece in stack.pieces if piece.pid]
    answer = run(stack, "down")
    assert answer.returncode == 0, answer.stderr
    assert all(identity(pid) is None for pid in pids)
    assert run(stack, "status").returncode == 1
    answer = run(stack, "up", *([] if with_tailrace else ["--no-tailrace"]))
    assert answer.returncode == 0, answer.stderr
    assert stack.sql("SELECT count(*) FROM orders") == orders, "a deleted row does not come back"
    assert Stack(stack.settings).memory.placeholder == placeholder
    status = {piece.name: piece.up for piece in stack.status()}
    assert status["connector"]
    assert str(stack.settings.ports.pg) in answer.stdout


def test_clean_refuses_while_up_and_folders_that_are_not_ours(stack: Stack, tmp_path: Path) -> None:
    answer = run(stack, "clean")
    assert answer.returncode == 1
    assert "make down" in answer.stderr
    precious = tmp_path / "mine"
    precious.mkdir()
    (precious / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="left alone"):
        Stack(StackSettings(precious)).clean()
    assert (precious / "file").exists()


def test_the_beats_topics_exist_and_the_signal_table_is_published(stack: Stack) -> None:
    name = derived_name(stack.settings.prefix)
    published = stack.sql(
        "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = %s", [name]
    )
    assert {row[0] for row in published} == {*TABLES, HEARTBEAT, SIGNAL}
    assert records(stack, HEARTBEAT)
