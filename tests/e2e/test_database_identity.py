"""A worker knows the database whose changes it reads: a failover goes on, another database stops it."""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from connectors.identity import Identity
from connectors.mariadb import read_mariadb_identity
from connectors.postgres import read_identity
from core.topics import sources_topic
from infra.stack import Stack
from infra.stack.accounts import server_account
from infra.stack.config import ADMIN, REPLICATOR
from infra.stack.mariadb import SERVER_ID
from infra.stack.postgres import ACCOUNT
from infra.stack.processes import tail
from ingest.registry import write_registry
from ingest.sources import SourceRecord, decode_source, encode_source
from tests.e2e.mariadb_world import World as MariaDbWorld
from tests.e2e.oracle import check_all
from tests.e2e.support import HASHING, Api, eventually, one_stack, read_topic, wait_arrived

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with one_stack(tmp_path_factory.mktemp("identity"), HASHING) as made:
        made.up()
        yield made


def record(stack: Stack) -> SourceRecord:
    topic = f"{stack.settings.prefix}.public.articles"
    (*_, newest) = (
        one.value()
        for one in read_topic(stack, sources_topic(stack.settings.app))
        if one.key() == topic.encode()
    )
    return decode_source(newest)


def promote(stack: Stack) -> None:
    """A standby with all of the data and the slot takes over."""
    cluster = stack.memory.cluster
    stack.postgres.stop()
    mark = cluster / "standby.signal"
    mark.touch()
    if (user := server_account(ACCOUNT)) is not None:
        shutil.chown(mark, user, user)
    stack.postgres.launch()
    stack.postgres.wait_ready()
    assert identity(stack).timeline == 0, "a standby's timeline may yet change"
    with stack.postgres.connect(ADMIN) as connection:
        assert connection.execute("SELECT pg_promote()").fetchone() == (True,)


def identity(stack: Stack) -> Identity:
    """As the connector's own role sees it."""
    return read_identity(stack.postgres.dsn(REPLICATOR))


def test_after_a_failover_that_kept_the_slot_the_worker_warns_and_goes_on(stack: Stack) -> None:
    before = identity(stack)
    assert before.timeline == 1
    known = record(stack)
    assert (known.server, known.timeline) == (before.server, 1)
    stack.tailrace.stop()
    promote(stack)
    assert identity(stack) == Identity(before.server, 2)
    stack.up()  # the connector had lost its database
    assert record(stack) == replace(known, timeline=2)
    assert "failed over or restored (timeline 1, now 2)" in stack.tailrace.log.read_text(encoding="utf-8")
    with Api(stack.http_url) as api:
        stack.sql("UPDATE articles SET body = body || ' Even so.' WHERE mod(id, 3) = 0")
        stack.sql("DELETE FROM articles WHERE mod(id, 7) = 0")
        wait_arrived(stack, api)
        check_all(stack, api)


def test_another_database_stops_the_worker(stack: Stack) -> None:
    stack.tailrace.stop()
    known = record(stack)
    other = encode_source(replace(known, server="7000000000000000000"))
    topic = sources_topic(stack.settings.app)
    asyncio.run(write_registry([stack.brokers], topic, [other]))
    stack.tailrace.log.write_bytes(b"")
    stack.tailrace.launch()
    eventually(lambda: not stack.tailrace.is_running(), within_s=60, what="the worker goes on")
    said = tail(stack.tailrace.log)
    assert f"the database is another one (server 7000000000000000000, now {known.server})" in said
    assert f"tailrace resync {known.topic}" in said


def test_a_mariadb_server_is_known_by_its_server_id(mariadb: MariaDbWorld) -> None:
    stack = mariadb.stack
    assert read_mariadb_identity(stack.mariadb.dsn(REPLICATOR)) == Identity(str(SERVER_ID))
    found = [decode_source(one.value()) for one in read_topic(stack, sources_topic(stack.settings.app))]
    assert {one.server for one in found if "mariadb" in one.topic} == {str(SERVER_ID)}
