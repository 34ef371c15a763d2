"""`connect.hosts` of tailrace.yaml: the only addresses that connectors' files may name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.preset import POSTGRES_CLASS
from connectors.spec import spec_of, write_spec
from core.errors import ConfigurationError
from tailrace import connect
from tailrace.cli import run
from tests.unit.connect_world import shop_config

SOURCE = {"prefix": "shop", "tables": ["public.articles"]}
CHECKS = (["validate", "--offline"], ["plan"], ["apply"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "connectors").mkdir()
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[..., Path]:
    def write(hosts: list[str] | None, **changed: str) -> Path:
        # Port 9: whoever asks the worker is refused, and exits with another code.
        section: dict[str, Any] = {"url": "http://127.0.0.1:9"} | ({} if hosts is None else {"hosts": hosts})
        tree = {
            "app": "trial",
            "connect": section,
            "sources": {"shop": {"prefix": "shop", "tables": ["p.a"]}},
        }
        path = folder / "tailrace.yaml"
        path.write_text(yaml.safe_dump(tree))
        config = {"connector.class": POSTGRES_CLASS, **shop_config(**changed)}
        write_spec(spec_of("shop", config), folder / "connectors" / "shop.yaml")
        return path

    return write


@pytest.mark.parametrize("arguments", CHECKS, ids=" ".join)
@pytest.mark.parametrize("hosts", [["other.example"], ["*.db.example"]])
def test_an_address_that_is_not_listed_is_refused_before_any_call(
    write: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    hosts: list[str],
) -> None:
    write(hosts)
    code = run(["connect", *arguments])
    said = "".join(capsys.readouterr())
    assert code == (1 if arguments[0] == "validate" else 2)
    assert "db.example" in said
    assert hosts[0] in said


@pytest.mark.parametrize("hosts", [["db.example"], ["*.example"], None])
def test_a_listed_address_passes_and_without_a_list_every_ordinary_one(
    write: Callable[..., Path], hosts: list[str] | None
) -> None:
    write(hosts)
    assert run(["connect", "validate", "--offline"]) == 0


def test_without_a_list_a_metadata_service_is_refused_all_the_same(write: Callable[..., Path]) -> None:
    write(None, database__hostname="169.254.169.254")
    assert run(["connect", "validate", "--offline"]) == 1


def test_what_the_environment_fills_in_is_compared_with_the_list(write: Callable[..., Path]) -> None:
    config = write(["db.example"], database__user="${env:LOGIN}")
    place = connect.workplace(config, None)
    loaded = connect.named_files(place, None, None)
    (made,) = connect.wanted(place, loaded, {"LOGIN": "debezium"})
    assert made.config["database.user"] == "debezium"
    with pytest.raises(ConfigurationError, match=r"elsewhere\.example"):
        connect.wanted(place, loaded, {"LOGIN": "http://elsewhere.example/"})


def test_an_empty_list_is_no_list(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    write([])
    assert run(["connect", "plan"]) == 2
    assert "connect.hosts" in capsys.readouterr().err
