"""Around every request: its id, its size, its time, and a last answer for what nobody caught."""

import re
import time
import uuid
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.metrics import HTTP
from core.telemetry import logger
from serve.http.problems import problem_of

log = logger(__name__)

MOST_BYTES: Final = 2**20
"""Of one request's body: a question of a megabyte is none."""

_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


class Edge:
    """The outermost layer. An `x-request-id` of the caller is kept, if it is a plain word."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        _without_slash(scope)
        begun = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._guarded(scope, receive, answer, headers)
            finally:
                HTTP.labels(_template(scope), str(status)).observe(time.perf_counter() - begun)

    async def _guarded(
        self, scope: Scope, receive: Receive, answer: Send, headers: dict[bytes, bytes]
    ) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await answer(message)

        length = headers.get(b"content-length", b"0")
        try:
            if not length.isdigit() or int(length) > MOST_BYTES:
                raise _too_large()  # noqa: TRY301 - answered like one that grew too large
            await self._app(scope, _bounded(receive), noted)
        except Exception as error:
            if started:  # the answer is under way: only the end of the connection can say so
                raise
            if not isinstance(error, HTTPException):
                log.exception("a request failed", path=scope["path"])
            response = problem_of(error).response(scope["state"]["request_id"])
            await response(scope, receive, answer)


def _bounded(receive: Receive) -> Receive:
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MOST_BYTES:
            raise _too_large()
        return message

    return bounded


def _too_large() -> HTTPException:
    return HTTPException(413, f"the body is longer than {MOST_BYTES} bytes: ask for less at once")


def _without_slash(scope: Scope) -> None:
    """Clients that add a slash to every address are not redirected: some lose the body on the way.

    An escaped one is the end of a key. Which it was only the undecoded path tells.
    """
    written = (scope.get("raw_path") or b"").partition(b"?")[0]
    added = "/" * (len(written) - len(written.rstrip(b"/")))
    if added and scope["path"].endswith(added):
        scope["path"] = scope["path"].removesuffix(added) or "/"


def _template(scope: Scope) -> str:
    """The route as it was declared, never the caller's path: labels must stay few."""
    return str(getattr(scope.get("route"), "path", "(none)"))
