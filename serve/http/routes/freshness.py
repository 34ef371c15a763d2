"""`GET /v1/freshness`."""

from fastapi import APIRouter

from serve.http.depends import FromServices
from serve.http.wire import FreshnessOut

router = APIRouter()


@router.get("/v1/freshness")
async def freshness(services: FromServices) -> FreshnessOut:
    """As of which position answers are true now, and how far the index and the state lag."""
    return FreshnessOut.of(await services.freshness.now())
