"""`GET /v1/state/{view}/{key}`."""

from fastapi import APIRouter

from serve.errors import UnknownNameError
from serve.http import wire
from serve.http.depends import FromServices

router = APIRouter()


@router.get("/v1/state/{view}/{key:path}")
async def state(view: str, key: str, services: FromServices) -> wire.StateOut:
    """The rows of one entry as they are now; none for an absent entry."""
    if view not in services.settings.state:
        raise UnknownNameError("state view", view, services.settings.state)
    entry = await services.retrieval.state_entry(view, key, services.scope)
    return wire.StateOut(
        view=view,
        key=key,
        rows=wire.rows({view: entry.rows})[view],
        freshness=wire.FreshnessOut.of(entry.freshness),
    )
