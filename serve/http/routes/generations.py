"""`GET /v1/generations` and `POST /v1/generations/{document}/compare`: for whoever reindexes."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Response
from starlette.responses import StreamingResponse

from core.errors import TailraceError
from core.telemetry import logger
from retrieve.compare import Comparison, Step
from serve.errors import UnknownNameError
from serve.http.compare_wire import CompareIn, CompareLine, GenerationsOut
from serve.http.depends import FromServices, RequestId
from serve.http.problems import dumps, problem_of

log = logger(__name__)

router = APIRouter()


@router.get("/v1/generations")
async def generations(services: FromServices) -> GenerationsOut:
    """Every generation, what it holds, and which one answers."""
    return GenerationsOut.of(await services.indexed.generations())


@router.post(
    "/v1/generations/{document}/compare",
    response_class=Response,
    responses={
        200: {
            "model": CompareLine,
            "description": "JSON lines: steps while it goes on, then one with `result` or `error`",
            "content": {"application/x-ndjson": {}},
        }
    },
)
async def compare(document: str, body: CompareIn, services: FromServices, request_id: RequestId) -> Response:
    """What answers beside another generation: documents, saved questions, times."""
    if document not in services.settings.documents:
        raise UnknownNameError("document", document, services.settings.documents)
    events = services.indexed.compare(
        document,
        body.number,
        body.asked(),
        top_k=body.top_k,
        limit=body.limit,
        scope=services.scope,
    )
    # A comparison that cannot begin is an error with a status: hence the first step before the answer.
    first = await anext(events)
    return StreamingResponse(_lines(first, events, request_id), media_type="application/x-ndjson")


async def _lines(
    first: Step | Comparison, events: AsyncGenerator[Step | Comparison, None], request_id: str
) -> AsyncIterator[bytes]:
    async with aclosing(events):
        try:
            yield _line(first)
            async for event in events:
                yield _line(event)
        except TailraceError as error:
            log.warning("a comparison ended early", why=str(error))
            yield dumps({"error": problem_of(error).body(request_id)}) + b"\n"


def _line(event: Step | Comparison) -> bytes:
    line = CompareLine(step=event) if isinstance(event, Step) else CompareLine(result=event)
    return line.model_dump_json(exclude_unset=True).encode() + b"\n"
