"""What is read of a Postgres server's catalogs, against a server and against what its role may really do."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from connectors.inspect import inspect, wanted_of_postgres
from connectors.postgres import read_facts
from connectors.postgres_facts import Facts, Partition
from infra.stack import tools
from infra.stack.accounts import data_folder, server_account
from infra.stack.config import ADMIN
from infra.stack.postgres import ACCOUNT, Postgres
from infra.stack.settings import Ports, StackSettings
from tests.e2e.support import say
from tests.ports import free_ports

SETUP: LiteralString = """
CREATE ROLE deb LOGIN REPLICATION; CREATE ROLE readers; CREATE ROLE strangers; GRANT readers TO deb;
CREATE TABLE beat (name text PRIMARY KEY, beat timestamptz); GRANT SELECT, INSERT ON beat TO deb;
CREATE TABLE docs (id int PRIMARY KEY, body text, mail text, g int GENERATED ALWAYS AS (1) STORED);
CREATE PUBLICATION part FOR TABLE docs (id, body) WHERE (id > 1), beat;
CREATE PUBLICATION whole FOR TABLE docs, beat;
CREATE TABLE byindex (id int PRIMARY KEY, mail text NOT NULL UNIQUE);
ALTER TABLE byindex REPLICA IDENTITY USING INDEX byindex_mail_key;
CREATE TABLE dropped (id int PRIMARY KEY, mail text NOT NULL CONSTRAINT unique_mail UNIQUE);
ALTER TABLE dropped REPLICA IDENTITY USING INDEX unique_mail;
ALTER TABLE dropped DROP CONSTRAINT unique_mail;
CREATE TABLE split (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE split_a PARTITION OF split FOR VALUES FROM (0) TO (9);
CREATE TABLE split_b PARTITION OF split FOR VALUES FROM (9) TO (99) PARTITION BY RANGE (id);
CREATE TABLE split_b1 PARTITION OF split_b FOR VALUES FROM (9) TO (20);
ALTER TABLE split_a REPLICA IDENTITY FULL; ALTER TABLE split_b1 REPLICA IDENTITY NOTHING;
CREATE SCHEMA closed; CREATE TABLE closed.docs (id int PRIMARY KEY); GRANT SELECT ON closed.docs TO deb;
"""
POLICIES: dict[str, LiteralString] = {
    "none": "",
    "all rows": "CREATE POLICY a ON guarded FOR SELECT TO deb USING (true)",
    "some rows": "CREATE POLICY a ON guarded FOR SELECT TO deb USING (id > 1)",
    "all rows, by a role": "CREATE POLICY a ON guarded TO readers USING (true)",
    "restricted": "CREATE POLICY a ON guarded USING (true);"
    " CREATE POLICY b ON guarded AS RESTRICTIVE FOR SELECT TO readers USING (id > 1)",
    "of another": "CREATE POLICY a ON guarded FOR SELECT TO strangers USING (true)",
    "of another command": "CREATE POLICY a ON guarded FOR UPDATE TO deb USING (true)",
    "its own": "ALTER TABLE guarded OWNER TO deb",
    "its own, forced": "ALTER TABLE guarded OWNER TO deb; ALTER TABLE guarded FORCE ROW LEVEL SECURITY",
    "off": "ALTER TABLE guarded DISABLE ROW LEVEL SECURITY",
}
CONFIG = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "database.dbname": "postgres",
    "database.user": "deb",
    "publication.name": "whole",
    "slot.name": "own",
    "heartbeat.action.query": "UPDATE beat SET beat = now() WHERE name = 'x'",
}


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    folder = tools.find(need_mvn=False, say=say).postgres
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        directory.chmod(0o755)
        ports = replace(Ports(), pg=free_ports(1)[0])
        settings = StackSettings(directory, ports=ports)
        cluster = data_folder(directory, "pg", server_account(ACCOUNT))
        cluster.parent.mkdir(parents=True, exist_ok=True)
        postgres = Postgres(settings, cluster, lambda: folder)
        postgres.launch()
        try:
            postgres.wait_ready()
            with admin(postgres) as connection:
                connection.execute(SETUP)
            yield postgres
        finally:
            postgres.stop()


def admin(server: Postgres) -> psycopg.Connection[tuple[Any, ...]]:
    return server.connect(ADMIN, "postgres")


def look(server: Postgres, *tables: str, **changed: str) -> Facts:
    config = {**CONFIG, **{key.replace("__", "."): value for key, value in changed.items()}}
    return read_facts(server.dsn(ADMIN, "postgres"), wanted_of_postgres(config, tables, {}))


def test_a_role_replicates_by_its_own_right_or_by_that_of_amazons_servers(server: Postgres) -> None:
    with admin(server) as connection:
        connection.execute("CREATE ROLE rds_replication; CREATE ROLE rented; GRANT rds_replication TO rented")
    found = {name: look(server, database__user=name).role for name in ("deb", "rented", "readers")}
    assert {name: role is not None and role.replication for name, role in found.items()} == {
        "deb": True,
        "rented": True,
        "readers": False,
    }


def test_what_a_publication_leaves_out_is_read(server: Postgres) -> None:
    part = look(server, publication__name="part").publication
    assert part is not None
    assert part.tables == {"public.docs", "public.beat"}
    assert part.filters == {"public.docs": "(id > 1)"}
    assert part.columns["public.docs"] == {"id", "body"}
    whole = look(server).publication
    assert whole is not None
    assert whole.filters == {}
    assert whole.columns["public.docs"] >= {"id", "body", "mail"}


def test_the_identity_of_tables_and_of_their_partitions_is_read(server: Postgres) -> None:
    tables = look(server, "public.byindex", "public.dropped", "public.split", "public.docs").tables
    assert tables["public.byindex"].identity_key == ("mail",)
    assert (tables["public.dropped"].identity, tables["public.dropped"].identity_key) == ("i", ())
    assert tables["public.split"].partitions == (
        Partition("public.split_a", "f"),
        Partition("public.split_b1", "n"),
    )
    assert tables["public.docs"].partitions == ()


@pytest.mark.parametrize("policy", POLICIES)
def test_rows_are_hidden_where_a_select_does_not_find_them(server: Postgres, policy: str) -> None:
    with admin(server) as connection:
        connection.execute(
            "DROP TABLE IF EXISTS guarded; CREATE TABLE guarded (id int PRIMARY KEY);"
            " INSERT INTO guarded VALUES (1), (2); GRANT SELECT ON guarded TO deb;"
            " ALTER TABLE guarded ENABLE ROW LEVEL SECURITY"
        )
        connection.execute(POLICIES[policy])
        connection.execute("SET ROLE deb")
        seen = connection.execute("SELECT count(*) FROM guarded").fetchone()
    assert seen is not None
    table = look(server, "public.guarded").tables["public.guarded"]
    assert table.rows_hidden == (seen[0] < 2)
    bypassing = look(server, "public.guarded", database__user=ADMIN).tables["public.guarded"]
    assert not bypassing.rows_hidden


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE beat SET beat = now() WHERE name = 'x'",
        "UPDATE public.beat SET beat = now()",
        "INSERT INTO public.beat VALUES ('x', now()) ON CONFLICT (name) DO UPDATE SET beat = now()",
        "INSERT INTO beat VALUES ('y', now()) ON CONFLICT DO NOTHING",
        "INSERT INTO Beat VALUES ('z', now()) ON CONFLICT (name) DO NOTHING",
        'UPDATE "beat" SET "beat" = now()',
    ],
)
@pytest.mark.parametrize("rights", ["INSERT", "UPDATE", "SELECT, INSERT", "SELECT, UPDATE", "INSERT, UPDATE"])
def test_a_heartbeat_lacks_rights_where_its_statement_is_refused(
    server: Postgres, query: LiteralString, rights: LiteralString
) -> None:
    with admin(server) as connection:
        connection.execute(f"REVOKE ALL ON beat FROM deb; GRANT {rights} ON beat TO deb; SET ROLE deb")
        try:
            connection.execute(query)
            refused = False
        except psycopg.errors.InsufficientPrivilege:
            refused = True
    found = look(server, heartbeat__action__query=query).heartbeat
    assert found is not None
    assert found.name == "public.beat"
    assert bool(found.lacks) == refused


def test_a_login_without_the_schema_is_told_what_to_grant(server: Postgres) -> None:
    with admin(server) as connection:
        connection.execute("ALTER ROLE deb PASSWORD 'deb'")
    dsn = make_conninfo(server.dsn("deb", "postgres"), password="deb")  # noqa: S106 - this server's alone
    found = inspect(dsn, {**CONFIG, "table.include.list": "closed.docs"}, indexed={})
    assert "GRANT USAGE ON SCHEMA closed TO deb" in [check.fix for check in found]


def test_the_database_of_a_slot_is_read(server: Postgres) -> None:
    with admin(server) as connection:
        connection.execute("CREATE DATABASE other")
    with server.connect(ADMIN, "other") as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')")
    try:
        facts = look(server, slot__name="theirs")
    finally:
        with admin(server) as connection:
            connection.execute("SELECT pg_drop_replication_slot('theirs')")
    assert facts.slot is not None
    assert (facts.database, facts.slot.database) == ("postgres", "other")
