"""A refusal never shows the secret that it refuses, on whichever way it is told."""

from pathlib import Path

import pytest
import yaml

from connectors.preset import POSTGRES_CLASS, violations
from connectors.spec import spec_of, write_spec
from tailrace.cli import run
from tests.unit.connect_world import CANARY, shop_config

URL = f"jdbc:postgresql://db.example/shop?user=u&password={CANARY}"
SHOWING: dict[str, dict[str, str]] = {
    "a whole URL as the host": {"database.hostname": URL},
    "the same as the database": {"database.dbname": URL},
    "a login in the host": {"database.hostname": f"debezium:{CANARY}@db.example"},
    "an option with an odd name": {"database.dbname": f"shop?sslkeypin={CANARY}"},
    "an option in the port": {"database.port": f"5432/shop?pw={CANARY}"},
    "a password at each connection": {"database.initial.statements": f"ALTER ROLE a PASSWORD '{CANARY}'"},
    "a password at each heartbeat": {
        "heartbeat.action.query": f"INSERT INTO b VALUES (crypt('{CANARY}', 'x'))"
    },
    "a password in a snapshot": {
        "snapshot.select.statement.overrides": "public.articles",
        "snapshot.select.statement.overrides.public.articles": f"SELECT crypt('{CANARY}', 'x')",
    },
    "a user in MongoDB's connection string": {
        "mongodb.connection.string": f"mongodb://debezium:{CANARY}@m.example/?authMechanism=GSSAPI"
    },
    "a token in MongoDB's options": {"mongodb.connection.string": f"mongodb://m.example/?token={CANARY}"},
    "a login half by reference": {"mongodb.connection.string": f"mongodb://${{file:/a:u}}:{CANARY}@m"},
    "a token in an address": {"producer.override.sasl.oauthbearer.token.endpoint.url": f"x://e/{CANARY}"},
    "a login in a proxy's address": {"some.proxy.url": f"https://u:{CANARY}@proxy.example\\x"},
    "a secret in a class": {"value.converter": f"org.evil.C?password={CANARY}"},
    "a secret in a protocol": {"database.protocol": f"jdbc:mysql://db/?password={CANARY}#"},
    "a secret in an option of the slot": {"slot.stream.params": f"auth={CANARY}"},
    "a secret as a channel": {"signal.enabled.channels": CANARY},
    "a password that stands elsewhere too": {
        "database.password": CANARY,
        "plugin.name": CANARY,
        "topic.creation.default.cleanup.policy": f"x-{CANARY}",
    },
    "a secret in a key": {f"database.password={CANARY}": "x"},
    "a reference with a secret in it": {"slot.name": f"${{file:/proc/{CANARY}:x}}"},
}


@pytest.mark.parametrize("case", SHOWING)
def test_a_refusal_tells_no_secret(case: str) -> None:
    found = violations({**shop_config(), **SHOWING[case]})
    assert found
    assert CANARY not in " ".join(map(str, found))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("database.password", "${file:/proc/self/environ:A}", "is a reference to another place:"),
        ("producer.override.sasl.jaas.config", CANARY, "is set:"),
        ("database.password", CANARY, "is a literal:"),
    ],
)
def test_what_was_found_under_a_secrets_key_is_told_in_words(key: str, value: str, said: str) -> None:
    lines = [str(one) for one in violations({**shop_config(), key: value})]
    assert any(line.startswith(f"{key} {said}") for line in lines)


@pytest.mark.parametrize("arguments", [["validate", "--offline"], ["plan"], ["apply"]], ids=" ".join)
@pytest.mark.parametrize("case", SHOWING)
def test_the_command_line_tells_no_secret_of_what_it_refuses(
    case: str,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    source = {"shop": {"prefix": "shop", "tables": ["p.a"]}}
    # Port 9: nobody answers there, and nobody is asked.
    tree = {"app": "trial", "connect": {"url": "http://127.0.0.1:9"}, "sources": source}
    (tmp_path / "tailrace.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "connectors").mkdir()
    config = {"connector.class": POSTGRES_CLASS, **shop_config(), **SHOWING[case]}
    write_spec(spec_of("shop", config), tmp_path / "connectors" / "shop.yaml")
    assert run(["connect", *arguments]) in {1, 2}
    said = "".join(capsys.readouterr())
    assert "write " in said
    assert CANARY not in said
