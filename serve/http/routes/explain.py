"""`POST /v1/explain`: for operators, on the machine itself."""

from ipaddress import ip_address

from fastapi import APIRouter, HTTPException, Request

from serve.http.depends import FromChat, RequestId
from serve.http.wire import ExplainOut, SearchIn

router = APIRouter()


@router.post("/v1/explain")
async def explain(request: Request, body: SearchIn, chat: FromChat, request_id: RequestId) -> ExplainOut:
    """Channels with scores, fusion, what did not count and why, and the exact prompt."""
    if not _local(request):
        raise HTTPException(403, "scores and prompts are shown to callers on the same machine only")
    evidence, written = await chat.explain(body.ask())
    return ExplainOut.explained(evidence, written.messages, written.tokens, request_id)


def _local(request: Request) -> bool:
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False
