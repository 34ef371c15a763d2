"""Search, explain, documents, state, health and metrics over HTTP: routes and shapes."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from serve.http.middleware import Edge
from serve.ports import Readiness
from tests.unit.http_world import DOGS, ORDERS, SEARCH, problem, request, twin, view


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


@pytest.mark.parametrize(
    ("asked", "rows", "document"),
    [
        ("foo", 1, "101"),
        ("foo/", 1, "101"),
        ("foo//", 1, "101"),
        ("foo%2F", 2, "102"),
        ("foo%2f/", 2, "102"),
        ("foo%2F%2F", 0, None),
    ],
)
def test_a_slash_at_the_end_is_the_keys_where_it_is_escaped(
    asked: str, rows: int, document: str | None
) -> None:
    """Clients that add one to every address add a plain one."""
    over = twin()
    over.entries |= {("orders", "foo"): ORDERS[:1], ("orders", "foo/"): ORDERS[:1] * 2}
    over.documents |= {("articles", "foo"): view("101"), ("articles", "foo/"): view("102")}
    assert len(request("GET", f"/v1/state/orders/{asked}", over=over).json()["rows"]) == rows
    found = request("GET", f"/v1/documents/articles/{asked}?x=/", over=over)
    assert found.status_code == (404 if document is None else 200)
    assert document is None or found.json()["manifest"]["key"] == document


@pytest.mark.parametrize(
    ("path", "raw_path", "routed"),
    [
        ("/a/", b"/a/", "/a"),
        ("/a/", b"/a/?x=1", "/a"),
        ("/a/", b"/a%2F?x=/", "/a/"),
        ("/", b"/", "/"),
        ("//", b"//", "/"),
        ("/a/", None, "/a/"),
        ("/rewritten", b"/a/", "/rewritten"),
    ],
)
def test_a_slash_goes_only_where_the_server_says_that_it_was_a_plain_one(
    path: str, raw_path: bytes | None, routed: str
) -> None:
    """Some servers leave the query there, and none has to say anything."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])

    scope: Scope = {"type": "http", "headers": [], "path": path, "raw_path": raw_path}
    asyncio.run(Edge(app)(scope, None, None))  # type: ignore[arg-type]  # nothing is read or sent
    assert seen == [routed]


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
    assert request("HEAD", "/health/live").status_code == 200
    assert request("HEAD", "/health/ready").status_code == 200
    assert request("HEAD", "/health/ready", over=twin(readiness=loading)).status_code == 503


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


def test_a_callers_request_id_is_kept_if_it_is_a_plain_word() -> None:
    assert request("GET", "/v1/models", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = request("GET", "/v1/models", headers={"x-request-id": "a b"})
    assert len(made.headers["x-request-id"]) == 32
