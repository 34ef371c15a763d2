"""Every adapter of the index seam, for each test that asks for an `index` or a `collection`; the model."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import RLock
from typing import Any
from uuid import uuid4

import pytest
from qdrant_client import QdrantClient

from embed.encoders.openvino import OpenVinoModel
from embed.index import Collection, Index
from embed.indexes.edge import EdgeIndex
from embed.indexes.qdrant import QdrantIndex
from embed.memory_index import MemoryIndex
from tests.contract.encoder_world import MINILM
from tests.contract.index_world import D
from tests.qdrant_server.server import QdrantServer

SERVER = os.environ.get("TAILRACE_TEST_QDRANT_URL")
LOCAL = pytest.param(
    "qdrant-local",  # it scans, and says so
    marks=pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
)
KINDS = ["memory", "edge", LOCAL, "qdrant-socket", *(["qdrant-server"] if SERVER else [])]


class OneAtATime:
    """Local mode is not safe for threads; a server takes each call as a whole, and so does this."""

    def __init__(self, client: QdrantClient) -> None:
        self._client, self._lock = client, RLock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)

        def call(*args: Any, **named: Any) -> Any:
            with self._lock:
                return found(*args, **named)

        return call


@pytest.fixture(scope="session")
def socket_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Qdrant's REST over Edge, so that every call of the adapter crosses a socket."""
    server = QdrantServer(tmp_path_factory.mktemp("qdrant"))
    yield server.start()
    server.stop()


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    made: Index
    if request.param == "memory":
        made = MemoryIndex()
    elif request.param == "edge":
        made = EdgeIndex(tmp_path / "index")
    elif request.param == "qdrant-local":
        local: Any = OneAtATime(QdrantClient(":memory:"))
        made = QdrantIndex(local)
    elif request.param == "qdrant-socket":
        made = QdrantIndex(request.getfixturevalue("socket_url"))
    else:
        assert SERVER is not None
        made = QdrantIndex(SERVER, api_key=os.environ.get("TAILRACE_TEST_QDRANT_API_KEY"))
    before = set(made.collections())
    yield made
    for name in set(made.collections()) - before:
        made.drop(name)
    made.close()


@pytest.fixture
def name() -> str:
    return f"contract-{uuid4().hex[:12]}"


@pytest.fixture
def collection(index: Index, name: str) -> Collection:
    index.create(name, D)
    return index.open(name)


@pytest.fixture(scope="session")
def openvino() -> OpenVinoModel:
    """The packaged model, read once."""
    return OpenVinoModel.load(MINILM)
