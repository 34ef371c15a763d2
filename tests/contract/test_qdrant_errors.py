"""What the server adapter makes of answers that are none: over real HTTP, by consequence."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from core.errors import ConfigurationError, TransientError
from embed.indexes.qdrant import QdrantIndex
from embed.indexes.qdrant_collection import QdrantCollection
from embed.model import Covered


class Answer(BaseHTTPRequestHandler):
    """Says the same to every request."""

    status: ClassVar[int] = 200
    body: ClassVar[Any] = None
    raw: ClassVar[bytes | None] = None
    headers_: ClassVar[dict[str, str]] = {}

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        said = json.dumps(self.body).encode() if self.raw is None else self.raw
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        for name, value in self.headers_.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def answer() -> type[Answer]:
    class Mine(Answer):
        pass

    return Mine


@pytest.fixture
def url(answer: type[Answer]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), answer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def collection(url: str) -> Iterator[QdrantCollection]:
    index = QdrantIndex(url, timeout_seconds=1)
    yield QdrantCollection(index._client, "g1", 4)
    index.close()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_the_servers_own_trouble_is_transient(
    collection: QdrantCollection, answer: type[Answer], status: int
) -> None:
    answer.status, answer.body = status, {"status": {"error": "no room"}}
    with pytest.raises(TransientError, match="g1"):
        collection.manifests([uuid4()])


def test_a_limit_says_when_to_come_back(collection: QdrantCollection, answer: type[Answer]) -> None:
    answer.status, answer.headers_ = 429, {"Retry-After": "7"}
    with pytest.raises(TransientError) as caught:
        collection.counts()
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    "status, says", [(400, "refused"), (401, "api_key"), (403, "api_key"), (404, "does not exist")]
)
def test_a_refusal_is_a_configuration_error(
    collection: QdrantCollection, answer: type[Answer], status: int, says: str
) -> None:
    answer.status = status
    with pytest.raises(ConfigurationError, match=says):
        collection.scroll(None, 5)


@pytest.mark.parametrize("raw", [b'{"hello": "world"}', b"<html>hello</html>", b"", b"[]", b"\xff"])
def test_somebody_elses_server_is_a_configuration_error(
    collection: QdrantCollection, answer: type[Answer], raw: bytes
) -> None:
    answer.raw = raw
    point = [uuid4()]
    for call in (collection.counts, collection.covered, lambda: collection.chunks(point)):
        with pytest.raises(ConfigurationError, match=r"index\.url"):
            call()
    with pytest.raises(ConfigurationError, match=r"index\.url"):
        QdrantIndex(collection._client).open("g1")


def test_no_answer_is_transient() -> None:
    index = QdrantIndex("http://127.0.0.1:1", timeout_seconds=1)
    with pytest.raises(TransientError, match="no answer"):
        index.open("g1")
    index.close()


@pytest.mark.parametrize("status", ["acknowledged", "wait_timeout"])
def test_a_write_that_was_not_finished_is_transient(
    collection: QdrantCollection, answer: type[Answer], status: str
) -> None:
    answer.body = {"time": 0.1, "status": "ok", "result": [{"operation_id": 1, "status": status}]}
    with pytest.raises(TransientError, match="did not finish"):
        collection.cover([Covered("t", 0, 1, 1, "", 0)])


@pytest.mark.parametrize("version", ["1.18.3", "1.9.9", "0.11.0", "unknown"])
def test_an_old_server_is_refused(url: str, answer: type[Answer], version: str) -> None:
    answer.body = {"title": "qdrant - vector search engine", "version": version}
    index = QdrantIndex(url, timeout_seconds=1)
    for call in (lambda: index.open("g1"), lambda: index.create("g1", 4)):
        with pytest.raises(ConfigurationError, match=r"1\.19"):
            call()
    index.close()


def test_an_address_that_is_none_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"index\.url"):
        QdrantIndex("http://host:port")
