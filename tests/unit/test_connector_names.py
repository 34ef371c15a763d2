"""`sources.*.connector`: a name on Connect, or a file that says it."""

from pathlib import Path

import pytest
import yaml
from structlog.testing import capture_logs

from core.errors import ConfigurationError
from tailrace.configuration import load
from tailrace.connect import workplace
from tailrace.connector_names import connector_name, connector_names

FILE = "name: shop-{{ values.stage }}\nvalues: {stage: dev}\nconfig: {}\n"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("shop", "shop"),
        ("orders.cdc", "orders.cdc"),
        ("orders.v2.yaml", "orders.v2"),
        ("x/shop.json", "shop"),
    ],
)
def test_only_the_ending_of_a_connectors_file_is_taken_off(said: str, name: str) -> None:
    assert connector_name(said) == name


def test_a_file_says_the_name_wherever_the_command_runs(tmp_path: Path) -> None:
    (tmp_path / "connectors").mkdir()
    file = tmp_path / "connectors" / "shop.yaml"
    file.write_text(FILE)
    tree = {
        "app": "shop",
        "connect": {"url": "http://127.0.0.1:1"},
        "sources": {
            "shop": {"prefix": "shop", "tables": ["public.a"], "connector": "connectors/shop.yaml"},
            "cdc": {"prefix": "cdc", "tables": ["public.a"], "connector": "orders.cdc"},
            "none": {"prefix": "none", "tables": ["public.a"]},
        },
    }
    config = tmp_path / "tailrace.yaml"
    config.write_text(yaml.safe_dump(tree))
    settings = load(config).settings
    assert connector_names(settings.sources) == {"shop": "shop-dev", "cdc": "orders.cdc"}
    assert workplace(config, None).files(None) == [file]


def test_a_file_that_cannot_be_read_is_told_and_does_not_end_a_service(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text("name: shop-{{ values.stage }}\nconfig: {}\n")
    tree = {
        "app": "shop",
        "sources": {"shop": {"prefix": "shop", "tables": ["public.a"], "connector": "shop.yaml"}},
    }
    config = tmp_path / "tailrace.yaml"
    config.write_text(yaml.safe_dump(tree))
    sources = load(config).settings.sources
    with pytest.raises(ConfigurationError, match="stage"):
        connector_name(str(sources["shop"].connector))
    with capture_logs() as logs:
        assert connector_names(sources) == {"shop": "shop"}
    assert [(line["log_level"], "stage" in line["why"]) for line in logs] == [("warning", True)]
