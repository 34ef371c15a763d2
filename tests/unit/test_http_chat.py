"""Chat completions: OpenAI's shape and ours, streams, and a model that fails."""

import json
from typing import Any

import httpx2
import pytest

from core.errors import TailraceError
from serve.llm import LlmRefusedError, LlmUnavailableError, ScriptedLlm
from tests.unit.http_world import ASK, ORDERS, problem, request, twin


def test_a_chat_answer_has_openais_shape_and_ours() -> None:
    found = request("POST", "/v1/chat/completions", {**ASK, "tailrace": {"state": {"orders": "42"}}}).json()
    message = found["choices"][0]["message"]
    assert message["content"] == "Dogs are welcome in our shops. [1]"
    [note] = message["annotations"]
    span = note["url_citation"]
    assert message["content"][span["start_index"] : span["end_index"]] == "[1]"
    assert span["url"] == "https://shop.example/articles/103"
    extra = found["tailrace"]
    assert extra["citations"][0] | {"n": 1, "document": "articles", "key": "103"} == extra["citations"][0]
    assert extra["freshness"]["index_lag_ms"] == 12
    assert extra["state"] == {"orders": list(ORDERS)}
    assert extra["trace_id"]
    assert found["usage"]["completion_tokens"] > 0


def events(response: httpx2.Response) -> list[Any]:
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_streamed_answer_ends_with_freshness_and_usage() -> None:
    body = {**ASK, "model": "written", "stream": True, "stream_options": {"include_usage": True}}
    first, *pieces, last, usage = events(request("POST", "/v1/chat/completions", body))
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(p["choices"][0]["delta"]["content"] for p in pieces) == "Yes [1]."
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["tailrace"]["freshness"]["as_of"]["shop"]["position"] == "0/16B3748"
    assert last["tailrace"]["citations"][0]["key"] == "103"
    assert not last["tailrace"]["partial"]
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens"] > 0


def test_a_stream_that_breaks_off_says_so() -> None:
    llm = ScriptedLlm(["Yes, dogs "], error=LlmUnavailableError("the model went away"))
    body = {**ASK, "model": "written", "stream": True}
    *_, last, error = events(request("POST", "/v1/chat/completions", body, llm=llm))
    assert last["tailrace"]["partial"]
    assert last["choices"][0]["finish_reason"] is None
    assert error["error"]["code"] == "llm-unavailable"
    assert "went away" in error["error"]["message"]


def test_a_stream_that_fails_by_an_error_of_ours_says_so_too() -> None:
    llm = ScriptedLlm(["Yes, dogs "], error=ZeroDivisionError("canary"))
    body = {**ASK, "model": "written", "stream": True}
    *_, error = events(request("POST", "/v1/chat/completions", body, llm=llm))
    assert error["error"]["code"] == "internal"
    assert "canary" not in error["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(LlmUnavailableError("down"), 503, "llm-unavailable"), (LlmRefusedError("no key"), 502, "llm-failed")],
)
def test_a_model_that_is_down_is_an_error_with_a_status(
    error: TailraceError, status: int, code: str, stream: Any
) -> None:
    llm = ScriptedLlm([], error=error)
    body = {**ASK, "model": "written", "stream": stream}
    response = request("POST", "/v1/chat/completions", body, llm=llm)
    assert problem(response, status)["error"]["code"] == code
    assert ("retry-after" in response.headers) == (status == 503)
    assert response.headers.get("x-should-retry") == (None if status == 503 else "false")


def test_half_an_answer_is_no_answer_where_nothing_was_shown() -> None:
    llm = ScriptedLlm(["Yes, dogs "], error=LlmUnavailableError("cut"))
    problem(request("POST", "/v1/chat/completions", {**ASK, "model": "written"}, llm=llm), 503)


def test_an_answer_cut_by_its_length_says_length() -> None:
    llm = ScriptedLlm(["Yes [1]"], reason="length")
    found = request("POST", "/v1/chat/completions", {**ASK, "model": "written"}, llm=llm).json()
    assert found["choices"][0]["finish_reason"] == "length"


def test_unknown_and_odd_parameters_of_openai_are_ignored() -> None:
    odd = {
        "logit_bias": {"1": 2},
        "temperature": "hot",
        "max_tokens": -5,
        "stream_options": "x",
        "n": "many",
        "tools": 7,
        "user": None,
        "stream": None,
    }
    assert request("POST", "/v1/chat/completions", {**ASK, **odd}).status_code == 200


def test_contents_may_be_parts_and_the_last_user_message_is_the_question() -> None:
    over = twin()
    parts = [
        {"type": "text", "text": "Are dogs"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "ok?"},
    ]
    messages = [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "x"},
    ]
    request("POST", "/v1/chat/completions", {"model": "support", "messages": messages}, over=over)
    assert over.asked[0].query == "Are dogs\nok?"


@pytest.mark.parametrize("how", ["header", "member"])
def test_utility_calls_are_not_grounded(how: str) -> None:
    over, llm = twin(), ScriptedLlm(["A title"])
    headers = {"X-OpenWebUI-Task": "title_generation"} if how == "header" else {}
    body = {**ASK, "model": "written"} | ({"tailrace": {"retrieve": False}} if how == "member" else {})
    found = request("POST", "/v1/chat/completions", body, over=over, llm=llm, headers=headers).json()
    assert found["choices"][0]["message"]["content"] == "A title"
    assert over.asked == []
    assert [m.role for m in llm.asked[0]] == ["user"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/"])
def test_models_are_profiles_with_and_without_a_slash(path: str) -> None:
    response = request("GET", path)
    assert response.status_code == 200
    assert [m["id"] for m in response.json()["data"]] == ["support", "written"]
