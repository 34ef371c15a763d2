"""After everything that was done to MariaDB: nothing ails the stack, and the index holds what SQL says.

The last of MariaDB's files, by its name as well.
"""

import subprocess
from collections.abc import Iterator

import pytest

from infra.stack.tries import tries
from tailrace.configuration import load
from tailrace.doctor import examine
from tests.e2e.mariadb_oracle import check_all
from tests.e2e.mariadb_world import World, arrive
from tests.e2e.oracle import stored_points
from tests.e2e.support import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module", autouse=True)
def ended(mariadb: World) -> Iterator[None]:
    """What a session does after MariaDB's files does not run beside its stack."""
    yield
    mariadb.stack.down()


def test_doctor_looks_at_both_databases(mariadb: World) -> None:
    found = list(examine(load(mariadb.stack.settings.config_path).settings))
    failed = [check for check in found if check.status == "fail"]
    assert failed == []
    names = {check.name for check in found}
    assert {"wal_level", "binlog_format", "table shop.articles", "table public.articles"} <= names


def test_what_make_up_says_to_type_works_as_it_stands(mariadb: World) -> None:
    lines = tries(mariadb.stack, with_tailrace=True)
    assert [line.split()[0].rsplit("/", 1)[-1] for line in lines] == [
        *("psql", "tailrace", "curl", "mariadb", "tailrace")
    ]

    for line in lines:
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{line}\n{done.stderr}"

    def told() -> bool:  # by the search: words that are hashed are too few for an answer
        hits = mariadb.api.search("Mars", profile="mariadb", top_k=20)["hits"]
        return any("Parcels to Mars take eleven days." in hit["text"] for hit in hits)

    eventually(told, within_s=60, what="the changed row is not found")


def test_after_all_of_it_the_index_holds_what_sql_says_and_nothing_else(mariadb: World) -> None:
    arrive(mariadb)
    check_all(mariadb)
    expected = {
        name: {str(row[0]) for row in mariadb.stack.mariadb.sql(f"SELECT id FROM {name} {where}")}
        for name, where in (("articles", "WHERE published"), ("products", ""))
    }
    mariadb.stack.tailrace.stop()
    for name, keys in expected.items():
        points = list(stored_points(mariadb.stack, f"mariadb-{name}"))
        manifests = [payload for _, payload in points if payload["kind"] == "manifest"]
        assert {one["key"] for one in manifests} == keys
        listed = {chunk for one in manifests for chunk in one["chunks"].split()}
        assert {one for one, payload in points if payload["kind"] == "chunk"} == listed
