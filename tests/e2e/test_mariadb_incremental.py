"""Tables of MariaDB read by an incremental snapshot, by `tailrace connect snapshot`."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import yaml

from connectors.rest import ConnectClient
from connectors.spec import write_spec
from infra.stack.config import MARIADB_SIGNAL, REPLICATOR, mariadb_connector_spec
from infra.stack.mariadb import ADMIN
from infra.stack.shop_mariadb import grants
from tests.e2e.mariadb_oracle import check_all
from tests.e2e.mariadb_world import World, arrive, connect, unlogged
from tests.e2e.support import read_topic, say

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
ASIDE: Final = "aside-mariadb"


def test_rows_that_the_binlog_never_had_are_read_by_a_snapshot_while_changes_keep_flowing(
    mariadb: World,
) -> None:
    unlogged(
        mariadb,
        "INSERT INTO articles VALUES (500030, 'Moss', 'The mossfish hides.', 'care', 'en', 1, NOW(6))",
        "UPDATE articles SET body = 'The mossfish was here.' WHERE id = 101",
    )
    at = mariadb.run("UPDATE articles SET title = 'Before' WHERE id = 102")
    assert mariadb.hits("mossfish", at) == []
    name = mariadb.stack.settings.mariadb_connector
    assert (
        "it would be read"
        in connect(mariadb, "snapshot", "start", name, "-t", "shop.articles", "--dry-run")[1]
    )
    with mariadb.edits.running():
        mariadb.edits.wait(20)
        said = connect(mariadb, "snapshot", "start", name, "--table", "shop.articles", "--wait")
        mariadb.edits.wait(20)
    assert "shop.articles read" in "".join(said)
    arrive(mariadb)
    at = mariadb.run("UPDATE articles SET title = 'After' WHERE id = 102")
    assert {hit["key"] for hit in mariadb.hits("mossfish", at)} == {"101", "500030"}
    check_all(mariadb)


@pytest.fixture
def aside(mariadb: World, tmp_path: Path) -> Iterator[Path]:
    """A folder with a connector of its own beside the stack's, and a table that takes seconds to read."""
    stack = mariadb.stack
    stack.mariadb.sql("CREATE TABLE big (id BIGINT PRIMARY KEY, body VARCHAR(250) NOT NULL)")
    unlogged(mariadb, "INSERT INTO big SELECT seq, REPEAT('x', 200) FROM seq_1_to_300000")
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


def write_aside(mariadb: World, folder: Path, *tables: str) -> None:
    """The stack's own connector under another name and prefix, with these tables too."""
    spec = mariadb_connector_spec(replace(mariadb.stack.settings, prefix="aside"), server_id=4799)
    listed = ",".join((spec.config["table.include.list"], *map(re.escape, tables)))
    config = {**spec.config, "table.include.list": listed}
    made = spec.model_copy(update={"name": "aside", "config": config})
    write_spec(made, folder / "connectors" / "aside.yaml")


def test_a_new_table_is_read_with_progress_and_stopped_and_the_connector_deleted_clean(
    mariadb: World, aside: Path
) -> None:
    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        return connect(mariadb, *arguments, folder=aside, code=code)

    write_aside(mariadb, aside)
    assert "ok    aside: running" in run("apply", "--settle", "1")[0]
    refused = run("snapshot", "start", "aside", "-t", "shop.big", "-t", "public.big", code=2)[1]
    assert "shop.big is not in the connector's table.include.list" in refused
    assert "public.big does not exist, or the login may not see it: write it as database.table" in refused
    write_aside(mariadb, aside, "shop.big", "shop.totals", "shop.keyless")
    planned, _ = run("plan")
    assert "tailrace connect snapshot start aside --table shop.big" in planned
    run("apply", "--settle", "1", "--skip-preflight")
    assert "no primary key" in run("snapshot", "start", "aside", "-t", "shop.keyless", code=2)[1]
    assert "no snapshot runs" in run("snapshot", "status", "aside")[0]
    started, _ = run("snapshot", "start", "aside", "--table", "shop.big")
    assert re.search(r"reading shop\.big, .* 300000", started), started
    assert json.loads(run("snapshot", "status", "aside", "--json")[0])["tables"] == ["shop.big"]
    assert "no snapshot runs any more" in run("snapshot", "stop", "aside")[0]
    read = sum(1 for _ in read_topic(mariadb.stack, f"{ASIDE}.shop.big"))
    assert 0 < read < 300_000, "stopped in the middle"
    began = time.monotonic()
    whole, said = run("snapshot", "start", "aside", "-t", "shop.totals", "-t", "shop.big", "--wait")
    say(f"stopped after {read} rows; 300,000 rows read in {time.monotonic() - began:.1f} s:\n{whole}")
    shares = [int(share) for share in re.findall(r"reading shop\.big.* \((\d+)%\)", whole)]
    assert shares == sorted(shares)
    assert len(shares) > 1, whole
    assert "shop.totals, shop.big read" in said
    (total,) = (
        json.loads(str(one.value(), "utf-8")) for one in read_topic(mariadb.stack, f"{ASIDE}.shop.totals")
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
    write_aside(mariadb, aside)
    assert "ok    aside: running" in run("apply", "--settle", "1")[0]
    assert "source offsets" in run("delete", "aside", "--yes")[1]


def test_a_signal_that_nobody_may_write_is_refused(mariadb: World) -> None:
    name = mariadb.stack.settings.mariadb_connector
    login = "'debezium'@'127.0.0.1'"
    mariadb.stack.mariadb.sql(f"REVOKE INSERT ON {MARIADB_SIGNAL} FROM {login}", user=ADMIN)
    try:
        said = connect(mariadb, "snapshot", "start", name, "-t", "shop.articles", code=2)[1]
    finally:
        for one in grants():
            mariadb.stack.mariadb.sql(one, user=ADMIN)
    assert f"GRANT INSERT ON {MARIADB_SIGNAL}" in said
