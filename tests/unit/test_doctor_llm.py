"""What `doctor` says of an LLM's endpoint, by what it answers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from connectors.checks import Check
from core.settings import Llm, Settings
from tailrace.doctor import examine


@contextmanager
def endpoint(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def examined(url: str) -> Check:
    settings = Settings.model_validate(
        {
            "app": "shop",
            "index": {"kind": "memory"},
            "encoder": {"kind": "hashing"},
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
            "llms": [Llm(name="main", base_url=url, model="m")],
        }
    )
    return {check.name: check for check in examine(settings)}["llm main"]


@pytest.mark.parametrize(
    ("code", "body", "status", "what"),
    [
        (200, b'{"data": [{"id": "m"}]}', "ok", "offers m"),
        (200, b'{"data": [{"id": "other"}]}', "warn", "does not list 'm'"),
        (200, b"<html>Welcome</html>", "fail", "no list of models"),
        (200, b'{"data": null}', "fail", "no list of models"),
        (200, b'{"data": ["m"]}', "fail", "no list of models"),
        (200, b"[]", "fail", "no list of models"),
        (401, b"{}", "fail", "HTTP 401"),
    ],
)
def test_an_endpoint_is_judged_by_its_answer(code: int, body: bytes, status: str, what: str) -> None:
    with endpoint(code, body) as url:
        check = examined(url)
    assert check.status == status
    assert what in check.what
    assert check.fix or status == "ok"
