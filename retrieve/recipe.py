"""What one collection was made with, as far as reading it needs to know.

Two collections of one document may differ in everything: table, templates, filters, encoder. A
request resolves an alias once and reads what it found there by that collection's recipe; the
configuration file may say something else already, or still.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from core.errors import ContractError
from core.keys import TableId
from retrieve.join import Render, once


@dataclass(frozen=True, slots=True)
class Recipe:
    """Of one generation."""

    document: str
    table: TableId
    metadata: frozenset[str]
    """Columns that searches may filter by."""
    render: Render

    def for_one_request(self) -> "Recipe":
        """The same, that renders each version of a row once."""
        return replace(self, render=once(self.render))


class Recipes(Protocol):
    """All that may be asked for. Cheap calls from any thread: nothing is loaded for them."""

    def documents(self) -> Sequence[str]:
        """Every configured document."""
        ...

    def tables(self, document: str) -> Sequence[TableId]:
        """Those that its running generations are made of, the answering one's first; never none."""
        ...

    def recipe(self, collection: str) -> Recipe:
        """TransientError for a collection that no running generation is known to own."""
        ...


class UnknownFilterError(ContractError):
    """A filter by a column that no collection of the request carries."""

    param = "filters"


def check_filters(filters: Sequence[str], columns: Mapping[str, Collection[str]]) -> None:
    """Raises UnknownFilterError, naming the columns there are. `columns`: by document of the request."""
    known = sorted({column for found in columns.values() for column in found})
    for column in filters:
        if column not in known:
            raise UnknownFilterError(
                f"filters: {column!r} is no metadata column of"
                f" {', '.join(sorted(columns))}:"
                f" write one of {', '.join(known) or '(none configured)'}"
            )
