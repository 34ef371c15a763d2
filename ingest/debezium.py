"""What a raw record says: with `envelope` and `values` the only place that knows Debezium.

Pure: bytes go in, an event comes out, or a DecodeError, ContractError or LimitError with the
reason. Nothing else is ever raised, whatever the bytes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from core.errors import ContractError, DecodeError, LimitError, PermanentError
from core.keys import RowKey
from core.settings import Source
from core.state import Json
from ingest.envelope import (
    ANY,
    ENVELOPE,
    WRAPPED,
    Envelope,
    IgnoredKind,
    Where,
    WrongShapeError,
    header_key,
    key_columns,
    parse,
    parse_other,
    unwrap,
)
from ingest.record import RawRecord
from ingest.values import (
    Placeholder,
    canonical,
    check,
    find_nul,
    has_escaped_nul,
    key_value,
    mysql_value,
    repair_json_text,
)

MAX_VALUE_BYTES: Final = 8 * 2**20
"""Longest record: eight times what a broker and a connector take by default."""

MAX_KEY_BYTES: Final = 64 * 2**10
"""Longest key: a Postgres index entry ends at 2.7 kB, an InnoDB key at 3 kB."""

MAX_HEADERS: Final = 1_000
"""Debezium writes 4 to 6."""

Op: TypeAlias = Literal["c", "u", "d", "r"]

_Moved: TypeAlias = tuple[RowKey | None, RowKey | None]
"""The keys that a change of key names in its headers: the new one, the old one."""

_OPS: Final = frozenset("cudrt")
_NOTHING: Final[frozenset[str]] = frozenset()
_SIGNAL_COLUMNS: Final = {"id", "type", "data"}
_NEW_KEY: Final = "__debezium.newkey"
_OLD_KEY: Final = "__debezium.oldkey"
_FAUST: Final = "faust-"  # headers by which Faust asks for a reply
_NOT_IN_TOPICS: Final = re.compile(r"[^A-Za-z0-9._-]")  # what Debezium replaces in a topic's name


@dataclass(frozen=True, slots=True)
class RowChange:
    """One change of one row, or its place in a snapshot.

    `columns` is the row after the change (None for a delete) without the columns in `absent`:
    unchanged long values that the connector did not send. `streamed` is the position among
    streamed events that survives a replay; None for a snapshot's row.
    """

    op: Op
    key: RowKey
    columns: Mapping[str, Json] | None
    absent: frozenset[str] = _NOTHING
    new_key: RowKey | None = None
    """Of a delete: the row goes on under this key."""
    old_key: RowKey | None = None
    """Of a create: the row was under this key before."""
    streamed: tuple[int, int] | None = None
    position: str = ""
    """As the source spells it; "" where it names none."""
    committed_at: int = 0
    """When the source says that it committed, ms since 1970; 0 where it does not say."""
    snapshot: str | None = None
    read_at: tuple[int, int] | None = None
    """Of a row that the source's connector read in its first snapshot: where that snapshot stands."""
    repaired: int = 0
    """Lone surrogates replaced by U+FFFD."""


@dataclass(frozen=True, slots=True)
class TruncateChange:
    """The table is empty from here on."""

    position: str = ""
    committed_at: int = 0
    streamed: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A record that changes no row, by what it is."""

    kind: IgnoredKind


Event: TypeAlias = RowChange | TruncateChange | Ignored


class Decoder:
    """The records of one table's topic.

    `table` is `schema.table` as the source's configuration spells it (MariaDB: `database.table`).
    Remembers nothing of the records it read.
    """

    def __init__(self, source: Source, table: str) -> None:
        self._schemas: Final = source.schemas
        self._table: Final = table
        self._prefix: Final = source.prefix
        self._placeholder: Final = Placeholder(source.placeholder)

    def decode(self, record: RawRecord) -> Event:
        """What `record` says. Raises DecodeError, ContractError or LimitError, nothing else."""
        moved = _moved(record.headers)
        data = record.value
        if data is None:
            if record.key is None:
                raise ContractError("a record without key and value: the table needs a primary key")
            return Ignored("tombstone")
        try:
            envelope, repaired = self._parse(data)
        except WrongShapeError as error:
            return self._other(data, str(error))
        # Of a delete only `before` is long, which is not read; set aside, its row could be cited for ever.
        if len(data) > MAX_VALUE_BYTES and envelope.op != "d":
            raise LimitError(
                f"{len(data)} bytes, above {MAX_VALUE_BYTES}: exclude the long column from the connector"
            )
        where = envelope.source
        if where is None or envelope.op not in _OPS:
            return self._other(data, f"op {envelope.op[:20]!r}")
        if not self._is_ours(where):
            if envelope.after is not None and envelope.after.keys() == _SIGNAL_COLUMNS:
                return Ignored("signal")
            raise ContractError(f"a change of another table: route only {self._table} to this topic")
        if envelope.op == "t":
            return TruncateChange(where.position, where.ts_ms or 0, where.streamed)
        if record.key is None:
            raise ContractError("a change without a key: the table needs a primary key")
        return self._row(envelope, where, key_data=record.key, data=data, repaired=repaired, moved=moved)

    def keys_of(self, record: RawRecord) -> tuple[RowKey, ...]:
        """The key of a record that may not be readable otherwise, in the spelling of each kind of source.

        Nothing else may tell which one it is of. Postgres comes first: there each spelling is a row of its
        own. Empty if the key is not readable either.
        """
        if record.key is None:
            return ()
        try:
            found = self._key(record.key)
            return _spelled(found), _spelled(found, mysql=True)
        except PermanentError:
            return ()

    def _row(
        self, envelope: Envelope, where: Where, *, key_data: bytes, data: bytes, repaired: int, moved: _Moved
    ) -> RowChange:
        key = self._key(key_data)
        mysql = where.is_mysql
        columns: dict[str, Json] | None = None
        absent = _NOTHING
        if envelope.op != "d":
            columns = envelope.after
            if columns is None:
                raise ContractError(
                    f"op {envelope.op} without `after`: the connector must send the whole row"
                )
            _check_key(key, columns)
            absent = self._settle(columns, mysql=mysql)
            if b"\\u" in data:
                repaired += _check_escapes(data, columns)
        new_key, old_key = moved
        return RowChange(
            cast("Op", envelope.op),
            _spelled(key, mysql=mysql),
            columns,
            absent,
            new_key and _spelled(dict(new_key.columns), mysql=mysql),
            old_key and _spelled(dict(old_key.columns), mysql=mysql),
            None if envelope.op == "r" else where.streamed,
            where.position,
            where.ts_ms or 0,
            where.snapshot if isinstance(where.snapshot, str) else None,
            # Two connectors that are routed to one topic have no common place: at most one has this name.
            where.read_at if envelope.op == "r" and where.name == self._prefix else None,
            repaired,
        )

    def _parse(self, data: bytes) -> tuple[Envelope, int]:
        if not self._schemas:
            return parse(ENVELOPE, data)
        made, repaired = parse(WRAPPED, data)
        if made.schema is not None and "type" not in made.schema:
            raise WrongShapeError("a schema without type")
        return made.payload, repaired

    def _other(self, data: bytes, why: str) -> Ignored:
        kind = parse_other(data, schemas=self._schemas)
        if kind is None:
            raise ContractError(
                f"no envelope of Debezium ({why}): neither unwrap nor flatten the connector's events"
            )
        return Ignored(kind)

    def _is_ours(self, where: Where) -> bool:
        name = where.full_table
        return name in (self._table, "") or _NOT_IN_TOPICS.sub("_", name) == self._table

    def _key(self, data: bytes) -> dict[str, Json]:
        if len(data) > MAX_KEY_BYTES:
            raise LimitError(f"a key of {len(data)} bytes, above {MAX_KEY_BYTES}")
        try:
            found: Any = ANY.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"a key that is no JSON in UTF-8: {error}") from error
        return key_columns(unwrap(found, schemas=self._schemas), data)

    def _settle(self, columns: dict[str, Json], *, mysql: bool) -> frozenset[str]:
        """Make the values canonical in place; take out and name those that were not sent."""
        absent: list[str] = []
        changed: list[tuple[str, Json]] = []
        matches = self._placeholder.matches
        for name, value in columns.items():
            kind = type(value)
            if value is None or kind is float:
                continue
            # MariaDB sends rows whole: there the token is a text that a user typed.
            if kind is not int and not mysql and matches(value):
                absent.append(name)
                continue
            if kind is not str:
                check(value)
            made = mysql_value(value) if mysql else canonical(value)
            if made is not value:
                changed.append((name, made))
        columns.update(changed)
        for name in absent:
            del columns[name]
        return frozenset(absent) if absent else _NOTHING


def _moved(headers: tuple[tuple[str, bytes], ...]) -> _Moved:
    if len(headers) > MAX_HEADERS:
        raise ContractError(f"{len(headers)} headers, above {MAX_HEADERS}: no connector writes so many")
    new_key = old_key = None
    for name, value in headers:
        if name == _NEW_KEY:
            new_key = header_key(name, value)
        elif name == _OLD_KEY:
            old_key = header_key(name, value)
        elif name[: len(_FAUST)].lower() == _FAUST:
            raise ContractError(f"header {name[:40]!r}: a raw topic takes no calls, and no reply is sent")
    return new_key, old_key


def _spelled(key: Mapping[str, Json], *, mysql: bool = False) -> RowKey:
    """Raises ContractError for what is no key."""
    one = mysql_value if mysql else key_value
    return RowKey.of({name: one(value) for name, value in key.items()})


def _check_key(key: dict[str, Json], columns: dict[str, Json]) -> None:
    for name, value in key.items():
        other = columns.get(name)
        if other != value or type(other) is not type(value):
            raise ContractError(
                f"key column {name[:80]!r} is not the same in the row: was the record rerouted?"
            )


def _check_escapes(data: bytes, columns: dict[str, Json]) -> int:
    """Raise DecodeError for U+0000; repair JSON in strings, in place. The number of repairs."""
    if has_escaped_nul(data) and find_nul(columns):
        raise DecodeError("a text with U+0000, which no later stage can store")
    total = 0
    for name, value in columns.items():
        columns[name], count = repair_json_text(value)
        total += count
    return total
