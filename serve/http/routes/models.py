"""`GET /v1/models`: each profile is a model."""

from fastapi import APIRouter

from serve.errors import UnknownNameError
from serve.http.depends import FromServices
from serve.http.wire import ModelOut, ModelsOut

router = APIRouter()


@router.get("/v1/models")
async def models(services: FromServices) -> ModelsOut:
    """The profiles. Asks nobody: clients verify their connection with it."""
    return ModelsOut(data=[ModelOut(id=name) for name in services.settings.profiles])


@router.get("/v1/models/{model}")
async def model(model: str, services: FromServices) -> ModelOut:
    """One profile."""
    if model not in services.settings.profiles:
        raise UnknownNameError("model", model, services.settings.profiles)
    return ModelOut(id=model)
