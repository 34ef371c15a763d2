"""Errors as `application/problem+json`, which OpenAI's clients read too.

The types are stable: programs may compare them, and the handbook explains each. `request_id` is in
every problem and in the header of every answer.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core.errors import ConfigurationError, LimitError, PermanentError, TailraceError, TransientError
from core.telemetry import logger
from serve.errors import UnknownNameError
from serve.llm import LlmRefusedError, LlmUnavailableError

log = logger(__name__)

TYPE: Final = "https://tailrace.invalid/problems/"
"""Names, not addresses: `.invalid` resolves nowhere by definition (RFC 6761)."""

RETRY_SECONDS: Final = 1.0
MOST_RETRY_SECONDS: Final = 3600.0

_OPENAI_TYPES: Final = {400: "invalid_request_error", 403: "permission_error", 404: "not_found_error"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One answer that is an error. `kind` ends its type and is OpenAI's `code`, unless `code` says more."""

    status: int
    kind: str
    title: str
    detail: str
    param: str | None = None
    code: str | None = None
    retry_after: float | None = None
    allow: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def error(self) -> dict[str, Any]:
        server = self.status >= 500  # noqa: PLR2004 - HTTP's own
        kind = "server_error" if server else _OPENAI_TYPES.get(self.status, "invalid_request_error")
        return {"message": self.detail, "type": kind, "param": self.param, "code": self.code or self.kind}

    def body(self, request_id: str) -> dict[str, Any]:
        return {
            "type": TYPE + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
            "request_id": request_id,
            "error": self.error(),
        }

    def headers(self) -> dict[str, str]:
        made = {} if self.allow is None else {"allow": self.allow}
        if self.retry_after is not None:
            made["retry-after"] = str(math.ceil(min(max(1.0, self.retry_after), MOST_RETRY_SECONDS)))
        elif self.status >= 500:  # noqa: PLR2004 - HTTP's own
            made["x-should-retry"] = "false"  # OpenAI's clients would try twice more
        return made

    def response(self, request_id: str) -> Response:
        return Response(
            dumps(self.body(request_id)), self.status, self.headers(), media_type="application/problem+json"
        )


def dumps(data: Any) -> bytes:
    """JSON in UTF-8, whatever callers and rows put into it."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")


_KINDS: Final[tuple[tuple[type[TailraceError], int, str, str], ...]] = (
    (UnknownNameError, 404, "not-found", "Not found"),
    (LlmUnavailableError, 503, "llm-unavailable", "The model is unavailable"),
    (LlmRefusedError, 502, "llm-failed", "The model gave no answer"),
    (LimitError, 413, "too-large", "The request is past a limit"),
    (PermanentError, 422, "invalid-request", "The request breaks a rule"),
    (TransientError, 503, "unavailable", "Not available now"),
    (ConfigurationError, 500, "misconfigured", "The service is set up wrongly"),
    (TailraceError, 500, "failed", "The service failed"),
)
"""The first that fits counts."""


_NO_OBJECT: Final = frozenset({"missing", "model_attributes_type", "model_type", "dict_type"})
"""How pydantic calls a body that is absent, or no object."""


def problem_of(error: Exception) -> Problem:
    """The problem of an exception."""
    if isinstance(error, RequestValidationError):
        return _validation(error.errors())
    if isinstance(error, HTTPException):
        return _http(error)
    for kind, status, name, title in _KINDS:
        if isinstance(error, kind):
            wait = (error.retry_after or RETRY_SECONDS) if isinstance(error, TransientError) else None
            param, code = getattr(error, "param", None), getattr(error, "code", None)
            return Problem(status, name, title, str(error), param, code, wait)
    return Problem(500, "internal", "Internal error", "an error of ours: the log has it by request id")


async def handle(request: Request, error: Exception) -> Response:
    """Installed for every exception class that a route may raise."""
    made = problem_of(error)
    if made.kind in {"internal", "failed", "misconfigured"}:
        log.error("a request failed", path=request.url.path, error=str(error), exc_info=error)
    return made.response(request_id_of(request))


def request_id_of(request: Request) -> str:
    """As the middleware gave it."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def _validation(errors: Sequence[Any]) -> Problem:
    first = errors[0]
    if first["type"] == "json_invalid":
        why = first.get("ctx", {}).get("error", "")
        return Problem(400, "invalid-json", "No JSON", f"the body is no JSON: {why}")
    if tuple(first["loc"]) == ("body",) and first["type"] in _NO_OBJECT:
        what = "the body must be a JSON object, sent as content-type: application/json"
        return Problem(422, "invalid-request", "The request breaks a rule", what)
    said = []
    for item in errors[:5]:
        name = _path(item["loc"])
        if item["type"] == "extra_forbidden":
            said.append(f"{name} is unknown: remove it")
        else:
            said.append(f"{name}: {item['msg']}" if name else item["msg"])
    return Problem(
        422, "invalid-request", "The request breaks a rule", "; ".join(said), _path(first["loc"]) or None
    )


def _path(loc: Sequence[Any]) -> str:
    """`filters.category`, without where the request carried it and which alternative was tried."""
    parts = [
        str(part) for part in loc[1:] if not str(part).startswith(("function-", "constrained-", "dict["))
    ]
    return ".".join(parts)


def _http(error: HTTPException) -> Problem:
    known = {
        403: ("forbidden", "Not for this caller"),
        404: ("not-found", "Not found"),
        405: ("method-not-allowed", "Method not allowed"),
        413: ("too-large", "The request is past a limit"),
        421: ("misdirected", "Not a name of this service"),
    }
    kind, title = known.get(error.status_code, ("http", "Request refused"))
    detail = "there is no such route" if error.detail == "Not Found" else str(error.detail)
    return Problem(error.status_code, kind, title, detail, allow=(error.headers or {}).get("Allow"))
