"""Each client library is imported in the files named here and nowhere else."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "embed", "ingest", "retrieve", "connectors", "serve", "tailrace")

DOORS = {
    "faust": ("ingest/app.py", "ingest/agents/"),
    "mode": ("ingest/app.py", "ingest/agents/"),
    "qdrant_client": (
        "embed/indexes/qdrant.py",
        "embed/indexes/qdrant_collection.py",
        "embed/indexes/qdrant_errors.py",
    ),
    "qdrant_edge": (
        "embed/indexes/bm25.py",
        "embed/indexes/edge.py",
        "embed/indexes/edge_collection.py",
    ),
    "fastapi": ("serve/http/",),
    "starlette": ("serve/http/",),
    "uvicorn": ("serve/http/",),
    "openai": ("serve/llms/openai.py", "embed/encoders/openai.py"),
    "requests": ("connectors/transport.py",),
    "psycopg": ("connectors/postgres.py", "connectors/postgres_writes.py"),
    "pymysql": (
        "connectors/mariadb.py",
        "connectors/mariadb_connection.py",
        "connectors/mariadb_writes.py",
    ),
    "confluent_kafka": ("ingest/topics_admin.py", "ingest/embedded_log.py"),
    "aiokafka": (
        "core/consumer.py",
        "core/state_reader.py",
        "ingest/registry.py",
        "ingest/state_store.py",
        "ingest/worker.py",
        "retrieve/raw_ends.py",
        "tailrace/adopt.py",
        "tailrace/reindex/sampling.py",
        "tailrace/resync.py",
        "tailrace/demo/source.py",
    ),
    "openvino": ("embed/encoders/",),
    "tokenizers": ("embed/encoders/",),
    "sentence_transformers": ("embed/encoders/sentence_transformers.py",),
    "langchain_text_splitters": ("embed/cutter.py",),
    "jinja2": ("connectors/values.py", "embed/render.py", "serve/prompt.py"),
    "uvloop": ("tailrace/runtime.py",),
}

FORBIDDEN = ("pickle", "dill", "cloudpickle", "litellm")
"""Run what a record says, or what a gateway's author says."""


def _files() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


@cache
def _imports(file: Path) -> frozenset[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return frozenset(found)


def test_there_is_something_to_look_at() -> None:
    assert len(list(_files())) > 50


@pytest.mark.parametrize("library", DOORS)
def test_a_library_comes_in_by_its_door(library: str) -> None:
    doors = DOORS[library]
    inside = [file.relative_to(ROOT).as_posix() for file in _files() if library in _imports(file)]
    assert [file for file in inside if not file.startswith(doors)] == []


@pytest.mark.parametrize("library", FORBIDDEN)
def test_a_forbidden_library_is_nowhere(library: str) -> None:
    assert [file for file in _files() if library in _imports(file)] == []


def test_imports_are_absolute() -> None:
    relative = [
        file
        for file in _files()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_siblings_name_no_sibling_even_in_text_imports() -> None:
    siblings = {"ingest", "retrieve", "connectors"}
    for file in _files():
        own = file.relative_to(ROOT).parts[0]
        if own in siblings:
            assert not _imports(file) & (siblings - {own}), file
