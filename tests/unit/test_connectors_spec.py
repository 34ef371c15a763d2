"""Connector files: their shapes, values, profiles and templates; and what is said of errors."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from connectors.preset import MARIADB_CLASS, MYSQL_CLASS, POSTGRES_CLASS, postgres_config
from connectors.spec import ConnectorSpec, read_spec, read_specs, spec_of, write_spec
from connectors.substitution import connects_own
from connectors.templates.catalogue import TEMPLATES
from core.errors import ConfigurationError
from tests.unit.connect_world import CANARY
from tests.unit.connector_files_world import VALUES, live, read, refused


def test_each_template_is_tested() -> None:
    assert set(VALUES) == set(TEMPLATES)


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_a_template_makes_breaks_no_rule(template: str, tmp_path: Path) -> None:
    spec = read(tmp_path, {"name": "shop", "template": template, "values": VALUES[template]})
    assert spec.violations() == []
    assert spec.resolved({}).config == spec.full_config()
    assert not any("{{" in value for value in spec.config.values())


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_value_of_a_template_says_what_it_means(template: str) -> None:
    for name, field in TEMPLATES[template].values.model_fields.items():
        assert field.description, name


def test_templates_name_their_classes(tmp_path: Path) -> None:
    made = {
        name: read(tmp_path, {"name": "a", "template": name, "values": VALUES[name]}).class_
        for name in TEMPLATES
    }
    assert made["postgres"] == made["outbox"] == POSTGRES_CLASS
    assert (made["mariadb"], made["mysql"]) == (MARIADB_CLASS, MYSQL_CLASS)
    assert made["mongodb"] == "io.debezium.connector.mongodb.MongoDbConnector"
    assert made["sqlserver"] == "io.debezium.connector.sqlserver.SqlServerConnector"


def test_tls_is_what_a_value_can_take_away(tmp_path: Path) -> None:
    weaker: dict[str, dict[str, Any]] = {
        "postgres": {"sslmode": "disable"},
        "mariadb": {"sslmode": "disable"},
        "mysql": {"sslmode": "preferred"},
        "mongodb": {"tls": False},
        "sqlserver": {"encrypt": False},
    }
    for template, off in weaker.items():
        file: dict[str, Any] = {"name": "a", "template": template, "values": VALUES[template] | off}
        assert {v.rule for v in read(tmp_path, file).violations()} == {"no-tls"}
        assert read(tmp_path, file | {"accept": {"no-tls": "over loopback"}}).violations() == []


def test_the_outbox_routes_only_its_own_table(tmp_path: Path) -> None:
    config = read(tmp_path, {"name": "a", "template": "outbox", "values": VALUES["outbox"]}).config
    assert config["transforms.outbox.type"] == "io.debezium.transforms.outbox.EventRouter"
    assert config["transforms.outbox.table.expand.json.payload"] == "true"
    assert config["transforms.outbox.route.topic.replacement"] == "outbox.event.${routedByValue}"
    assert config["transforms.outbox.predicate"] == config["predicates"]
    assert config["predicates.outbox.pattern"] == r"shop\.public\.outbox"


def test_the_files_own_config_lies_over_the_templates(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        {
            "name": "{{ values.prefix }}-{{ values.stage }}",
            "template": "postgres",
            "values": VALUES["postgres"] | {"stage": "test"},
            "config": {
                "poll.interval.ms": 200,
                "snapshot.max.threads": "2",
                "provide.transaction.metadata": True,
            },
            "state": "stopped",
        },
    )
    assert spec.name == "shop-test"
    assert spec.config["poll.interval.ms"] == "200"
    assert spec.config["provide.transaction.metadata"] == "true"
    assert spec.config["database.hostname"] == "db.example"
    assert spec.state == "stopped"


def test_a_profile_lies_over_values_config_state_and_tasks(tmp_path: Path) -> None:
    file = {
        "name": "shop-{{ values.stage }}",
        "class": POSTGRES_CLASS,
        "values": {"stage": "dev", "db": {"host": "localhost", "port": 5432}},
        "config": {
            "database.hostname": "{{ values.db.host }}",
            "database.port": "{{ values.db.port }}",
            "poll.interval.ms": "50",
        },
        "profiles": {
            "prod": {
                "values": {"stage": "prod", "db": {"host": "db.prod.example"}},
                "config": {"poll.interval.ms": 100},
                "tasks_max": 2,
                "state": "paused",
            },
            "test": {},
        },
    }
    base, prod = read(tmp_path, file), read(tmp_path, file, "prod")
    assert read(tmp_path, file, "test") == base
    assert (base.name, base.config["database.hostname"], base.state) == ("shop-dev", "localhost", "running")
    assert (prod.name, prod.tasks_max, prod.state) == ("shop-prod", 2, "paused")
    assert prod.config == {
        "database.hostname": "db.prod.example",
        "database.port": "5432",
        "poll.interval.ms": "100",
    }
    assert refused(tmp_path, file, "prd") == "profiles: there is no 'prd': write one of prod, test"


def test_a_file_without_profiles_is_the_same_in_each(tmp_path: Path) -> None:
    file = {"name": "a", "config": {"topic.prefix": "a"}}
    assert read(tmp_path, file, "prod") == read(tmp_path, file)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in VALUES["postgres"].items() if key != name}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"template": "postgres", "values": without("host")}, "values.host is missing: The database's"),
        (
            {"template": "postgres", "values": VALUES["postgres"] | {"hots": CANARY}},
            "values.hots: nothing takes it: did you mean host?",
        ),
        ({"template": "postgers", "values": {}}, "template: there is no 'postgers': did you mean postgres?"),
        (
            {"template": "postgres", "values": VALUES["postgres"] | {"tables": ["public.*"]}},
            "values: 'public.*' is no plain schema.table",
        ),
        (
            {"template": "postgres", "values": VALUES["postgres"] | {"port": CANARY}},
            "values.port: Input should be a valid integer",
        ),
        (
            {"template": "postgres", "class": POSTGRES_CLASS, "values": VALUES["postgres"]},
            "class: template postgres has its own",
        ),
        (
            {"values": {"hots": "x"}, "config": {"a": "{{ values.host }}"}},
            "values.hots: nothing uses it: did",
        ),
        (
            {"config": {"a": "{{ values.host }}"}},
            "config.a: {{ … }} cannot be filled in: there is no value 'host';",
        ),
        ({"config": {"a": "{{ values"}}, "config.a: {{ … }} cannot be filled in"),
        ({"confg": {}}, "confg: there is no such key: did you mean config?"),
        ({"config": {"a": None}}, "config.a: Input should be a valid string"),
        ({"config": {"a": ["x"]}}, "config.a: Input should be a valid string"),
        ({"config": {"tasks.max": "2"}}, "config.tasks.max: write it once, as `tasks_max:`"),
        (
            {"class": POSTGRES_CLASS, "config": {"connector.class": "x"}},
            "config.connector.class: write it once",
        ),
        ({"config": {}, "accept": {"no-tls": " "}}, "accept.no-tls: say why"),
        ({"config": {}, "state": "runing"}, "state: Input should be 'running', 'paused' or 'stopped'"),
        ({"config": {}, "tasks_max": 0}, "tasks_max: Input should be greater than 0"),
    ],
)
def test_an_error_names_the_key_and_what_to_write(content: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, {"name": "shop", **content})


@pytest.mark.parametrize("flat", [False, True])
def test_connects_own_form_is_taken_as_it_stands(flat: bool, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "connector.class": POSTGRES_CLASS,
        "tasks.max": 1,
        "database.password": "${env:PW}",
        "a": "{{ b }} $${env:X}",
        "slot.drop.on.stop": False,
    }
    content = {"name": "shop", **config} if flat else {"name": "shop", "config": {**config, "name": "shop"}}
    spec = read(tmp_path, content, name="c.json")
    assert (spec.name, spec.env, spec.tasks_max) == ("shop", "connect", 1)
    assert spec.config == {
        "database.password": "${env:PW}",
        "a": "{{ b }} $${env:X}",
        "slot.drop.on.stop": "false",
    }
    assert spec.resolved({}).config == spec.full_config()
    assert spec.resolved({}).secrets == frozenset()


def test_what_connect_answers_and_takes_is_read_too(tmp_path: Path) -> None:
    config = {"connector.class": POSTGRES_CLASS}
    answered = {
        "name": "shop",
        "config": config,
        "tasks": [{"connector": "shop", "task": 0}],
        "type": "source",
    }
    assert read(tmp_path, answered, name="c.json").state == "running"
    posted = {"name": "shop", "config": config, "initial_state": "STOPPED"}
    assert read(tmp_path, posted, name="c.json").state == "stopped"
    ours = {"name": "shop", "config": config, "env": "apply", "accept": {"no-tls": "loopback"}}
    assert read(tmp_path, ours, name="c.json").accept == {"no-tls": "loopback"}
    assert "initial_offsets: there is no such key" in refused(tmp_path, posted | {"initial_offsets": []})
    assert "config.name is not the name" in refused(
        tmp_path, {"name": "shop", "config": {**config, "name": "other"}}
    )


def test_a_live_configuration_is_written_and_read_back_as_it_was(tmp_path: Path) -> None:
    config = {**live(), "odd": "{{ x }} {% y %} {{", "regex": r"a{2}{#b}$1", "own": connects_own("${env:X}")}
    spec = spec_of("shop", config, accept={"no-tls": "loopback"}, state="paused")
    write_spec(spec, tmp_path / "shop.yaml")
    assert read_spec(tmp_path / "shop.yaml") == spec
    assert spec.resolved({}).config["own"] == "${env:X}"
    assert spec.full_config() == config | {"tasks.max": "1"}


def test_folders_are_read_in_order_and_files_once(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.json", ".hidden.yaml"):
        (tmp_path / name).write_text(json.dumps({"name": Path(name).stem.strip("."), "config": live()}))
    (tmp_path / "notes.txt").write_text("no connector")
    loaded = read_specs([tmp_path, tmp_path / "a.json"])
    assert [(one.path.name, one.spec.name) for one in loaded] == [("a.json", "a"), ("b.yaml", "b")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="holds no connector: no file ends with"):
        read_specs([tmp_path / "empty"])
    with pytest.raises(ConfigurationError, match="there is no such file or folder"):
        read_specs([tmp_path / "none"])


def test_the_preset_and_its_template_are_one(tmp_path: Path) -> None:
    direct = postgres_config(**(VALUES["postgres"] | {"port": 5432}))
    spec = read(tmp_path, {"name": "shop", "template": "postgres", "values": VALUES["postgres"]})
    assert spec.full_config() == direct


DOCUMENT = (Path(__file__).parents[2] / "docs" / "connector-files.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(yaml|json)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_the_document_has_examples_of_each_kind() -> None:
    assert {kind for kind, _ in EXAMPLES} == {"yaml", "json"}
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
@pytest.mark.parametrize("profile", [None, "prod"])
def test_each_example_of_the_document_may_be_deployed(
    number: int, profile: str | None, tmp_path: Path
) -> None:
    kind, text = EXAMPLES[number]
    file = tmp_path / f"example.{kind}"
    file.write_text(text, encoding="utf-8")
    spec = read_spec(file, profile)
    assert spec.violations() == []
    bare = ConnectorSpec.model_validate(spec.model_dump(by_alias=True) | {"accept": {}})
    if profile is None:
        # What is waived would be refused: an example waives nothing without need.
        assert {violation.rule for violation in bare.violations()} == set(spec.accept)
    assert spec.resolved({"SHOP_DATABASE_PASSWORD": CANARY}).config["topic.prefix"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_document_lists_the_values_of_each_template(template: str) -> None:
    part = DOCUMENT.split(f"\n### {template}\n")[1].split("\n### ")[0].split("\n```")[0]
    listed = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", part, re.MULTILINE)
    wanted = [
        (
            name,
            "required" if field.is_required() else "" if field.default is None else f"`{field.default}`",
            field.description,
        )
        for name, field in TEMPLATES[template].values.model_fields.items()
    ]
    assert listed == wanted
