"""Generations over HTTP: the list, and a comparison that comes in lines."""

import json
from typing import Any

import pytest

from core.errors import TransientError
from tests.unit.http_world import problem, request, twin


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
