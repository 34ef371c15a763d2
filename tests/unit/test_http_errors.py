"""What is wrong with a request, or with us: a status, a problem, and what to write instead."""

import json
import tracemalloc
from typing import Any

import pytest

from core.errors import ConfigurationError, ContractError, LimitError, TailraceError, TransientError
from serve.http.body import half_pair
from tests.unit.http_world import ASK, SEARCH, problem, request, twin


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "/nosuch", None, 404, "no such route"),
        ("DELETE", "/v1/search", None, 405, "Method"),
        ("GET", "/v1/documents/nosuch", None, 404, "write one of articles"),
        ("GET", "/v1/documents/articles/999", None, 404, "'999'"),
        ("GET", "/v1/documents/articles?limit=0", None, 422, "limit"),
        ("GET", "/v1/state/nosuch/1", None, 404, "write one of orders"),
        ("GET", "/v1/models/nosuch", None, 404, "write one of support, written"),
        ("POST", "/v1/search", {**SEARCH, "topk": 3}, 422, "topk is unknown"),
        ("POST", "/v1/search", {**SEARCH, "profile": "nosuch"}, 404, "write one of support, written"),
        (
            "POST",
            "/v1/search",
            {**SEARCH, "state": {"stock": "1"}},
            422,
            "no state view 'stock': write one of orders",
        ),
        ("POST", "/v1/search", {**SEARCH, "filters": {"price": 1}}, 422, "write one of category"),
        ("POST", "/v1/search", {**SEARCH, "filters": {"category": {"x": 1}}}, 422, "filters.category"),
        ("POST", "/v1/search", {**SEARCH, "top_k": 1000}, 422, "top_k"),
        ("POST", "/v1/search", {**SEARCH, "min_position": {"crm": "1"}}, 422, "write one of shop"),
        ("POST", "/v1/search", {"profile": "support"}, 422, "query"),
        ("POST", "/v1/chat/completions", {"model": "support", "messages": []}, 422, "messages"),
        ("POST", "/v1/chat/completions", {**ASK, "model": "gpt-5"}, 404, "write one of support, written"),
        ("POST", "/v1/chat/completions", {**ASK, "tailrace": {"topk": 3}}, 422, "tailrace.topk is unknown"),
        (
            "POST",
            "/v1/chat/completions",
            {"model": "support", "messages": [{"role": "system", "content": "x"}]},
            422,
            "none of role user",
        ),
    ],
)
def test_errors_say_what_is_wrong_and_what_to_write(
    method: str, path: str, body: Any, status: int, says: str
) -> None:
    assert says in problem(request(method, path, body), status)["detail"]


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", {"content-type": "application/json"}),
        (b"[]", {"content-type": "application/json"}),
        (b"query=dogs", {"content-type": "application/x-www-form-urlencoded"}),
        (json.dumps(SEARCH).encode(), {"content-type": "text/plain"}),
    ],
)
def test_a_body_that_is_no_object_is_told_what_one_is(content: bytes, headers: dict[str, str]) -> None:
    found = problem(request("POST", "/v1/search", content=content, headers=headers), 422)
    assert found["detail"] == "the body must be a JSON object, sent as content-type: application/json"


HALF = "dogs \ud800"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {**ASK, "messages": [{"role": "user", "content": HALF}]}, "messages.0.content"),
        (
            "chat/completions",
            {**ASK, "messages": [{"role": "user", "content": [{"type": "text", "text": HALF}]}]},
            "messages.0.content.0.text",
        ),
        (
            "chat/completions",
            {**ASK, "messages": [{"role": "assistant", "content": HALF}, {"role": "user", "content": "?"}]},
            "messages.0.content",
        ),
        ("chat/completions", {**ASK, "tailrace": {"state": {"orders": HALF}}}, "tailrace.state.orders"),
        ("search", {**SEARCH, "query": HALF}, "query"),
        ("search", {**SEARCH, "filters": {"category": [HALF]}}, "filters.category.0"),
        ("search", {**SEARCH, "filters": {HALF: 1}}, "filters.(a name)"),
        ("search", {**SEARCH, "min_position": {"shop": HALF}}, "min_position.shop"),
        ("explain", {**SEARCH, "query": HALF}, "query"),
        ("generations/articles/compare", {"questions": [{"query": HALF}]}, "questions.0.query"),
    ],
)
def test_text_that_nothing_can_encode_is_refused_wherever_it_stands(
    path: str, body: dict[str, Any], param: str
) -> None:
    headers = {"content-type": "application/json"}
    found = problem(request("POST", f"/v1/{path}", content=json.dumps(body), headers=headers), 422)
    assert found["error"]["param"] == param
    assert "half of a surrogate pair" in found["detail"]


@pytest.mark.parametrize("text", ["\U0001f415", "a\0b", "\ufffe"])
def test_any_other_text_may_stand_anywhere(text: str) -> None:
    body = {**ASK, "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}
    assert request("POST", "/v1/chat/completions", body).status_code == 200


def test_a_body_nested_deeply_is_answered() -> None:
    deep = '{"model": "support", "messages": [{"role": "user", "content": ' + "[" * 900 + "]" * 900 + "}]}"
    headers = {"content-type": "application/json"}
    problem(request("POST", "/v1/chat/completions", content=deep, headers=headers), 422)
    deep = deep.replace("[" * 900, "[" * 50_000)
    problem(request("POST", "/v1/chat/completions", content=deep, headers=headers), 400)


def test_a_look_at_many_members_below_a_long_name_takes_no_room() -> None:
    body = {"a" * 50_000: [[""] * 200] * 20}
    tracemalloc.start()
    try:
        assert half_pair(body) is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_wrong_method_is_told_the_right_one() -> None:
    assert request("DELETE", "/v1/search").headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ContractError("x"), 422, "invalid-request"),
        (LimitError("x"), 413, "too-large"),
        (TransientError("x", retry_after=2.2), 503, "unavailable"),
        (ConfigurationError("x"), 500, "misconfigured"),
    ],
)
def test_errors_have_their_status(error: TailraceError, status: int, kind: str) -> None:
    response = request("POST", "/v1/search", SEARCH, over=twin(error=error))
    assert problem(response, status)["type"].endswith(f"/{kind}")
    assert response.headers.get("retry-after") == ("3" if status == 503 else None)
    assert response.headers.get("x-should-retry") == ("false" if status == 500 else None)


@pytest.mark.parametrize(
    ("wait", "told"), [(float("inf"), "3600"), (1e300, "3600"), (float("nan"), "1"), (-5.0, "1")]
)
def test_a_wait_of_any_length_is_told_as_one_that_clients_can_keep(wait: float, told: str) -> None:
    response = request("POST", "/v1/search", SEARCH, over=twin(error=TransientError("x", retry_after=wait)))
    assert problem(response, 503)
    assert response.headers["retry-after"] == told


def test_a_bug_of_ours_is_a_problem_that_says_nothing_of_our_inside() -> None:
    over = twin(error=ValueError("secret"))  # no TailraceError
    found = problem(request("POST", "/v1/search", SEARCH, over=over), 500)
    assert "secret" not in json.dumps(found)
    assert found["error"]["code"] == "internal"


def test_a_body_that_is_no_json_or_too_long_is_refused() -> None:
    json_type = {"content-type": "application/json"}
    problem(request("POST", "/v1/search", content=b"{", headers=json_type), 400)
    long = json.dumps({**SEARCH, "query": "x" * 2**20}).encode()
    assert "1048576" in problem(request("POST", "/v1/search", content=long, headers=json_type), 413)["detail"]

    async def parts() -> Any:
        for start in range(0, len(long), 65536):
            yield long[start : start + 65536]

    over = twin()
    problem(request("POST", "/v1/search", content=parts(), headers=json_type, over=over), 413)
    assert over.asked == []
    problem(
        request(
            "POST", "/v1/search", content=b'{"query": "\\ud800", "profile": "support"}', headers=json_type
        ),
        422,
    )
