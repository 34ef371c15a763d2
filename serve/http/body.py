"""What every body of a request keeps to, whatever its members are."""

from collections.abc import Iterator
from itertools import chain
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
    # No recursion, for a body may be nested deeply; and no list of all members, for it may hold many.
    names: list[str | int] = []
    opened: list[Iterator[tuple[str | int, Any]]] = [iter([("", data)])]
    while opened:
        for name, value in opened[-1]:
            if isinstance(value, str):
                if not _is_unicode(value):
                    return ".".join(map(str, [*names, name][1:]))
            elif isinstance(value, dict | list):
                names.append(name)
                opened.append(_members(value))
                break
        else:
            opened.pop()
            if names:
                names.pop()
    return None


def _members(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, list):
        return iter(enumerate(value))
    return chain((("(a name)", name) for name in value), value.items())


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
