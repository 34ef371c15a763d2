"""The test server itself: a process of its own that several others share, and that kill -9 cannot rob."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import httpx2
import numpy as np
import pytest

from core.errors import ConfigurationError
from embed.index import Counts, Drop
from embed.indexes.qdrant import QdrantIndex
from embed.indexes.qdrant_collection import QdrantCollection
from embed.model import Chunk, ChunkPoint, Scope, Sparse
from tests.qdrant_server.server import QdrantServer

ROOT = Path(__file__).parents[2]
D = 4


def chunk(text: str) -> ChunkPoint:
    dense = np.ones(D, np.float32)
    return ChunkPoint(
        Chunk(uuid4(), text), uuid4(), "d", "id=1", None, None, {}, 1, dense, Sparse((7,), (1.0,))
    )


@contextlib.contextmanager
def process(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    argv = [sys.executable, "-m", "tests.qdrant_server", "--dir", str(folder)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


@contextlib.contextmanager
def client(url: str) -> Iterator[QdrantIndex]:
    made = QdrantIndex(url)
    try:
        yield made
    finally:
        made.close()


def test_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with process(tmp_path) as (child, url), client(url) as index:
        index.create("g1", D)
        index.point("live", "g1")
        index.open("g1").write_chunks([chunk(str(n)) for n in range(500)])
        child.kill()
        child.wait()
    with process(tmp_path) as (child, url), client(url) as index:
        assert index.alias("live") == "g1"
        collection = index.open("g1")
        assert collection.counts() == Counts(0, 500)
        assert len(collection.search([np.ones(D, np.float32)], Scope(None), {}, 9)[0]) == 9
        child.terminate()
        assert child.wait(20) == 0


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    server = QdrantServer(tmp_path)
    yield server.start()
    server.stop()


def test_an_alias_is_never_seen_missing_or_between_two(url: str) -> None:
    with client(url) as index, client(url) as other:
        for name in ("g1", "g2"):
            index.create(name, D)
            index.open(name).write_chunks([chunk(name)])
        index.point("live", "g1")
        done = Event()

        def read() -> set[tuple[str | None, int]]:
            seen = set()
            while not done.is_set():
                at = other.alias("live")
                found = other._client.count("live").count
                seen.add((at, found))
            return seen

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            for n in range(40):
                index.point("live", f"g{n % 2 + 1}")
            done.set()
            assert all(reader.result() <= {("g1", 1), ("g2", 1)} for reader in readers)


def test_of_several_changes_of_aliases_all_or_none_are_made(url: str) -> None:
    with client(url) as index:
        index.create("g1", D)
        index.point("live", "g1")
        actions = [
            {"delete_alias": {"alias_name": "live"}},
            {"create_alias": {"alias_name": "live", "collection_name": "gone"}},
        ]
        answer = httpx2.post(f"{url}/collections/aliases", json={"actions": actions}, trust_env=False)
        assert answer.status_code == 404
        assert index.alias("live") == "g1"


def test_what_it_does_not_know_is_refused(url: str) -> None:
    with client(url) as index:
        index.create("g1", D)
        for method, path, body in (
            ("POST", "points/scroll", {"filter": {"must_not": []}}),
            ("POST", "points/query", {"query": [1.0] * D, "using": "dense", "score_threshold": 0.5}),
            ("POST", "points/batch", {"operations": [{"set_payload": {}}]}),
            ("POST", "points/count", {"filter": {"must": [{"key": "a", "values_count": {"gt": 1}}]}}),
        ):
            answer = httpx2.request(method, f"{url}/collections/g1/{path}", json=body, trust_env=False)
            assert answer.status_code == 400, (path, answer.text)
        with pytest.raises(ConfigurationError, match="does not exist"):
            index.open("g2")


def test_many_drops_go_in_requests_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = QdrantServer(tmp_path)
    sent: list[int] = []
    try:
        with client(server.start()) as index:
            index.create("g1", D)
            collection = index.open("g1")
            assert isinstance(collection, QdrantCollection)
            chunks = [chunk(str(n)) for n in range(600)]
            collection.write_chunks(chunks)
            update = collection._client.batch_update_points

            def counted(name: str, operations: Sequence[Any], **more: Any) -> Any:
                sent.append(sum(len(one.delete.filter.must[0].has_id) for one in operations))
                return update(name, operations, **more)

            monkeypatch.setattr(collection._client, "batch_update_points", counted)
            collection.drop_chunks([Drop((one.chunk.id,), 2 + n % 2) for n, one in enumerate(chunks)])
            collection.erase_manifests([one.chunk.id for one in chunks], 2)
            assert collection.counts() == Counts(0, 0)
    finally:
        server.stop()
    assert sent == [200] * 6
