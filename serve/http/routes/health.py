"""`/health/live` and `/health/ready`, by GET; by HEAD too, as some load balancers ask."""

from fastapi import APIRouter, Response

from serve.http.depends import FromServices, RequestId
from serve.http.problems import Problem
from serve.http.wire import ReadinessOut

router = APIRouter()


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live")
async def live() -> ReadinessOut:
    """The process answers."""
    return ReadinessOut(status="live")


@router.head("/health/ready", response_model=None, include_in_schema=False)
@router.get("/health/ready", response_model=ReadinessOut)
async def ready(services: FromServices, request_id: RequestId) -> Response | ReadinessOut:
    """Questions can be answered; 503 with the progress of a first load."""
    found = await services.readiness.ready()
    if found.ready:
        return ReadinessOut(status=found.status, progress=dict(found.progress))
    loading = found.status == "loading"
    return Problem(
        503,
        "not-ready",
        "Not ready",
        found.message or f"the service is {found.status}",
        retry_after=1.0 if loading else None,
        extra={"state": found.status, "progress": dict(found.progress)},
    ).response(request_id)
