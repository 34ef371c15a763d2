"""Names of tables and rows.

A row's key has two spellings. `canonical` is for machines: bytes that no two keys share
(type-tagged, sorted by column name, length-prefixed, so `"1"` is not `1` and `("a", "b,c")`
is not `("a,b", "c")`). `text` is for people, URLs and logs; within one table it is as unique.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self, TypeAlias

from core.errors import ContractError

KeyValue: TypeAlias = str | int | float | bool

_TAGS: Final = {str: b"s", int: b"i", float: b"f", bool: b"b"}
_PLAIN: Final = re.compile(r"[^\s\",=%/?#]+")


@dataclass(frozen=True, slots=True, order=True)
class TableId:
    """A table as the configuration names it: `<source>.<table>`, say `shop.public.orders`."""

    source: str
    table: str

    @classmethod
    def parse(cls, text: str) -> Self:
        source, dot, table = text.partition(".")
        if not (source and dot and table):
            raise ValueError(f"{text!r} is no table name: write <source>.<schema>.<table>")
        return cls(source, table)

    def __str__(self) -> str:
        return f"{self.source}.{self.table}"


@dataclass(frozen=True, slots=True)
class RowKey:
    """The primary key of one row: its columns in order of their names."""

    columns: tuple[tuple[str, KeyValue], ...]
    _canonical: bytes | None = field(default=None, init=False, repr=False, compare=False)
    """Spelled when first asked for: an event's is asked for five times."""

    @classmethod
    def of(cls, columns: Mapping[str, object]) -> Self:
        """Raises ContractError for no columns, or a value that cannot be part of a key."""
        if not columns:
            raise ContractError("a key without columns")
        for name, value in columns.items():
            if type(value) not in _TAGS:
                raise ContractError(
                    f"key column {name!r} holds {type(value).__name__}, which no key can hold"
                )
        return cls(tuple(sorted(columns.items())))  # type: ignore[arg-type]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.columns)

    @property
    def canonical(self) -> bytes:
        """Injective over typed keys. Starts with `k`: control records never do."""
        if self._canonical is None:
            object.__setattr__(self, "_canonical", self._spelled())
        return self._canonical  # type: ignore[return-value]  # set above

    def _spelled(self) -> bytes:
        parts = [b"k"]
        for name, value in self.columns:
            spelled = json.dumps(value) if isinstance(value, bool | float) else str(value)
            for piece in (name.encode(), _TAGS[type(value)] + spelled.encode()):
                parts.append(len(piece).to_bytes(4, "big"))
                parts.append(piece)
        return b"".join(parts)

    @classmethod
    def from_canonical(cls, data: bytes) -> Self:
        """The inverse of `canonical`. Raises ContractError on anything else."""
        try:
            pieces, at = [], 1
            while at < len(data):
                size = int.from_bytes(data[at : at + 4], "big")
                pieces.append(data[at + 4 : at + 4 + size])
                at += 4 + size
            if data[:1] != b"k" or at != len(data) or len(pieces) % 2:
                raise ValueError  # noqa: TRY301 - one message for every way of being wrong
            pairs = zip(pieces[::2], pieces[1::2], strict=True)
            return cls(tuple((name.decode(), _untag(value)) for name, value in pairs))
        except (ValueError, KeyError, RecursionError) as error:
            raise ContractError(f"{data[:80]!r} is no canonical key") from error

    @property
    def text(self) -> str:
        """`42` for a key of one column, `id=42,tenant=1` for several."""
        if len(self.columns) == 1:
            return _spell(self.columns[0][1])
        return ",".join(f"{name}={_spell(value)}" for name, value in self.columns)

    @classmethod
    def parse(cls, text: str, names: Sequence[str]) -> Self:
        """The key that `text` spells, for a table with these key columns.

        Raises ContractError, saying the expected shape, or that a value is no Unicode.
        """
        ordered = sorted(names)
        if len(ordered) == 1:
            return cls(((ordered[0], _encodable(_read(text))),))
        found = dict(_pairs(text))
        if sorted(found) != ordered:
            shape = ",".join(f"{name}=…" for name in ordered)
            raise ContractError(f"{text!r} is no key of this table: write {shape}")
        return cls(tuple((name, _encodable(_read(found[name]))) for name in ordered))

    def __str__(self) -> str:
        return self.text


def _untag(data: bytes) -> KeyValue:
    tag, spelled = data[:1], data[1:].decode()
    if tag == b"s":
        return spelled
    if tag == b"i":
        return int(spelled)
    value: KeyValue = json.loads(spelled)
    return value


def _spell(value: KeyValue) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    # A string that would be read back as something else is quoted.
    if _PLAIN.fullmatch(value) and isinstance(_read(value), str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _read(text: str) -> KeyValue:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or nested so deep that it is no value of a key either
        return text
    return value if type(value) in _TAGS else text


def _encodable(value: KeyValue) -> KeyValue:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:  # JSON can escape one half of a pair of surrogates
            raise ContractError(f"{value[:80]!r} is no key: a lone surrogate is no character") from error
    return value


def _pairs(text: str) -> list[tuple[str, str]]:
    found, rest = [], text
    while rest:
        name, _, rest = rest.partition("=")
        if rest.startswith('"'):
            try:
                value, end = json.JSONDecoder().raw_decode(rest)
            except ValueError:
                value, end = rest, len(rest)
            found.append((name, json.dumps(value)))
            rest = rest[end:].removeprefix(",")
        else:
            plain, _, rest = rest.partition(",")
            found.append((name, plain))
    return found
