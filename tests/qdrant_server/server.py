"""A small server that speaks the part of Qdrant's REST that Tailrace's adapter uses, over Edge shards.

For tests: several processes share one index through a real socket, and the adapter is held to its
contract over HTTP. No replicas, no cluster, no gRPC: what it does not know it refuses with 400.
"""

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import qdrant_edge as edge

from tests.qdrant_server import words
from tests.qdrant_server.store import ConflictError, Held, NotFoundError, Store
from tests.qdrant_server.words import BadRequestError, Tree

VERSION: Final = "1.19.0"
"""The oldest that the adapter takes."""

MOST_BYTES: Final = 32 << 20
"""Of one request: a server's own default (`service.max_request_size_mb`)."""

_STATUS: Final[Mapping[type[Exception], int]] = {
    BadRequestError: 400,
    NotFoundError: 404,
    ConflictError: 409,
    KeyError: 400,  # a field that is missing
    ValueError: 400,
    TypeError: 400,
}

_SHAPE: Final = {
    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
    "optimizer_config": {"default_segment_number": 0, "flush_interval_sec": 5},
}
"""What the client wants to hear and nobody acts upon."""


class QdrantServer:
    """`start()` gives the address, `stop()` flushes and frees the port. The folder outlives both."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder, self._port = folder, port
        self._http: ThreadingHTTPServer | None = None
        self._store: Store | None = None

    def start(self) -> str:
        self._store = store = Store(self._folder)

        class Mine(_Handler):
            rest = Rest(store)

        self._http = http = _Http(("127.0.0.1", self._port), Mine)
        Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return f"http://127.0.0.1:{http.server_port}"

    def stop(self) -> None:
        """Safe to call twice."""
        if self._http is not None and self._store is not None:
            self._http.shutdown()
            self._http.server_close()
            self._store.close()
        self._http = self._store = None


class Rest:
    """Methods and paths as calls on the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def answer(self, method: str, path: str, body: Tree) -> Any:
        """The result. Raises the errors that have a status, and Edge's own."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        result: Any = True
        match (method, *parts):
            case ("GET", "collections"):
                result = {"collections": [{"name": name} for name in self._store.names()]}
            case ("GET", "aliases"):
                found = self._store.aliases().items()
                result = {"aliases": [{"alias_name": one, "collection_name": at} for one, at in found]}
            case ("POST", "collections", "aliases"):
                words.only(body, "actions")
                self._store.move(body["actions"])
            case ("GET", "collections", name, "exists"):
                result = {"exists": self._store.exists(name)}
            case ("PUT", "collections", name):
                self._store.create(name, body)
            case ("DELETE", "collections", name):
                result = self._store.delete(name)
            case ("GET", "collections", name):
                result = _described(self._store.get(name))
            case (_, "collections", name, *rest):
                result = self._points(self._store.get(name), method, "/".join(rest), body)
            case _:
                raise NotFoundError(f"{method} {path}")
        return result

    @staticmethod
    def _points(held: Held, method: str, what: str, body: Tree) -> Any:
        calls: dict[tuple[str, str], Callable[[Held, Tree], Any]] = {
            ("PUT", "index"): _make_index,
            ("POST", "points"): _retrieve,
            ("POST", "points/batch"): _update,
            ("POST", "points/scroll"): _scroll,
            ("POST", "points/count"): _count,
            ("POST", "points/query"): _query,
            ("POST", "points/query/batch"): _query_batch,
        }
        if (method, what) not in calls:
            raise NotFoundError(f"{method} {what}")
        return calls[method, what](held, body)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    rest: Rest
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = urlsplit(self.path).path
        if path == "/":
            return self._send(200, {"title": "a test server over Qdrant Edge", "version": VERSION})
        try:
            result = self.rest.answer(self.command, path, _read(sent))
        except Exception as error:  # noqa: BLE001 - the client's to judge
            said = f"{type(error).__name__}: {error}"
            return self._send(_status(error), {"status": {"error": said}, "time": 0.0})
        return self._send(200, {"result": result, "status": "ok", "time": 0.0})

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - http.server's names

    def _send(self, status: int, body: Tree) -> None:
        said = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def _read(sent: bytes) -> Tree:
    if len(sent) > MOST_BYTES:
        raise BadRequestError(f"JSON payload ({len(sent)} bytes) is larger than allowed")
    return json.loads(sent) if sent else {}


def _status(error: Exception) -> int:
    if type(error) is Exception:  # Edge's own
        return 404 if "not initialized" in str(error) else 400
    return _STATUS.get(type(error), 500)


def _described(held: Held) -> Tree:
    info = held.shard.info()
    made = held.configuration
    return {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": info.segments_count,
        "points_count": info.points_count,
        "config": {
            "params": {"vectors": made["vectors"], "sparse_vectors": made.get("sparse_vectors")},
            **_SHAPE,
        },
        "payload_schema": {},
    }


def _make_index(held: Held, body: Tree) -> Tree:
    return {"operation_id": held.update([words.field_index(body)])[0], "status": "completed"}


def _update(held: Held, body: Tree) -> Any:
    words.only(body, "operations")
    done = held.update([words.update(one) for one in body["operations"]])
    return [{"operation_id": one, "status": "completed"} for one in done]


def _retrieve(held: Held, body: Tree) -> Any:
    words.only(body, "ids", "with_payload", "with_vector")
    if not body["ids"]:
        return []
    vectors = body.get("with_vector", False)
    return words.found(held.shard.retrieve(words.ids(body["ids"]), body.get("with_payload", True), vectors))


def _scroll(held: Held, body: Tree) -> Tree:
    points, after = held.shard.scroll(words.scroll(body))
    return {"points": words.found(points), "next_page_offset": None if after is None else str(after)}


def _count(held: Held, body: Tree) -> Tree:
    words.only(body, "filter", "exact")
    return {"count": held.shard.count(edge.CountRequest(filter=words.where(body.get("filter"))))}


def _query(held: Held, body: Tree) -> Tree:
    return {"points": words.found(held.shard.query(words.query(body)))}


def _query_batch(held: Held, body: Tree) -> Any:
    words.only(body, "searches")
    request = edge.QueryBatchRequest([words.query(one) for one in body["searches"]])
    return [{"points": words.found(points)} for points in held.shard.query_batch(request)]
