"""A table read by an incremental snapshot, by `tailrace connect snapshot`."""

import json
import re
from collections.abc import Iterator

import pytest

from infra.stack.config import SIGNAL
from tests.e2e.connect_desk import Desk

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


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
