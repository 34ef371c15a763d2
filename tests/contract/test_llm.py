"""The model seam: the twin and the OpenAI adapter stream text, then one finish; what is never said."""

import asyncio

import pytest

from core.errors import ConfigurationError, TailraceError
from serve.llm import Finish, LlmRefusedError, LlmUnavailableError, ScriptedLlm
from serve.llms.openai import OpenAILlm
from tests.contract.llm_world import (
    ASKED,
    DONE,
    HEAD,
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


def test_the_type_of_a_stream_is_read_in_any_case() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.replace(b"text/event-stream", b"Text/Event-Stream; charset=UTF-8") + WHOLE + DONE)

    assert asked(answer)[:2] == ("Yes, dogs [1].", Finish("stop"))


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


def test_length_is_told() -> None:
    assert asked(stream(delta("Yes"), delta(None, "length"), DONE))[:2] == ("Yes", Finish("length"))


def test_a_last_mark_lost_after_the_reason_loses_nothing() -> None:
    assert asked(stream(WHOLE))[:2] == ("Yes, dogs [1].", Finish("stop"))


def test_an_answer_of_ten_megabytes_is_cut() -> None:
    text, end, _ = asked(stream(*[delta("x" * 10_000)] * 1000, DONE), answer_tokens=100)
    assert end == Finish("length")
    assert len(text) == 1600


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
