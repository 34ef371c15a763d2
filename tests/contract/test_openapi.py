"""The service keeps its own OpenAPI contract, whatever is sent: schemathesis asks, for some seconds."""

from typing import Any

import schemathesis
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from core.settings import Settings
from serve.http.app import create_app
from serve.http.wire import ModelsOut
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


def broken(case: schemathesis.Case[Any]) -> list[str]:
    """What of the contract the answer to this request does not keep."""
    response = case.call()
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as found:
        return [str(one) for one in found.exceptions]
    return []


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
    assert broken(case) == []


@schema.include(path_regex="^/v1/(search|explain|chat)").parametrize()
@few
def test_so_do_answers_about_profiles_that_exist(case: schemathesis.Case[Any]) -> None:
    if isinstance(case.body, dict):
        case.body["profile" if "query" in case.body else "model"] = "written"
        case.body.pop("state", None)
        case.body.pop("filters", None)
        case.body.pop("min_position", None)
    assert broken(case) == []


def test_an_answer_that_breaks_the_contract_is_found_out() -> None:
    app = FastAPI()

    @app.get("/v1/models", response_model=ModelsOut)
    async def models() -> JSONResponse:
        return JSONResponse({"object": "something else"})

    promised = schemathesis.openapi.from_asgi("/openapi.json", app)
    (operation,) = promised.get_all_operations()
    assert isinstance(operation, Ok)
    (said,) = broken(operation.ok().Case())
    assert "schema" in said
