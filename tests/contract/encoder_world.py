"""Texts, the packaged model's name, pauses, and a server of embeddings that answers as a test says."""

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from core.errors import TransientError
from core.settings import OpenAIEncoder
from embed.encoder import HashingEncoder
from embed.encoders.openai import OpenAITextEncoder

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = (
    "The refund was sent to the customer's card on Monday.",
    "On Monday the buyer got the money back.",
    "Reset the device by holding the power button for ten seconds.",
    "Grüße aus Köln — 東京 😀",
    "",
    "Every order is kept in the ledger until its invoice is paid. " * 16,
)


@dataclass
class Endpoint:
    """What the local server answers, and what it was asked."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    floats: bool = False
    body: bytes | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)


def answer(texts: Sequence[str], *, floats: bool) -> bytes:
    vectors = HashingEncoder().encode(texts, kind="document") * 3  # the adapter makes them of length 1
    data: list[dict[str, Any]] = [
        {
            "object": "embedding",
            "index": place,
            "embedding": vector.tolist() if floats else base64.b64encode(vector.tobytes()).decode(),
        }
        for place, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    said = {"object": "list", "model": "hashing", "data": data[::-1], "usage": usage}  # any order is allowed
    return json.dumps(said).encode()


@contextmanager
def serving() -> Iterator[Endpoint]:
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            endpoint.asked.append(asked)
            endpoint.seen.append({name.lower(): value for name, value in self.headers.items()})
            floats = endpoint.floats or asked.get("encoding_format") != "base64"
            body = answer(asked["input"], floats=floats) if endpoint.body is None else endpoint.body
            self.send_response(endpoint.status if self.path == "/v1/embeddings" else 404)
            for name, value in {"content-type": "application/json", **endpoint.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: object) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()


def settings(url: str, **changed: Any) -> OpenAIEncoder:
    return OpenAIEncoder.model_validate({"base_url": url, "model": "hashing", "dimensions": 64, **changed})


@contextmanager
def client_of(url: str, **changed: Any) -> Iterator[OpenAITextEncoder]:
    made = OpenAITextEncoder(settings(url, **changed))
    try:
        yield made
    finally:
        made.close()


class Told:
    """Pauses that are due or not, and what they were told; the last one of `most` raises."""

    def __init__(self, due: bool = False, most: int | None = None, disturbed: bool = False) -> None:
        self.due, self.disturbed, self._most = due, disturbed, most
        self.told: list[list[int]] = []

    def take(self, places: Sequence[int]) -> None:
        self.told.append(list(places))
        if len(self.told) == self._most:
            raise TransientError("no longer wanted")
