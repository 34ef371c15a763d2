"""The OpenAI adapter against a server that fails in every known way: what is retried, and for how long."""

import asyncio
import time
from email.utils import formatdate

import httpx2
import pytest

from core.clock import SystemClock
from core.errors import TailraceError
from serve.llm import Finish, LlmRefusedError, LlmUnavailableError
from serve.llms import openai as adapter
from serve.llms.openai import ATTEMPTS, OpenAILlm
from tests.contract.llm_world import (
    DEADLINE,
    DONE,
    USAGE,
    WHOLE,
    Handler,
    ask,
    asked,
    delta,
    serving,
    settings,
    status,
    stream,
)


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


MALFORMED = {
    "choices of null": b'{"choices":[null]}',
    "choices that are text": b'{"choices":"x"}',
    "choices that are an object": b'{"choices":{"0":{"delta":{"content":"no"}}}}',
    "choices of numbers": b'{"choices":[5]}',
    "no choices": b'{"a":1}',
    "a number": b"5",
    "null": b"null",
    "a list": b"[1]",
    "a delta that is text": b'{"choices":[{"delta":"x"}]}',
    "a choice without a delta": b'{"choices":[{"index":0}]}',
    "a reason that is a list": b'{"choices":[{"delta":{},"finish_reason":["a"]}]}',
    "a reason that is an object": b'{"choices":[{"delta":{},"finish_reason":{"a":1}}]}',
    "content that is a list": b'{"choices":[{"delta":{"content":["x"]}}]}',
    "nested deeply": b'{"choices":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "a number of 5000 digits": b'{"choices":[],"n":' + b"9" * 5000 + b"}",
    "an error nested deeply": b'{"error":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
}
"""What is no chunk of a chat answer, in a stream that says nothing else."""


@pytest.mark.parametrize("mode", MALFORMED)
@pytest.mark.parametrize("before", [b"", delta("Yes, ")])
def test_a_malformed_chunk_is_a_failure_of_the_model(mode: str, before: bytes) -> None:
    text, end, _ = asked(stream(before + b"data: " + MALFORMED[mode] + b"\n\n" + DONE))
    assert text == ("Yes, " if before else "")
    assert isinstance(end, LlmUnavailableError | LlmRefusedError)
    assert "llms.main" in str(end)


@pytest.mark.parametrize("body", ['{"error": ' + "[" * 5_000 + "]" * 5_000 + "}", "9" * 5000])
@pytest.mark.parametrize("code", [200, 400, 500])
def test_a_malformed_error_is_one_too(body: str, code: int) -> None:
    _, end, _ = asked(status(code, body))
    assert isinstance(end, LlmUnavailableError | LlmRefusedError)


@pytest.mark.parametrize("count", ["true", "-1", "9" * 4300, "1.5", '"x"', "null"])
def test_a_count_that_is_none_is_not_told(count: str) -> None:
    usage = f'data: {{"choices": [], "usage": {{"prompt_tokens": {count}, "completion_tokens": 4}}}}\n\n'
    text, end, _ = asked(stream(WHOLE + usage.encode() + DONE))
    assert (text, end) == ("Yes, dogs [1].", Finish("stop", None, 4))


def test_the_deadline_begins_when_the_client_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(SystemClock):
        late = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.late

    clock, connect = Late(), OpenAILlm._connect

    def slowly(llm: OpenAILlm) -> object:
        clock.late = 10 * DEADLINE
        return connect(llm)

    monkeypatch.setattr(OpenAILlm, "_connect", slowly)

    async def run() -> tuple[str, TailraceError | Finish]:
        async with serving(stream(WHOLE + DONE)) as server:
            llm = OpenAILlm(settings(server.port), clock=clock)
            try:
                return await ask(llm)
            finally:
                await llm.close()

    assert asyncio.run(run()) == ("Yes, dogs [1].", Finish("stop"))


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
