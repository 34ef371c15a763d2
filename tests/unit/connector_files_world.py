"""Connector files for tests: values of each template, and what is read of a file or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.spec import ConnectorSpec, read_spec
from connectors.templates.catalogue import TEMPLATES
from core.errors import ConfigurationError
from tests.unit.connect_world import CANARY

REFERENCE = "${file:/secrets/connect.properties:debezium}"
COMMON = {"prefix": "shop", "user": "debezium", "password": REFERENCE}
BINLOG = {
    "host": "db.example",
    "tables": ["shop.articles"],
    "server_id": 5401,
    "history_servers": "kafka:9092",
    "signal_table": "shop.debezium_signal",
}
POSTGRES = {
    "host": "db.example",
    "database": "shop",
    "tables": ["public.articles"],
    "placeholder": "__uv_0123456789abcdef__",
}
VALUES: dict[str, dict[str, Any]] = {
    "postgres": COMMON | POSTGRES,
    "outbox": COMMON | POSTGRES | {"tables": ["public.outbox"]},
    "mariadb": COMMON | BINLOG,
    "mysql": COMMON | BINLOG,
    "mongodb": COMMON
    | {
        "collections": ["shop.articles"],
        "connection_string": "mongodb://m1.example:27017,m2.example:27017/?replicaSet=rs0",
        "signal_collection": "shop.debezium_signal",
    },
    "sqlserver": COMMON
    | {
        "host": "db.example",
        "databases": ["shop"],
        "tables": ["dbo.articles"],
        "history_servers": "kafka:9092",
        "signal_table": "shop.dbo.debezium_signal",
    },
}


def read(tmp_path: Path, content: object, profile: str | None = None, name: str = "c.yaml") -> ConnectorSpec:
    file = tmp_path / name
    file.write_text(json.dumps(content) if name.endswith("json") else yaml.safe_dump(content))
    return read_spec(file, profile)


def refused(tmp_path: Path, content: object, profile: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(tmp_path, content, profile)
    assert CANARY not in str(raised.value)
    return str(raised.value).removeprefix(f"{tmp_path / 'c.yaml'}: ")


def live() -> dict[str, str]:
    return TEMPLATES["postgres"].build(
        **TEMPLATES["postgres"].values.model_validate(VALUES["postgres"]).model_dump()
    )
