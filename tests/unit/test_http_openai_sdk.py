"""OpenAI's own client, against the service on a real port."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest

from core.settings import Settings
from serve.http.app import create_app
from serve.http.server import bind, serve_http
from serve.llm import Llm, LlmRefusedError, LlmUnavailableError, ScriptedLlm
from serve.services import Services
from serve.twins import MemoryRetrieval, passage, word_similarity

SETTINGS = Settings.model_validate(
    {
        "app": "shop",
        "sources": {"shop": {"prefix": "shop", "tables": ["public.articles", "public.orders"]}},
        "documents": {"articles": {"table": "shop.public.articles", "text": "{{ body }}"}},
        "state": {"orders": {"table": "shop.public.orders", "by": ["customer_id"]}},
        "llms": [{"name": "main", "base_url": "http://127.0.0.1:1/v1", "model": "m"}],
        "profiles": {
            "support": {"documents": ["articles"], "state": ["orders"]},
            "written": {"documents": ["articles"], "llm": "main"},
        },
    }
)
QUESTION: Any = [{"role": "user", "content": "Are dogs welcome in our shops?"}]


def using(work: Callable[[openai.AsyncOpenAI], Awaitable[None]], llm: Llm | None = None) -> None:
    async def run() -> None:
        twin = MemoryRetrieval(
            [passage("103", "Dogs are welcome in our shops.", title="Dogs")], {("orders", "42"): ({"id": 1},)}
        )
        made = llm or ScriptedLlm(["Yes, ", "they are [1]."])
        app = create_app(Services(SETTINGS, twin, word_similarity, twin, twin, twin, {"main": made}))
        server = await serve_http(app, bind("127.0.0.1", 0))
        try:
            address = f"http://127.0.0.1:{server.port}/v1/"
            async with openai.AsyncOpenAI(base_url=address, api_key="unused", max_retries=0) as client:
                await work(client)
        finally:
            await server.stop()

    asyncio.run(run())


def test_models() -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        assert [model.id async for model in client.models.list()] == ["support", "written"]
        assert (await client.models.retrieve("support")).owned_by == "tailrace"

    using(work)


def test_an_answer_with_citations_and_our_member() -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        found = await client.chat.completions.create(
            model="support",
            messages=QUESTION,
            extra_body={"tailrace": {"state": {"orders": "42"}, "top_k": 3}},
        )
        message = found.choices[0].message
        assert message.content == "Dogs are welcome in our shops. [1]"
        assert message.annotations is not None
        assert message.annotations[0].url_citation.url == "https://shop.example/articles/103"
        extra: Any = found.model_extra
        assert extra["tailrace"]["state"] == {"orders": [{"id": 1}]}
        assert extra["tailrace"]["trace_id"] == found._request_id

    using(work)


def test_a_streamed_answer() -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(
            model="written",
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},
            temperature=0,
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Yes, they are [1]."
        *_, last, usage = chunks
        assert last.choices[0].finish_reason == "stop"
        extra: Any = last.model_extra
        assert extra["tailrace"]["freshness"]["index_lag_ms"] == 12
        assert usage.usage is not None
        assert usage.usage.total_tokens > 0

    using(work)


def test_errors_raise_the_clients_own_types() -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="gpt-5", messages=QUESTION)
        assert missing.value.code == "model_not_found"
        assert missing.value.type == "not_found_error"
        assert missing.value.request_id == missing.value.response.json()["request_id"]
        with pytest.raises(openai.UnprocessableEntityError) as wrong:
            await client.chat.completions.create(
                model="support", messages=QUESTION, extra_body={"tailrace": {"state": {"stock": "1"}}}
            )
        assert wrong.value.param == "state"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nosuch")
        with pytest.raises(openai.APIStatusError) as large:
            await client.chat.completions.create(
                model="support", messages=[{"role": "user", "content": "x" * 2**20}]
            )
        assert large.value.status_code == 413

    using(work)


@pytest.mark.parametrize(
    ("error", "code"),
    [(LlmUnavailableError("down"), "llm-unavailable"), (LlmRefusedError("no"), "llm-failed")],
)
def test_a_model_that_is_down_is_a_server_error(error: Exception, code: str) -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="written", messages=QUESTION, stream=True)
        assert caught.value.code == code

    using(work, ScriptedLlm([], error=error))


def test_a_stream_that_breaks_off_raises() -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(model="written", messages=QUESTION, stream=True)
        seen: list[str] = []

        async def read() -> None:
            async for chunk in stream:
                if text := chunk.choices[0].delta.content:
                    seen.append(text)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(openai.APIError, match="went away"):
            await read()
        assert "".join(seen) == "Yes, "

    using(work, ScriptedLlm(["Yes, "], error=LlmUnavailableError("the model went away")))
