"""The HTTP API over evidence from memory: routes, shapes, errors."""

import asyncio
import json
import uuid
from typing import Any

import httpx2
import pytest

from core.errors import ConfigurationError, ContractError, LimitError, TailraceError, TransientError
from core.settings import Settings
from core.state import Json
from embed.model import Manifest
from retrieve.model import DocumentView, Passage, Rows
from serve.http.app import create_app
from serve.llm import Llm, LlmRefusedError, LlmUnavailableError, ScriptedLlm
from serve.ports import Readiness
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


def test_search_gives_hits_state_and_freshness_and_no_scores() -> None:
    response = request(
        "POST", "/v1/search", {**SEARCH, "state": {"orders": 42}, "filters": {"category": "shops"}}
    )
    found = response.json()
    assert response.status_code == 200
    assert found["hits"][0]["text"] == DOGS.text
    assert found["state"] == {"orders": list(ORDERS)}
    assert found["freshness"]["as_of"] == {
        "shop": {"position": "0/16B3748", "committed_at": 1_700_000_000_000}
    }
    assert found["request_id"] == response.headers["x-request-id"]
    assert not {"score", "relevance", "vector", "row"} & set(found["hits"][0])


def test_explain_shows_scores_and_the_prompt_on_this_machine_only() -> None:
    found = request("POST", "/v1/explain", SEARCH).json()
    assert found["explanation"]["channels"][0]["score"] == 0.8
    assert found["explanation"]["timings_ms"] == {"total": 1.0}
    assert [m["role"] for m in found["prompt"]] == ["system", "user"]
    assert found["prompt_tokens"] > 100
    problem(request("POST", "/v1/explain", SEARCH, client=("192.0.2.1", 5)), 403)


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


def test_documents_come_in_pages_and_whole() -> None:
    page = request("GET", "/v1/documents/articles?limit=2").json()
    assert [line["key"] for line in page["data"]] == ["101", "102"]
    rest = request("GET", f"/v1/documents/articles?limit=2&after={page['after']}").json()
    assert ([line["key"] for line in rest["data"]], rest["after"]) == (["103"], None)
    found = request("GET", "/v1/documents/articles/103").json()
    assert found["manifest"] | {"key": "103", "version": 7, "position": "0/1"} == found["manifest"]
    assert [(c["ordinal"], c["text"]) for c in found["chunks"]] == [(0, "Dogs")]
    assert found["row"] == {"id": 103, "body": "Dogs"}
    assert "tenant" not in found["manifest"]


def test_keys_may_hold_slashes() -> None:
    over = twin()
    over.entries["orders", '"a/b"'] = ORDERS
    assert request("GET", "/v1/state/orders/%22a%2Fb%22", over=over).json()["rows"] == list(ORDERS)


def test_state_and_freshness() -> None:
    found = request("GET", "/v1/state/orders/42").json()
    assert (found["rows"], found["key"]) == (list(ORDERS), "42")
    assert found["freshness"] == request("GET", "/v1/freshness").json()
    assert request("GET", "/v1/state/orders/43").json()["rows"] == []


def test_health() -> None:
    assert request("GET", "/health/live").status_code == 200
    assert request("GET", "/health/ready").json() == {"status": "ready", "progress": {}}
    loading = Readiness(False, "loading", {"read": 3, "total": 9}, "3 of 9 records can be found")
    response = request("GET", "/health/ready", over=twin(readiness=loading))
    found = problem(response, 503)
    assert (found["state"], found["progress"]) == ("loading", {"read": 3, "total": 9})
    assert response.headers["retry-after"] == "1"


def test_metrics_label_requests_by_route() -> None:
    request("GET", "/v1/documents/articles/never-a-label")
    request("GET", "/never/a/label")
    text = request("GET", "/metrics").text
    assert (
        'tailrace_http_request_seconds_count{route="/v1/documents/{document}/{key:path}",status="404"}'
        in text
    )
    assert 'route="(none)",status="404"' in text
    assert "never" not in text


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
        ("POST", "/v1/search", {**SEARCH, "state": {"stock": "1"}}, 422, "write one of orders"),
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


def test_a_callers_request_id_is_kept_if_it_is_a_plain_word() -> None:
    assert request("GET", "/v1/models", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = request("GET", "/v1/models", headers={"x-request-id": "a b"})
    assert len(made.headers["x-request-id"]) == 32


def test_generations_are_listed_with_what_answers_and_what_is_astray() -> None:
    made = request("GET", "/v1/generations").json()
    assert [(one["number"], one["role"], one["answers"], one["documents"]) for one in made["data"]] == [
        (1, "live", True, 3),
        (2, "candidate", False, None),
    ]
    assert made["strays"] == ["shop-articles-g9"]


def test_a_comparison_comes_as_lines_of_steps_and_a_result() -> None:
    body = {"questions": [{"query": "dogs", "expected": [103, "7"]}], "top_k": 5, "limit": 1}
    answer = request("POST", "/v1/generations/articles/compare", body)
    assert answer.headers["content-type"] == "application/x-ndjson"
    step, result = (json.loads(line) for line in answer.text.splitlines())
    assert step == {"step": {"what": "documents", "done": 0, "total": 3}}
    found = result["result"]
    assert (found["missing"], found["overlap"]) == ({"count": 1, "keys": ["101"]}, 1.0)
    assert found["candidate"]["recall"] == 0.5
    assert found["questions"][0]["candidate"] == ["103"]
    bare = request("POST", "/v1/generations/articles/compare", {})
    assert json.loads(bare.text.splitlines()[-1])["result"]["live"]["recall"] is None


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("nothing", {}, 404, "write one of articles"),
        ("articles", {"number": 9}, 404, "write one of 2"),
        ("articles", {"number": 0}, 422, "number"),
        ("articles", {"questions": [{"query": " "}]}, 422, "query"),
        ("articles", {"questions": [{"query": "x"}] * 501}, 422, "questions"),
        ("articles", {"k": 5}, 422, "k is unknown"),
    ],
)
def test_a_comparison_that_cannot_begin_is_a_problem(
    path: str, body: dict[str, Any], status: int, said: str
) -> None:
    found = problem(request("POST", f"/v1/generations/{path}/compare", body), status)
    assert said in found["detail"]


def test_a_comparison_while_the_index_is_away_is_unavailable() -> None:
    away = twin(error=TransientError("the index is away"))
    problem(request("POST", "/v1/generations/articles/compare", {}, over=away), 503)
