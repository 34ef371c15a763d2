"""What is written in a connector's file is what is sent, letter by letter."""

import json
from pathlib import Path

import pytest
import yaml

from connectors.parsing import MAX_BYTES
from connectors.spec import read_spec, write_spec
from core.errors import ConfigurationError

WRITTEN = [
    "05432", "0o17", "0x1F", "0b11", "1_000", "1:30", "190:20:30", "on", "off", "yes", "No", "True", "y",
    "true", "false", "10", "-1", "-0", "+5", "1.50", "1.5", "1e3", "1.0e+3", ".5", ".inf", ".nan",
    "2021-01-02", "2021-99-99", "2021-01-02 03:04:05", "0x_", "0b_", "9" * 5000, "=", "123456789012345678901",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
def test_a_scalar_is_sent_as_it_is_written(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        f"name: a\nconfig:\n  a: {text}\n  on: b\n  05: b\nprofiles:\n  prod:\n    config: {{c: {text}}}\n"
    )
    spec = read_spec(path, "prod")
    assert spec.config == {"a": text, "c": text, "on": "b", "05": "b"}
    write_spec(spec, path)
    assert read_spec(path) == spec


@pytest.mark.parametrize("text", ["10", "-1", "1.50", "1e3", "9" * 5000, "123456789012345678901", "NaN"])
def test_a_number_in_json_is_sent_as_it_is_written(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{{"name": "a", "config": {{"connector.class": "x", "a": {text}}}}}')
    assert read_spec(path).config["a"] == text


def test_values_keep_their_types(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "name: a\ntasks_max: 2\nvalues: {n: 3, off: false, half: 0.5, port: 05432}\nconfig:\n"
        "  a: '{{ values.n + 1 }}'\n  b: '{{ 1 if values.off else 2 }}'\n  c: '{{ values.half }}'\n"
        "  d: '{{ values.port }}'\n"
    )
    spec = read_spec(path)
    assert spec.config == {"a": "4", "b": "2", "c": "0.5", "d": "05432"}
    assert spec.tasks_max == 2


@pytest.mark.parametrize(
    "text",
    [
        "name: a\nconfig: {a: !!timestamp 2021-99-99}\n",
        "name: a\nconfig: {a: !!binary '='}\n",
        "name: a\nconfig: {a: ~}\n",
        "name: a\nconfig: {a: null}\n",
        "name: a\nconfig: {a: }\n",
        "name: a\nconfig: {<<: {a: b}, ? [x] : y}\n",
        "name: a\ntasks_max: 0x_\n",
        f"name: a\ntasks_max: {'9' * 5000}\n",
        "name: a\nconfig: {a: \"{{ 'x' * 99999999999 }}\"}\n",
        "name: a\nvalues: {n: 99999999999}\nconfig: {a: \"{{ 'x' * values.n }}\"}\n",
        "name: a\nvalues: {n: 99999}\nconfig: {a: '{{ values.n ** values.n }}'}\n",
        f"name: a\nconfig: {{a: '{{{{ {'(' * 5000}1{')' * 5000} }}}}'}}\n",
    ],
)
def test_a_scalar_that_is_none_is_refused_with_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"a\.yaml: "):
        read_spec(path)


def test_deep_and_long_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * (MAX_BYTES // 2))
    with pytest.raises(ConfigurationError):
        read_spec(path)
    path.write_text(json.dumps({"name": "a", "config": {"connector.class": "x", "tasks.max": "9" * 5000}}))
    with pytest.raises(ConfigurationError):
        read_spec(path)


@pytest.mark.parametrize("written", ["!!int 0x_", "!!int '05'", "!!float x", "!!bool maybe", "!!str 10"])
def test_a_tag_changes_no_letter(written: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"name: a\nconfig: {{a: {written}}}\n")
    assert read_spec(path).config["a"] == written.split()[1].strip("'")


def test_text_in_quotes_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({"name": "a", "config": {"a": "true", "b": "05", "c": "null", "d": ""}}))
    assert read_spec(path).config == {"a": "true", "b": "05", "c": "null", "d": ""}
