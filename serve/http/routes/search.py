"""`POST /v1/search`."""

from fastapi import APIRouter

from serve.http.depends import FromChat, RequestId
from serve.http.wire import SearchIn, SearchOut

router = APIRouter()


@router.post("/v1/search")
async def search(body: SearchIn, chat: FromChat, request_id: RequestId) -> SearchOut:
    """Passages, joined rows and their freshness, without an answer."""
    return SearchOut.of(await chat.retrieve(body.ask()), request_id)
