"""The service keeps its own OpenAPI contract, whatever is sent: schemathesis asks, for some seconds."""

import re
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
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


OPERATIONS = {one.ok().label: one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)}


def asked(label: str) -> st.SearchStrategy[schemathesis.Case[Any]]:
    """Requests as the contract wants them, and others."""
    return st.one_of([OPERATIONS[label].as_strategy(generation_mode=mode) for mode in GenerationMode])


def test_every_operation_is_asked() -> None:
    assert len(OPERATIONS) == sum(len(methods) for methods in schema.raw_schema["paths"].values())


@pytest.mark.parametrize("label", OPERATIONS)
@few
@given(data=st.data())
def test_every_answer_keeps_the_contract(label: str, data: st.DataObject) -> None:
    assert broken(data.draw(asked(label))) == []


@pytest.mark.parametrize(
    "label", [one for one in OPERATIONS if re.search(r" /v1/(search|explain|chat)", one)]
)
@few
@given(data=st.data())
def test_so_do_answers_about_profiles_that_exist(label: str, data: st.DataObject) -> None:
    case = data.draw(asked(label))
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
