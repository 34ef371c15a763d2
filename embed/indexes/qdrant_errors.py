"""What a Qdrant server answers when it refuses, by consequence."""

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Final

from pydantic import ValidationError
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from core.errors import ConfigurationError, TransientError

_RETRY_LATER: Final = frozenset({408, 409, 423, 425, 429})

_FOREIGN: Final = (ValidationError, JSONDecodeError, UnicodeDecodeError, AssertionError)
"""What the client raises for an answer that it cannot read; it asserts that there is a result."""


@contextmanager
def border(place: str) -> Iterator[None]:
    """Foreign errors by consequence; local mode's ValueError for what a server answers with 404."""
    try:
        yield
    except ResourceExhaustedResponse as error:
        raise TransientError(f"Qdrant, {place}: {error}", retry_after=error.retry_after_s) from error
    except UnexpectedResponse as error:
        raise _answered(place, error) from error
    except ResponseHandlingException as error:
        if isinstance(error.source, _FOREIGN):
            raise _foreign(place) from error
        raise TransientError(f"Qdrant, {place}: no answer: {error.source!r}") from error
    except _FOREIGN as error:
        raise _foreign(place) from error
    except ValueError as error:
        if "not found" not in str(error):
            raise
        raise ConfigurationError(f"Qdrant, {place}: {error}") from error


def _foreign(place: str) -> ConfigurationError:
    return ConfigurationError(
        f"Qdrant, {place}: the answer was not Qdrant's; check index.url and the server's version"
    )


def _answered(place: str, error: UnexpectedResponse) -> ConfigurationError | TransientError:
    status = error.status_code or 500
    said = error.content[:200].decode("utf-8", "replace")
    if status in _RETRY_LATER or status >= 500:  # noqa: PLR2004 - the server's own trouble
        return TransientError(f"Qdrant, {place}: status {status}: {said}")
    advice = {
        401: "index.api_key is missing or wrong",
        403: "index.api_key does not allow this",
        404: "it does not exist; check index.url, and that the generation was made and not dropped",
    }.get(status, "the request was refused; the server may be too old, or limited by its strict mode")
    return ConfigurationError(f"Qdrant, {place}: status {status}: {advice} ({said})")
