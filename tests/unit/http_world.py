"""The HTTP API over evidence from memory, one request at a time."""

import asyncio
import uuid
from typing import Any

import httpx2

from core.settings import Settings
from core.state import Json
from embed.model import Manifest
from retrieve.model import DocumentView, Passage, Rows
from serve.http.app import create_app
from serve.llm import Llm, ScriptedLlm
from serve.services import Services
from serve.twins import FRESH, MemoryRetrieval, passage, word_similarity

DOGS = passage("103", "Dogs are welcome in our shops.", title="Dogs")
ORDERS: Rows = ({"id": 5042, "status": "packing"},)
ASK = {"model": "support", "messages": [{"role": "user", "content": "Are dogs welcome in our shops?"}]}
SEARCH = {"query": "Are dogs welcome?", "profile": "support"}


def settings() -> Settings:
    return Settings.model_validate(
        {
            "app": "shop",
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles", "public.orders"]}},
            "documents": {
                "articles": {"table": "shop.public.articles", "text": "{{ body }}", "metadata": ["category"]}
            },
            "state": {"orders": {"table": "shop.public.orders", "by": ["customer_id"]}},
            "llms": [{"name": "main", "base_url": "http://127.0.0.1:1/v1", "model": "m"}],
            "profiles": {
                "support": {"documents": ["articles"], "state": ["orders"]},
                "written": {"documents": ["articles"], "llm": "main"},
            },
        }
    )


def view(key: str) -> DocumentView:
    chunk = uuid.UUID(int=int(key))
    manifest = Manifest(
        id=uuid.UUID(int=1),
        document="articles",
        key=key,
        canonical=b"k",
        version=7,
        tenant=None,
        groups=None,
        deleted=False,
        chunks=(chunk,),
        title="Dogs",
        url=None,
        position="0/1",
        committed_at=1,
        fingerprint="f",
    )
    row: dict[str, Json] = {"id": int(key), "body": "Dogs"}
    return DocumentView(manifest, (Passage(str(chunk), 0, "Dogs", 7),), row, 7, False, FRESH)


def twin(**more: Any) -> MemoryRetrieval:
    documents = {("articles", key): view(key) for key in ("101", "102", "103")}
    return MemoryRetrieval((DOGS,), {("orders", "42"): ORDERS}, documents, **more)


def request(
    method: str,
    path: str,
    body: Any = None,
    *,
    over: MemoryRetrieval | None = None,
    llm: Llm | None = None,
    headers: dict[str, str] | None = None,
    content: Any = None,
    client: tuple[str, int] = ("127.0.0.1", 5),
) -> httpx2.Response:
    over = over or twin()
    services = Services(
        settings(), over, word_similarity, over, over, over, {"main": llm or ScriptedLlm(["Yes [1]."])}
    )

    async def run() -> httpx2.Response:
        transport = httpx2.ASGITransport(create_app(services), client=client)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            if content is not None:
                return await http.request(method, path, content=content, headers=headers)
            return await http.request(method, path, json=body, headers=headers)

    return asyncio.run(run())


def problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["status"] == status
    assert found["type"].startswith("https://tailrace.invalid/problems/")
    assert found["request_id"] == response.headers["x-request-id"]
    assert set(found["error"]) == {"message", "type", "param", "code"}
    return found
