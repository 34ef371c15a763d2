"""A world of retrieval whose index is interfered with in mid-request."""

from collections.abc import Callable, Mapping
from typing import Any

from embed.index import Collection, Index
from embed.model import Candidate
from tests.unit.retrieval_world import World

Ranked = list[list[Candidate]]


class Meddled:
    """A collection whose calls may be changed."""

    def __init__(self, inner: Collection, changes: Mapping[str, Callable[..., Any]]) -> None:
        self._inner, self._changes = inner, changes

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)
        if name in self._changes:
            return lambda *args, **kwargs: self._changes[name](inner, *args, **kwargs)
        return inner


class MeddledIndex:
    def __init__(self, inner: Index, changes: Mapping[str, Callable[..., Any]]) -> None:
        self._inner, self._changes = inner, changes

    def open(self, name: str) -> Any:
        return Meddled(self._inner.open(name), self._changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def meddled(**changes: Callable[..., Any]) -> World:
    return World(wrap=lambda index: MeddledIndex(index, changes))
