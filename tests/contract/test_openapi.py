"""The service keeps its own OpenAPI contract, whatever is sent: schemathesis asks, for some seconds."""

from typing import Any

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from core.settings import Settings
from serve.http.app import create_app
from serve.llm import ScriptedLlm
from serve.services import Services
from serve.twins import MemoryRetrieval, passage, word_similarity

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def _app() -> FastAPI:
    made = Settings.model_validate(
        {
            "app": "shop",
            "sources": {"shop": {"prefix": "shop", "tables": ["public.articles"]}},
            "documents": {
                "articles": {"table": "shop.public.articles", "text": "{{ body }}", "metadata": ["category"]}
            },
            "llms": [{"name": "main", "base_url": "http://127.0.0.1:1/v1", "model": "m"}],
            "profiles": {
                "support": {"documents": ["articles"]},
                "written": {"documents": ["articles"], "llm": "main"},
            },
        }
    )
    twin = MemoryRetrieval([passage("103", "Dogs are welcome.")])
    return create_app(
        Services(made, twin, word_similarity, twin, twin, twin, {"main": ScriptedLlm(["Yes [1]."])})
    )


schema = schemathesis.openapi.from_asgi("/openapi.json", _app())


few = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)


@schema.parametrize()
@few
def test_every_answer_keeps_the_contract(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS)


@schema.include(path_regex="^/v1/(search|explain|chat)").parametrize()
@few
def test_so_do_answers_about_profiles_that_exist(case: schemathesis.Case[Any]) -> None:
    if isinstance(case.body, dict):
        case.body["profile" if "query" in case.body else "model"] = "written"
        case.body.pop("state", None)
        case.body.pop("filters", None)
        case.body.pop("min_position", None)
    case.call_and_validate(checks=CHECKS)
