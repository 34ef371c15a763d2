"""What every body of a request keeps to, whatever its members are."""

from typing import Any

from pydantic import BaseModel, model_validator

from serve.errors import RequestError


class Body(BaseModel):
    """Text that is Unicode: JSON can spell half of a surrogate pair, which nothing can encode.

    Raises RequestError, naming a member that holds one.
    """

    @model_validator(mode="before")
    @classmethod
    def _only_unicode(cls, data: Any) -> Any:
        if (place := half_pair(data)) is not None:
            raise RequestError(
                f"{place or 'the body'}: the text is no unicode, it holds half of a surrogate pair:"
                " send whole characters",
                place or None,
            )
        return data


def half_pair(data: Any) -> str | None:
    """Where in a JSON value a text, or the name of a member, has no encoding: `messages.0.content`."""
    waiting: list[tuple[str, Any]] = [("", data)]  # no recursion: the body may be nested deeply
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                return place
        elif isinstance(value, dict):
            waiting += ((_within(place, "(a name)"), name) for name in value)
            waiting += ((_within(place, str(name)), item) for name, item in value.items())
        elif isinstance(value, list):
            waiting += ((_within(place, str(n)), item) for n, item in enumerate(value))
    return None


def _within(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
