"""A model's server that answers as each test says, and the OpenAI adapter that asks it."""

import asyncio
import importlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from core.errors import TailraceError
from core.settings import Llm as LlmSettings
from serve.llm import Finish, Llm
from serve.llms.openai import OpenAILlm
from serve.prompt import Message

importlib.import_module("openai")  # it takes a second, which is no part of a deadline in these tests

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
