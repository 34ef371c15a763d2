"""`GET /v1/documents/{document}` and `/v1/documents/{document}/{key}`."""

from typing import Annotated

from fastapi import APIRouter, Query

from serve.errors import UnknownNameError
from serve.http.depends import FromServices
from serve.http.wire import DocumentLine, DocumentOut, DocumentsOut
from serve.services import Services

router = APIRouter()


@router.get("/v1/documents/{document}")
async def documents(
    document: str,
    services: FromServices,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: str | None = None,
) -> DocumentsOut:
    """What is indexed under this name, a page at a time: `after` of one page asks for the next."""
    _known(services, document)
    page = await services.retrieval.document_page(document, after, limit, services.scope)
    return DocumentsOut(data=[DocumentLine.of(manifest) for manifest in page.manifests], after=page.after)


@router.get("/v1/documents/{document}/{key:path}")
async def document(document: str, key: str, services: FromServices) -> DocumentOut:
    """One document: its manifest, its chunks, and its row as it is now."""
    _known(services, document)
    found = await services.retrieval.document(document, key, services.scope)
    if found is None:
        # Absent, deleted and another tenant's look the same.
        raise UnknownNameError(f"row in {document} with key", key, code="document_not_found")
    return DocumentOut.of(found)


def _known(services: Services, document: str) -> None:
    if document not in services.settings.documents:
        raise UnknownNameError("document", document, services.settings.documents)
