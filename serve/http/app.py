"""The application: routes, errors, and what surrounds them."""

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from core.errors import TailraceError
from serve.chat import Chat
from serve.http import problems
from serve.http.middleware import Edge
from serve.http.routes import (
    chat,
    documents,
    explain,
    freshness,
    generations,
    health,
    metrics,
    models,
    search,
    state,
)
from serve.http.wire import ProblemOut
from serve.services import Services

_PROBLEM: dict[str, Any] = {
    "model": ProblemOut,
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
}


def create_app(services: Services) -> FastAPI:
    """The HTTP service. It has no life of its own: whoever made `services` starts and stops them."""
    app = FastAPI(
        title="Tailrace",
        version="1",
        redirect_slashes=False,
        docs_url=None,  # their pages load scripts from a CDN
        redoc_url=None,
        openapi_url="/openapi.json",
        responses={code: {**_PROBLEM, "description": text} for code, text in _DESCRIPTIONS.items()},
    )
    app.state.services = services
    app.state.chat = Chat(services)
    for module in (
        search,
        explain,
        chat,
        models,
        documents,
        state,
        freshness,
        generations,
        health,
        metrics,
    ):
        app.include_router(module.router)
    for kind in (TailraceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, problems.handle)
    app.add_middleware(Edge)
    return app


_DESCRIPTIONS: dict[int | str, str] = {
    400: "The body is no JSON",
    403: "Not for this caller",
    404: "Nothing of this name, for this caller",
    413: "Past a limit",
    422: "The request breaks a rule",
    500: "The service is set up wrongly, or failed",
    502: "The model gave no answer",
    503: "Not available now; Retry-After says when",
}
