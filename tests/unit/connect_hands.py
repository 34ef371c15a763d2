"""The command line of `tailrace connect`, as tests call it, and a folder to call it in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.export import exported
from connectors.live import LiveConnector
from connectors.spec import write_spec
from tailrace.cli import run
from tests.unit.connect_world import CANARY, URL, shop_config

Tailrace = Callable[..., "Done"]


class Done:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def data(self) -> Any:
        return json.loads(self.out)


def write(folder: Path, name: str, **changed: str) -> None:
    spec = exported(LiveConnector(name, shop_config(**changed), None)).spec
    write_spec(spec, folder / "connectors" / f"{name}.yaml")


def a_folder(place: Path) -> Path:
    """With a configuration of one source, and its connector's file."""
    source = {"prefix": "shop", "tables": ["public.articles"], "connector": "connectors/shop.yaml"}
    tree = {"app": "trial", "connect": {"url": URL}, "sources": {"shop": source}}
    (place / "tailrace.yaml").write_text(yaml.safe_dump(tree))
    (place / "connectors").mkdir()
    write(place, "shop")
    return place


def caller(capsys: pytest.CaptureFixture[str]) -> Tailrace:
    """Runs a command, and looks at its exit code; no secret is ever shown."""

    def call(*arguments: str, code: int = 0) -> Done:
        found = run(["connect", *arguments])
        out, err = capsys.readouterr()
        assert CANARY not in out + err
        assert found == code, out + err
        return Done(found, out, err)

    return call
