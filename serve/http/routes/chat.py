"""`POST /v1/chat/completions`: OpenAI's, streamed or whole."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Response
from starlette.responses import StreamingResponse

from core.telemetry import logger
from serve.chat import Answer, Prepared
from serve.http.chat_wire import ChatIn, ChatOut, annotations, chunk, completion, extension, usage_chunk
from serve.http.depends import FromChat, FromServices, RequestId
from serve.http.problems import dumps, problem_of

log = logger(__name__)

router = APIRouter()


@router.post(
    "/v1/chat/completions",
    response_class=Response,
    responses={
        200: {
            "model": ChatOut,
            "description": "The answer; with `stream` as server-sent events",
            "content": {"text/event-stream": {}},
        }
    },
)
async def completions(
    body: ChatIn,
    chat: FromChat,
    services: FromServices,
    request_id: RequestId,
    x_openwebui_task: Annotated[str | None, Header()] = None,
) -> Response:
    """An answer from the evidence of now. A profile is a model."""
    prepared = await chat.prepare(body.ask(task=x_openwebui_task is not None))
    created = services.clock.now_ms() // 1000
    events = chat.answer(prepared)
    # A model that is down is an error with a status: hence the first piece before the answer begins.
    first = await anext(events)
    if isinstance(first, Answer) and first.error is not None:
        raise first.error
    if body.stream:
        sent = _sent(prepared, first, events, request_id, created, include_usage=body.include_usage)
        return StreamingResponse(
            sent,
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )
    answer = await _whole(first, events)
    made = completion(prepared, answer, request_id=request_id, created=created)
    return Response(dumps(made), media_type="application/json")


async def _whole(first: str | Answer, events: AsyncGenerator[str | Answer, None]) -> Answer:
    last = first
    async with aclosing(events):
        async for event in events:
            last = event
    if not isinstance(last, Answer):
        raise TypeError(last)
    if last.error is not None:  # nobody has seen the beginning: better no answer than a part of one
        raise last.error
    return last


async def _sent(
    prepared: Prepared,
    first: str | Answer,
    events: AsyncGenerator[str | Answer, None],
    request_id: str,
    created: int,
    *,
    include_usage: bool,
) -> AsyncIterator[bytes]:
    def event(delta: dict[str, object], reason: str | None = None) -> dict[str, object]:
        return chunk(prepared, delta, request_id=request_id, created=created, reason=reason)

    yield _line(event({"role": "assistant", "content": ""}))
    try:
        async with aclosing(events):
            piece = first
            while isinstance(piece, str):
                yield _line(event({"content": piece}))
                piece = await anext(events)
        told = {"tailrace": extension(prepared, piece, request_id)}
        if piece.error is not None:
            yield _line({**event({}), **told})
            yield _failure(piece.error)
        else:
            notes = annotations(piece.citations)
            yield _line({**event({"annotations": notes} if notes else {}, piece.reason), **told})
            if include_usage:
                yield _line(usage_chunk(prepared, piece, request_id=request_id, created=created))
    except Exception as error:
        log.exception("an answer broke off by an error of ours")
        yield _failure(error)
    yield b"data: [DONE]\n\n"


def _failure(error: Exception) -> bytes:
    """Clients raise on an `error`: half an answer never passes for a whole one."""
    return _line({"error": problem_of(error).error()})


def _line(data: object) -> bytes:
    return b"data: " + dumps(data) + b"\n\n"
