"""The entries of one configured state view, kept in order while rows change. Pure.

An entry is found by tenant and key together, so another tenant's entry and an absent one cost
the same look-up and look the same.
"""

import json
import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any, Final, TypeAlias

from sortedcontainers import SortedList

from core.errors import ContractError
from core.settings import StateView as ViewSettings
from core.state import Json, StateRow
from embed.model import Scope
from retrieve.model import Rows

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_PAIR: Final = re.compile(r'([^=,"]+)=("(?:[^"\\]|\\.)*"|[^,"]*)(?:,|$)')

LONG: Final = 2000
"""Rows from which an entry is a SortedList: a list moves all that stand behind a change, which for a
column of few values are most of the table. Below it a list is quicker, and a fifth as large."""

EntryKey: TypeAlias = tuple[str | None, tuple[str, ...]]
"""Tenant (None where the view declares none), then the values of `by` in order of their names."""

_Placed: TypeAlias = tuple[Any, bytes]
"""Sort key and canonical row key: ties are settled by key, and every place is unique."""


@dataclass(frozen=True, slots=True)
class _Down:
    """Orders the other way round."""

    value: str

    def __lt__(self, other: "_Down") -> bool:
        return other.value < self.value


class View:
    """One view. `apply` takes each changed row of its table once, in any order of keys.

    A change costs two binary searches in its entry, however long that is. An entry holds the canonical
    keys of its rows; `entry` reads the rows themselves where the caller keeps them.
    """

    def __init__(self, name: str, settings: ViewSettings) -> None:
        self.name, self.settings = name, settings
        self._by = tuple(sorted(settings.by))
        self._order = (settings.order_by or "").removeprefix("-")
        self._down = (settings.order_by or "").startswith("-")
        self._entries: dict[EntryKey, list[_Placed] | SortedList] = {}
        self._places: dict[bytes, tuple[EntryKey, _Placed]] = {}

    def __len__(self) -> int:
        """Rows in the view."""
        return len(self._places)

    def apply(self, row: StateRow) -> None:
        """Place, move or remove one row: it leaves when deleted, or when a column of `by` is null."""
        canonical = row.key.canonical
        known = self._places.get(canonical)
        entry = None if row.deleted else self._entry_of(row.columns)
        if entry is None:
            if known is not None:
                self._remove(canonical, *known)
            return
        placed = (self._sort_key(row.columns), canonical)
        if known is not None:
            if known == (entry, placed):
                return
            self._remove(canonical, *known)
        self._add(entry, placed)
        self._places[canonical] = (entry, placed)

    def apply_all(self, rows: Iterable[StateRow]) -> None:
        for row in rows:
            self.apply(row)

    def check(self, key: str, scope: Scope, claims: Mapping[str, str]) -> tuple[str, ...]:
        """The values that `key` spells, if this caller may ask this view at all.

        Raises ContractError for a view that cannot be scoped to this caller, or a key of another shape.
        """
        values = self._values(key)
        claim = claims.get(self.settings.claim) if self.settings.claim is not None else key
        if claim is None or self._values(claim) != values:
            raise ContractError(
                f"state view {self.name} answers only the caller whose claim {self.settings.claim!r} equals"
                " the key: ask as that caller"
            )
        if scope.tenant is not None and self.settings.tenant is None and self.settings.claim is None:
            raise ContractError(
                f"state view {self.name} declares no tenant, so it cannot be shown to one tenant only: add"
                f" `tenant: <column>` to state.{self.name} (or `claim: <name>`)"
            )
        return values

    def entry(
        self, key: str, scope: Scope, claims: Mapping[str, str], get: Callable[[bytes], StateRow | None]
    ) -> Rows:
        """The first `limit` rows of the entry, in order. `get(canonical)` gives a row; raises as `check`."""
        values = self.check(key, scope, claims)
        if self.settings.tenant is not None and scope.tenant is None:
            return ()
        tenant = scope.tenant if self.settings.tenant is not None else None
        placed = self._entries.get((tenant, values), ())
        rows = (get(canonical) for _, canonical in islice(placed, self.settings.limit))
        return tuple(self._shown(row.columns) for row in rows if row is not None)

    def _shown(self, columns: Mapping[str, Json]) -> Mapping[str, Json]:
        if self.settings.columns is None:
            return dict(columns)
        return {name: columns.get(name) for name in self.settings.columns}

    def _entry_of(self, columns: Mapping[str, Json]) -> EntryKey | None:
        tenant = None
        if self.settings.tenant is not None:
            tenant = spelled(columns.get(self.settings.tenant))
            if tenant is None:  # nobody's row: shown to nobody
                return None
        values = [spelled(columns.get(name)) for name in self._by]
        found = tuple(value for value in values if value is not None)
        return (tenant, found) if len(found) == len(values) else None

    def _sort_key(self, columns: Mapping[str, Json]) -> Any:
        """(rank, value): numbers, then texts, then the rest; nulls last in both directions."""
        if not self._order:
            return ()
        value = columns.get(self._order)
        if value is None:
            return (3, 0)
        number = _number(value)
        if number is not None:
            return (1 if self._down else 0, -number if self._down else number)
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        if _INSTANT.fullmatch(text):
            text = text[:-1]  # `…:00Z` is before `…:00.5Z`, but Z is behind the point
        return (0, _Down(text)) if self._down else (1, text)

    def _add(self, entry: EntryKey, placed: _Placed) -> None:
        rows = self._entries.setdefault(entry, [])
        if isinstance(rows, SortedList):
            rows.add(placed)
            return
        insort(rows, placed)
        if len(rows) > LONG:
            self._entries[entry] = SortedList(rows)

    def _remove(self, canonical: bytes, entry: EntryKey, placed: _Placed) -> None:
        rows = self._entries[entry]
        if isinstance(rows, SortedList):
            rows.remove(placed)
        else:
            del rows[bisect_left(rows, placed)]
        if not rows:
            del self._entries[entry]
        del self._places[canonical]

    def _values(self, key: str) -> tuple[str, ...]:
        if len(self._by) == 1:
            return (_unquoted(key),)
        found = dict(_pairs(key))
        if tuple(sorted(found)) != self._by:
            shape = ",".join(f"{name}=…" for name in self._by)
            raise ContractError(f"{key[:80]!r} is no key of state view {self.name}: write {shape}")
        return tuple(found[name] for name in self._by)


def spelled(value: Json) -> str | None:
    """A column's value as keys and tenants spell it: `42` for 42 and "42" alike; None for null or nested."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, list | dict):
        return None
    return json.dumps(value)


def _number(value: Json) -> Decimal | int | float | None:
    """Numbers, and texts that spell one: sources send decimals as texts to keep every digit."""
    if isinstance(value, bool | int | float):
        return value
    return Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _unquoted(text: str) -> str:
    if text.startswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None:
            raise ContractError(f"{text[:80]!r} is no key: write column=value pairs with commas between")
        yield found[1].strip(), _unquoted(found[2])
        at = found.end()
