"""The model seam: the twin, and the OpenAI adapter against a real server that fails in every known way."""

import asyncio
import importlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, TypeAlias

import httpx2
import pytest

from core.errors import ConfigurationError, TailraceError
from core.settings import Llm as LlmSettings
from serve.llm import Finish, Llm, LlmRefusedError, LlmUnavailableError, ScriptedLlm
from serve.llms import openai as adapter
from serve.llms.openai import ATTEMPTS, OpenAILlm
from serve.prompt import Message

DEADLINE = 0.8
ASKED = [Message("system", "Be short."), Message("user", "Dogs?")]

Handler: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """One HTTP/1.1 server that answers the n-th request by the n-th handler, the last one for ever."""

    handlers: list[Handler]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])
            }
            self.headers.append(headers)
            self.requests.append(json.loads(await reader.readexactly(int(headers["content-length"]))))
            await self.handlers[min(len(self.requests), len(self.handlers)) - 1](writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up, as it should
        finally:
            writer.close()


@asynccontextmanager
async def serving(*handlers: Handler) -> AsyncIterator[Server]:
    made = Server(list(handlers))
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def status(code: int, body: str = "{}", **headers: str) -> Handler:
    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = [
            f"HTTP/1.1 {code} x",
            "content-type: application/json",
            f"content-length: {len(body)}",
            *lines,
        ]
        writer.write(("\r\n".join(head) + "\r\nconnection: close\r\n\r\n" + body).encode())

    return answer


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def delta(text: str | None, reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": reason}
    chunk = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **more,
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
WHOLE = delta("Yes, ") + delta("dogs [1].") + delta(None, "stop")
USAGE = delta(None, choices=[], usage={"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15})


def stream(*parts: bytes, pause: float = 0.0, hang: bool = False) -> Handler:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for part in parts:
            writer.write(part)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if hang:
            await asyncio.sleep(60)

    return answer


def settings(port: int, **more: Any) -> LlmSettings:
    values = {
        "name": "main",
        "base_url": f"http://127.0.0.1:{port}/v1",
        "model": "m",
        "timeout_seconds": DEADLINE,
    }
    return LlmSettings.model_validate({**values, **more})


async def ask(llm: Llm) -> tuple[str, Finish | TailraceError]:
    text = ""
    try:
        async for piece in llm.stream(ASKED, temperature=0.5):
            if isinstance(piece, Finish):
                return text, piece
            text += piece
    except TailraceError as error:
        return text, error
    raise AssertionError("neither a Finish nor an error")


def asked(*handlers: Handler, **more: Any) -> tuple[str, Finish | TailraceError, Server]:
    """Ask a server with these handlers, within the deadline and a second."""

    async def run() -> tuple[str, Finish | TailraceError, Server]:
        async with serving(*handlers) as server:
            llm = OpenAILlm(settings(server.port, **more), first_wait=0.02)
            begun = time.monotonic()
            try:
                text, end = await ask(llm)
            finally:
                await llm.close()
            assert time.monotonic() - begun < DEADLINE + 1.0
            return text, end, server

    return asyncio.run(run())


@pytest.fixture(scope="module", autouse=True)
def _client_imported() -> None:
    """Importing it takes a second, which is no part of a deadline in these tests."""
    importlib.import_module("openai")


@pytest.mark.parametrize("make", ["twin", "openai"])
def test_text_then_one_finish(make: str) -> None:
    end: Finish | TailraceError
    if make == "twin":
        text, end = asyncio.run(ask(ScriptedLlm(["Yes, ", "dogs [1]."])))
    else:
        text, end, server = asked(stream(WHOLE + USAGE + DONE))
        assert server.requests[0]["messages"] == [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Dogs?"},
        ]
        assert server.requests[0]["max_tokens"] == 512
        assert server.requests[0]["temperature"] == 0.5
        assert end == Finish("stop", 11, 4)
    assert text == "Yes, dogs [1]."
    assert isinstance(end, Finish)


@pytest.mark.parametrize("make", ["twin", "openai"])
def test_an_error_after_text_leaves_the_text(make: str) -> None:
    if make == "twin":
        text, end = asyncio.run(ask(ScriptedLlm(["Yes, "], error=LlmUnavailableError("cut"))))
    else:
        text, end, _ = asked(stream(delta("Yes, ")))
    assert text == "Yes, "
    assert isinstance(end, LlmUnavailableError)


def test_the_key_is_sent_and_never_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_LLM_KEY", "canary-9f2")
    _, end, server = asked(status(401, '{"error": {"message": "bad key"}}'), api_key="${env:TEST_LLM_KEY}")
    assert server.headers[0]["authorization"] == "Bearer canary-9f2"
    assert isinstance(end, LlmRefusedError)
    assert "check its api_key" in str(end)
    assert "canary" not in str(end)
    assert len(server.requests) == 1


def test_neither_the_key_nor_the_addresss_password_is_ever_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_LLM_KEY", "canary-9f2")
    echo = '{"error": {"message": "you sent canary-9f2 as user:canary-pw"}}'
    for handler in (
        status(401, echo),
        status(403, echo),
        status(400, echo),
        status(500, echo),
        status(200, echo),
        stream(b"data: " + echo.encode() + b"\n\n"),
    ):

        async def run(handler: Handler = handler) -> TailraceError | Finish:
            async with serving(handler) as server:
                made = settings(server.port, api_key="${env:TEST_LLM_KEY}")
                url = f"http://user:canary-pw@127.0.0.1:{server.port}/v1?key=canary-q"
                llm = OpenAILlm(made.model_copy(update={"base_url": url}), first_wait=0.01)
                try:
                    return (await ask(llm))[1]
                finally:
                    await llm.close()

        end = asyncio.run(run())
        assert isinstance(end, TailraceError)
        assert "llms.main (http://127.0.0.1:" in str(end)
        assert "canary" not in str(end)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("inf", 3600),
        ("1e400", 3600),
        ("nan", None),
        ("-1", 0),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0),
        ("Mon, 99 Jan 2020 00:00:00 GMT", None),
        ("soon", None),
        ("", None),
    ],
)
def test_any_retry_after_is_read_as_seconds_or_as_nothing(header: str, seconds: float | None) -> None:
    assert _retry_after(header) == seconds


@pytest.mark.parametrize("header", ["Mon, 01 Jan 0001 00:00:00 -0000", "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_a_date_at_the_end_of_time_is_no_failure(header: str) -> None:
    found = _retry_after(header)
    assert found is None or 0 <= found <= 3600


def _retry_after(header: str) -> float | None:
    llm = OpenAILlm(settings(1))
    try:
        failure = llm._refused(429, httpx2.Headers({"retry-after": header}), "busy")
    finally:
        asyncio.run(llm.close())
    assert isinstance(failure, LlmUnavailableError)
    return failure.retry_after


RETRIED: dict[str, Handler] = {
    "429 without Retry-After": status(429),
    "429 with seconds": status(429, retry_after="0.01"),
    "500": status(500),
    "503": status(503),
    "error object with 200": status(200, '{"error": {"message": "overloaded"}}'),
    "error object in the stream": stream(b'data: {"error": {"message": "overloaded"}}\n\n'),
    "cut before the first token": stream(),
    "done without an answer": stream(DONE),
    "empty choices": stream(USAGE + DONE),
    "bad JSON": stream(b"data: {nonsense\n\n"),
    "closed at once": lambda writer: asyncio.sleep(0),
}


@pytest.mark.parametrize("mode", RETRIED)
def test_before_the_first_token_it_is_tried_again(mode: str) -> None:
    text, end, server = asked(RETRIED[mode], stream(WHOLE + DONE))
    assert (text, end) == ("Yes, dogs [1].", Finish("stop"))
    assert len(server.requests) == 2


@pytest.mark.parametrize("mode", RETRIED)
def test_but_not_for_ever(mode: str) -> None:
    text, end, server = asked(RETRIED[mode])
    assert text == ""
    assert isinstance(end, LlmUnavailableError)
    assert "llms.main" in str(end)
    assert len(server.requests) == ATTEMPTS


def test_a_wait_past_the_deadline_is_not_begun() -> None:
    for header in ("30", formatdate(time.time() + 30, usegmt=True)):
        begun = time.monotonic()
        _, end, server = asked(status(429, retry_after=header))
        assert isinstance(end, LlmUnavailableError)
        assert end.retry_after is not None
        assert 25 < end.retry_after <= 30
        assert len(server.requests) == 1
        assert time.monotonic() - begun < DEADLINE


def test_a_date_already_past_is_no_wait() -> None:
    _, end, server = asked(status(429, retry_after=formatdate(0, usegmt=True)), stream(WHOLE + DONE))
    assert isinstance(end, Finish)
    assert len(server.requests) == 2


SLOW = {
    "headers then nothing": (stream(hang=True), ""),
    "a byte at a time": (stream(*(bytes([byte]) for byte in WHOLE), pause=0.05), ""),
    "stall after three chunks": (stream(delta("a"), delta("b"), delta("c"), hang=True), "abc"),
    "no headers": (lambda writer: asyncio.sleep(60), ""),
    "comments for ever": (stream(*[b": ping\n\n"] * 200, pause=0.02), ""),
}


@pytest.mark.parametrize("mode", SLOW)
def test_the_deadline_holds_for_all_of_it(mode: str) -> None:
    handler, seen = SLOW[mode]
    text, end, server = asked(handler)
    assert text == seen
    assert isinstance(end, LlmUnavailableError)
    assert "within 0.8 s" in str(end)
    assert len(server.requests) == 1


BROKEN = {
    "cut": stream(delta("Yes, ")),
    "done without a reason": stream(delta("Yes, ") + DONE),
    "bad JSON": stream(delta("Yes, ") + b"data: {\n\n"),
    "error": stream(delta("Yes, ") + b'data: {"error": {"message": "gone"}}\n\n'),
}


@pytest.mark.parametrize("mode", BROKEN)
def test_after_the_first_token_a_failure_is_an_error_and_no_retry(mode: str) -> None:
    text, end, server = asked(BROKEN[mode])
    assert text == "Yes, "
    assert isinstance(end, LlmUnavailableError)
    assert len(server.requests) == 1


def test_length_is_told() -> None:
    assert asked(stream(delta("Yes"), delta(None, "length"), DONE))[:2] == ("Yes", Finish("length"))


def test_a_last_mark_lost_after_the_reason_loses_nothing() -> None:
    assert asked(stream(WHOLE))[:2] == ("Yes, dogs [1].", Finish("stop"))


def test_an_answer_of_ten_megabytes_is_cut() -> None:
    text, end, _ = asked(stream(*[delta("x" * 10_000)] * 1000, DONE), answer_tokens=100)
    assert end == Finish("length")
    assert len(text) == 1600


def test_a_line_of_ten_megabytes_is_not_read() -> None:
    text, end, _ = asked(stream(*[b"data: " + b"x" * 2**20] * 10))
    assert text == ""
    assert isinstance(end, LlmUnavailableError)
    assert str(adapter.MOST_BYTES) in str(end)


@pytest.mark.parametrize(
    ("code", "hint"), [(400, "HTTP 400"), (403, "api_key"), (404, "base_url and model"), (422, "422")]
)
def test_what_will_never_work_is_not_tried_again(code: int, hint: str) -> None:
    _, end, server = asked(status(code, '{"error": {"message": "no"}}'))
    assert isinstance(end, LlmRefusedError)
    assert hint in str(end)
    assert len(server.requests) == 1


def test_an_answer_of_another_kind_is_refused() -> None:
    _, end, _ = asked(status(200, '{"choices": []}'))
    assert isinstance(end, LlmRefusedError)
    assert "no event stream" in str(end)


def test_nobody_there() -> None:
    async def run() -> TailraceError | Finish:
        async with serving(status(200)) as server:
            port = server.port
        llm = OpenAILlm(settings(port), first_wait=0.02)
        try:
            return (await ask(llm))[1]
        finally:
            await llm.close()

    end = asyncio.run(run())
    assert isinstance(end, LlmUnavailableError)
    assert "cannot be reached" in str(end)


def test_a_reader_who_leaves_ends_the_call() -> None:
    async def run() -> None:
        left = asyncio.Event()

        async def handler(writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD)
            try:
                while True:
                    writer.write(delta("x"))
                    await writer.drain()
                    await asyncio.sleep(0.01)
            finally:
                left.set()

        async with serving(handler) as server:
            llm = OpenAILlm(settings(server.port, timeout_seconds=30))
            pieces = llm.stream(ASKED)
            assert await anext(pieces) == "x"
            await pieces.aclose()
            async with asyncio.timeout(5):
                await left.wait()
            await llm.close()

    asyncio.run(run())


def test_settings_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="answer_tokens"):
        OpenAILlm(settings(1, context_tokens=100, answer_tokens=100))
    with pytest.raises(ConfigurationError, match="NO_SUCH_KEY"):
        OpenAILlm(settings(1, api_key="${env:NO_SUCH_KEY}"))
