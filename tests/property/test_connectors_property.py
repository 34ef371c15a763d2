"""No secret is ever shown, no ordinary connector is ever taken for an attack, no file breaks its reader."""

import json
import string
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.masking import MASK, masked_config, masked_text
from connectors.preset import MONGODB_CLASS, derived_name, violations
from connectors.spec import read_spec, spec_of, write_spec
from connectors.substitution import connects_own, resolve
from connectors.templates.catalogue import TEMPLATES, expand
from core.errors import ConfigurationError

# A secret made of asterisks alone is a part of every mask.
secrets = st.text(st.characters(codec="utf-8"), min_size=4, max_size=30).filter(lambda s: s not in MASK * 4)
keys = st.text(string.ascii_lowercase + ".", min_size=1, max_size=12)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
SECRET_KEYS = ("database.password", "some.token", "producer.override.sasl.jaas.config", "typed")


def shown(secret: str) -> bool:
    """A reference is no secret, and neither is what stands in every mask."""
    return secret.strip().startswith(("${", "$${"))


@settings(max_examples=150)
@given(
    secret=secrets,
    key=st.sampled_from(SECRET_KEYS),
    others=st.dictionaries(keys, st.tuples(texts, texts), max_size=4),
    named=st.booleans(),
)
def test_no_secret_is_in_what_is_shown(
    secret: str, key: str, others: dict[str, tuple[str, str]], named: bool
) -> None:
    if shown(secret) or "*" in secret:
        return
    around = {name: f"{before}{secret}{after}" for name, (before, after) in others.items()}
    config = {**around, key: secret}
    given_secrets = [secret] if named else []
    values = masked_config(config, password_keys={"typed"}, secrets=given_secrets).values()
    assert not any(secret in value for value in values)
    text = f"error at {secret}: {key}={secret}"
    assert secret not in masked_text(text, config, {"typed"}, given_secrets).replace(key, "")


@settings(max_examples=100)
@given(several=st.lists(secrets, min_size=1, max_size=5), between=texts)
def test_of_several_secrets_none_is_in_a_text(several: list[str], between: str) -> None:
    wanted = [secret for secret in several if "*" not in secret]
    made = masked_text(between.join(several), secrets=several)
    assert not any(secret in made for secret in wanted if secret not in between)


names = st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True)
hosts = st.from_regex(
    r"(db[0-9a-z-]{0,8}\.)?[a-z]([a-z0-9-]{0,8}[a-z0-9])?\.(example|internal|com)", fullmatch=True
)
tables = st.lists(st.builds("{}.{}".format, names, names), min_size=1, max_size=3, unique=True)
common = st.fixed_dictionaries(
    {
        "prefix": st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
        "user": names,
        "password": st.sampled_from(["${file:/secrets/c.properties:pw}", "${env:PW}", "${vault:kv/a:b}"]),
        "retention_ms": st.integers(7 * 86_400_000, 2**40),
        "replication": st.integers(1, 5),
        "schemas": st.booleans(),
        "heartbeat_interval_ms": st.integers(1, 60_000),
    }
)
BY_TEMPLATE: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "postgres": st.fixed_dictionaries(
        {
            "host": hosts,
            "port": st.integers(1, 65535),
            "database": names,
            "tables": tables,
            "placeholder": st.from_regex(r"__uv_[0-9a-f]{8,16}__", fullmatch=True),
        }
    ),
    "mariadb": st.fixed_dictionaries(
        {
            "host": hosts,
            "tables": tables,
            "server_id": st.integers(1, 2**32 - 1),
            "history_servers": hosts.map(lambda host: f"{host}:9092,{host}:9093"),
            "signal_table": st.builds("{}.{}".format, names, names),
        }
    ),
    "mongodb": st.fixed_dictionaries(
        {
            "collections": tables,
            "connection_string": hosts.map(lambda host: f"mongodb://{host}:27017/?replicaSet=rs0"),
            "signal_collection": st.just("shop.signals"),
        }
    ),
    "sqlserver": st.fixed_dictionaries(
        {
            "host": hosts,
            "databases": st.lists(names, min_size=1, max_size=2),
            "tables": tables,
            "history_servers": hosts,
            "signal_table": st.just("shop.dbo.signals"),
        }
    ),
}
BY_TEMPLATE["mysql"] = BY_TEMPLATE["mariadb"]
BY_TEMPLATE["outbox"] = BY_TEMPLATE["postgres"].map(lambda values: values | {"tables": values["tables"][:1]})


@settings(max_examples=150)
@given(data=st.data(), template=st.sampled_from(sorted(TEMPLATES)), base=common)
def test_an_ordinary_template_breaks_no_rule(
    data: st.DataObject, template: str, base: dict[str, Any]
) -> None:
    values = base | data.draw(BY_TEMPLATE[template])
    assert violations(expand(template, values)) == []


@settings(max_examples=100)
@given(config=st.dictionaries(keys, st.text(max_size=60), max_size=6))
def test_any_configuration_gets_a_verdict(config: dict[str, str]) -> None:
    assert violations(config)
    assert violations({**config, "database.hostname": config.get("a", "x")}, hosts=["db.example"])


@settings(max_examples=100)
@given(
    host=st.text(max_size=40) | st.from_regex(r"[a-z+]{0,8}:?/{0,2}[\[\]:0-9a-f.@,]{0,30}", fullmatch=True)
)
def test_any_address_gets_a_verdict(host: str) -> None:
    for key in ("database.hostname", "mongodb.connection.string", "note"):
        violations({key: host}, hosts=["db.example"])


def hosts_of_the_driver(connection: str) -> set[str]:
    """As MongoDB's Java driver reads it: up to the first slash, then behind the last at-sign."""
    rest = connection.partition("://")[2]
    behind = rest.partition("/")[0].rpartition("@")[2]
    return {host.rpartition(":")[0] or host for host in behind.split(",")}


@settings(max_examples=300)
@given(
    tail=st.from_regex(
        r"[#?@/,:&;=%\\ ]{0,3}(e\.vil|db\.example)?[#?@/,:&;=%\\ ]{0,3}[a-z/?=,]{0,6}", fullmatch=True
    )
)
def test_no_connection_string_hides_a_host_from_the_list(tail: str) -> None:
    key, connection = "mongodb.connection.string", f"mongodb://db.example{tail}"
    found = violations({"connector.class": MONGODB_CLASS, key: connection}, hosts=["db.example"])
    assert hosts_of_the_driver(connection) == {"db.example"} or key in {one.key for one in found}


line = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30)


@settings(max_examples=60, deadline=None)
@given(
    config=st.dictionaries(
        keys.filter(lambda k: k not in {"name", "connector.class", "tasks.max"}),
        line | st.sampled_from(["{{ x }}", "${env:A}"]),
        max_size=5,
    )
)
@example({"a": "${env:", "b": "${env:${env:A}", "c": "$$${env:A}"})
def test_any_live_configuration_is_written_and_read_back(config: dict[str, str]) -> None:
    own = {key: connects_own(value) for key, value in config.items()}
    spec = spec_of("a", {"connector.class": "x", **own})
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.yaml")
        write_spec(spec, path)
        assert read_spec(path) == spec
    assert resolve(spec.config, {"A": "no"}).config == config


@settings(max_examples=100, deadline=None)
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "name",
                        "class",
                        "template",
                        "config",
                        "values",
                        "profiles",
                        "accept",
                        "env",
                        "state",
                        "connector.class",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    ),
    as_json=st.booleans(),
)
def test_any_file_gives_a_connector_or_says_what_is_wrong(content: object, as_json: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.json" if as_json else "a.yaml")
        path.write_text(json.dumps(content) if as_json else yaml.safe_dump(content), encoding="utf-8")
        with suppress(ConfigurationError):
            read_spec(path, "prod").violations()


@given(st.text(min_size=1, max_size=80))
def test_every_prefix_gives_a_name_that_postgres_takes_for_a_slot(prefix: str) -> None:
    name = derived_name(prefix)
    assert 0 < len(name) <= 63
    assert all(c.isascii() and (c.islower() or c.isdigit() or c == "_") for c in name)
