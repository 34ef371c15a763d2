"""More ways to attack the Connect worker: by the form of URLs, references, statements and nested keys."""

import pytest

from connectors.preset import (
    MARIADB_CLASS,
    MONGODB_CLASS,
    MYSQL_CLASS,
    NEVER_ACCEPTED,
    SQLSERVER_CLASS,
    violations,
)
from tests.unit.attack_forms import FORMS, mongo
from tests.unit.attack_statements import STATEMENTS, beat, initial, override
from tests.unit.connect_world import shop_config

ATTACKS = FORMS | STATEMENTS


def test_no_two_attacks_share_a_name() -> None:
    assert len(ATTACKS) == len(FORMS) + len(STATEMENTS)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_no_reason_waives_it(attack: str) -> None:
    rule, changed = ATTACKS[attack]
    config = {**shop_config(), **changed}
    found = violations(config, {*NEVER_ACCEPTED, rule})
    about = {(violation.rule, violation.key) for violation in found}
    assert {(rule, key) for key in changed} & about, attack


@pytest.mark.parametrize(
    "connection",
    [
        "mongodb://db.example#@e.vil:27017/",
        "mongodb://db.example#,e.vil:27017/?x=y",
        "mongodb://db.example?@e.vil:27017/x",
        "mongodb://db.example:27017,e.vil:27017/?replicaSet=rs0",
    ],
)
def test_a_connection_string_hides_no_host_from_the_list(connection: str) -> None:
    found = violations({**shop_config(), **mongo(connection)}, hosts=["db.example"])
    assert ("host", "mongodb.connection.string") in {(one.rule, one.key) for one in found}


@pytest.mark.parametrize(
    "changed",
    [
        {"connector.class": MYSQL_CLASS, "database.protocol": "jdbc:mysql"},
        {"connector.class": MARIADB_CLASS, "database.protocol": "jdbc:mariadb"},
        {"connector.class": MYSQL_CLASS, "database.connectionTimeZone": "Europe/Berlin"},
        {"connector.class": MYSQL_CLASS, "database.ssl.truststore": "/etc/connect/trust store.jks"},
        {"connector.class": SQLSERVER_CLASS, "database.names": "shop,Reports_2"},
        {"database.hostname": "db1.example,db2.example:5433"},
        {"database.hostname": "[fd12::1]"},
        {"database.hostname": "${secrets:tailrace/shop-database:host}"},
        {"database.dbname": "${vault:dev/data/shop:database}"},
        {"database.port": "$${env:DB_PORT}"},
        {"slot.max.retries": "${env:RETRIES}", "snapshot.max.threads": "${env:THREADS}"},
        {"database.password": "${vault:dev/data/shop:password}"},
        {"database.password": "${dir:/var/run/secrets/shop:password}"},
        {"topic.prefix": "shop", "slot.stream.params": "messages=true;origin=none"},
        {
            "transforms": "at,a.b",
            "transforms.at.type": "org.apache.kafka.connect.transforms.TimestampConverter$Value",
            "transforms.at.target.type": "Timestamp",
            "transforms.a.b.type": "org.apache.kafka.connect.transforms.InsertHeader",
        },
        {
            "transforms": "database",
            "transforms.database.type": "org.apache.kafka.connect.transforms.RegexRouter",
            "transforms.database.regex": r"(.*)\.public\.(.*)",
        },
        mongo("mongodb://a.example:27017,b.example/shop?replicaSet=rs0&authSource=admin&tls=true"),
        mongo("mongodb+srv://db.example/?authMechanism=SCRAM-SHA-256&readPreferenceTags=dc:ny,rack:1"),
        {
            "publication.name": "Shop-2 all",
            "slot.name": "shop_2",
            "signal.data.collection": 'public."Signals"',
        },
        {"replica.identity.autoset.values": r"public\.a.*:FULL,public\.b:INDEX b_pkey"},
        {"connector.class": MONGODB_CLASS, "cursor.pipeline": '[{"$match": {"fullDocument.kind": "a"}}]'},
        beat("INSERT INTO public.debezium_heartbeat (name) VALUES ('a') ON CONFLICT DO NOTHING"),
        beat("INSERT INTO hb (id, at) VALUES (1, NOW(6)) AS new ON DUPLICATE KEY UPDATE at = new.at"),
        beat("INSERT INTO hb (id, at) VALUES (1, NOW()) ON DUPLICATE KEY UPDATE at = VALUES(at)"),
        beat("INSERT INTO \"Ops\".\"HeartBeat\" VALUES ('it''s; fine', CURRENT_TIMESTAMP)"),
        beat("update [dbo].[heartbeat] set [n] = [n] + 1, ts = GETDATE() where id = 1 and host <> 'x'"),
        beat("INSERT INTO test_heartbeat_table (text) VALUES ('test_heartbeat')"),
        initial("SET SESSION wait_timeout = 2000; SET NAMES utf8mb4; SET time_zone = '+00:00'"),
        initial("SET LOCK_TIMEOUT 5000;SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"),
        initial("SET TIME ZONE 'Europe/Berlin'; SET application_name TO tailrace"),
    ],
)
def test_what_people_need_is_no_attack(changed: dict[str, str]) -> None:
    found = violations({**shop_config(), **changed})
    assert [one for one in found if one.rule in NEVER_ACCEPTED] == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize("word", ["a", '"a"', "a ", "f("])
def test_a_long_statement_is_judged_in_a_short_time(word: str) -> None:
    assert violations({**shop_config(), **override(f"SELECT {word * (100_000 // len(word))}")})


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM public.articles WHERE NOT deleted ORDER BY id DESC",
        "SELECT id, coalesce(title, '') AS title FROM public.articles WHERE id IN (1, 2) AND at > now()",
        "SELECT id, title::varchar(10), (id+1) AS b, lower( title) FROM public.articles WHERE (id>0)",
        "SELECT b.* FROM [dbo].[articles] b JOIN kept k ON (k.id = b.id)",
    ],
)
def test_a_snapshot_may_read_a_part_of_a_table(statement: str) -> None:
    assert {one.rule for one in violations({**shop_config(), **override(statement)})} == {"partial-snapshot"}
