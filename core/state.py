"""What the state topic holds: the contract between the write side and the read side.

`<app>.state.<source>.<table>` is compacted and holds, by key of the record:

* a row (`k…`): the newest version of one source row, or its grave;
* progress (`p`): how far the resolve agent has come in the raw topic, one per partition;
* a truncate (`t`): rows below its version are dead, one per partition;
* a tombstone (a row's key, no value): an expired grave; its header names the version it removes.

Every value carries a format number. A newer one than ours is refused by name: an old
process must not guess at what a newer one wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias, cast

import msgspec

from core.errors import ConfigurationError, ContractError, DecodeError
from core.keys import RowKey

FORMAT: Final = 1
PROGRESS_KEY: Final = b"p"
TRUNCATE_KEY: Final = b"t"
REMOVES_HEADER: Final = "tailrace.removes"

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True)
class StateRow:
    """What a source row last said.

    Made by the resolve agent, one per applied change; read by the index agent and the state
    view. `version` orders the changes of one key and means nothing across keys. A deleted
    row stays for the replay window, as a grave, with its columns: a change of key takes the
    unchanged long text from there, and a late older event must not resurrect it.
    """

    key: RowKey
    version: int
    columns: Mapping[str, Json]
    deleted: bool = False
    streamed: tuple[int, int] | None = None
    """Position of the last *streamed* event of this key (cdc ordering rule); None before one."""
    position: str = ""
    """Source position of the change, as the source spells it; "" where it has none."""
    committed_at: int = 0
    """When the source says that it committed, ms since 1970. For people, never for order."""
    resolved_at: int = 0
    """When the resolve agent wrote it, ms since 1970: graves expire by it."""
    tainted: bool = False
    """A later change of this row was parked: nothing may be carried across it."""

    def __post_init__(self) -> None:
        if self.version < 0:
            raise ValueError(f"{self.key}: versions start at 0, not {self.version}")


@dataclass(frozen=True, slots=True)
class Truncate:
    """Every row of this table with a version below this one is dead."""

    version: int
    position: str = ""
    committed_at: int = 0
    streamed: tuple[int, int] | None = None
    """Its place in the stream, by which a replay of it is known; None where it has none (a resync's,
    or one that an older release wrote)."""
    resolved_at: int = 0
    """When it was written, ms since 1970: graves that it makes are no older. 0 where an older release wrote
    it: those are as old as their rows."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the ordering rule remembers of a table beyond its rows (see ingest.course)."""

    streamed: tuple[int, int] | None = None
    """The furthest place in the stream."""
    committed_at: int = 0
    """The newest commit time lately, up to there; ms since 1970."""
    snapshot: tuple[int, int] | None = None
    """Where the connector's first snapshot stands, while nothing but its rows has come."""
    streaming: bool = False
    """Something else has come: that snapshot is through."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything up to and including `version` of the raw topic stands in the state topic."""

    version: int
    position: str = ""
    committed_at: int = 0
    resolved_at: int = 0
    seen: Seen | None = None
    """None where an older release wrote it."""


@dataclass(frozen=True, slots=True)
class Removed:
    """A tombstone: the grave of `key` at `version` expired. Removes nothing newer."""

    key: RowKey
    version: int


StateRecord: TypeAlias = StateRow | Truncate | Progress | Removed


class _Row(msgspec.Struct, omit_defaults=True):
    f: int
    v: Annotated[int, msgspec.Meta(ge=0)]
    c: dict[str, object] = msgspec.field(default_factory=dict)
    d: bool = False
    q: tuple[int, int] | None = None
    p: str = ""
    at: int = 0
    ra: int = 0
    x: bool = False


class _Seen(msgspec.Struct, omit_defaults=True):
    q: tuple[int, int] | None = None
    at: int = 0
    r: tuple[int, int] | None = None
    n: bool = False


class _Mark(msgspec.Struct, omit_defaults=True):
    f: int
    v: int
    p: str = ""
    at: int = 0
    ra: int = 0
    q: tuple[int, int] | None = None
    s: _Seen | None = None


class _Format(msgspec.Struct):
    f: int


_encoder = msgspec.json.Encoder()
_row_decoder = msgspec.json.Decoder(_Row)
_mark_decoder = msgspec.json.Decoder(_Mark)
_format_decoder = msgspec.json.Decoder(_Format)


def encode_state(record: StateRow | Truncate | Progress) -> tuple[bytes, bytes]:
    """Key and value of the record in the state topic."""
    if isinstance(record, StateRow):
        made = _Row(
            FORMAT,
            record.version,
            dict(record.columns),
            record.deleted,
            record.streamed,
            record.position,
            record.committed_at,
            record.resolved_at,
            record.tainted,
        )
        return record.key.canonical, _encoder.encode(made)
    mark = _Mark(FORMAT, record.version, record.position, record.committed_at, record.resolved_at)
    if isinstance(record, Progress):
        if record.seen is not None:
            seen = record.seen
            mark.s = _Seen(seen.streamed, seen.committed_at, seen.snapshot, seen.streaming)
        return PROGRESS_KEY, _encoder.encode(mark)
    mark.q = record.streamed
    return TRUNCATE_KEY, _encoder.encode(mark)


def encode_tombstone(removed: Removed) -> tuple[bytes, None, list[tuple[str, bytes]]]:
    """Key, value and headers of an expired grave's tombstone."""
    return removed.key.canonical, None, [(REMOVES_HEADER, str(removed.version).encode())]


def decode_state(
    key: bytes | None, value: bytes | None, headers: Mapping[str, bytes] | None = None
) -> StateRecord:
    """The record that was written.

    Raises ConfigurationError for a newer format, DecodeError or ContractError for bytes that
    no version of Tailrace wrote.
    """
    if key is None:
        raise ContractError("a state record without a key")
    if value is None:
        removes = (headers or {}).get(REMOVES_HEADER, b"")
        if not removes.isdigit():
            raise ContractError("a tombstone in a state topic that names no version")
        return Removed(RowKey.from_canonical(key), int(removes))
    try:
        if key in (PROGRESS_KEY, TRUNCATE_KEY):
            mark = _mark_decoder.decode(value)
            _check_format(mark.f)
            if key == PROGRESS_KEY:
                seen = None if mark.s is None else Seen(mark.s.q, mark.s.at, mark.s.r, mark.s.n)
                return Progress(mark.v, mark.p, mark.at, mark.ra, seen)
            return Truncate(mark.v, mark.p, mark.at, mark.q, mark.ra)
        row = _row_decoder.decode(value)
    except msgspec.DecodeError as error:
        _refuse_newer(value)
        raise DecodeError(f"a state record that cannot be read: {error}") from error
    _check_format(row.f)
    return StateRow(
        RowKey.from_canonical(key),
        row.v,
        cast("dict[str, Json]", row.c),  # by construction of the JSON decoder
        row.d,
        row.q,
        row.p,
        row.at,
        row.ra,
        row.x,
    )


def _refuse_newer(value: bytes) -> None:
    try:
        found = _format_decoder.decode(value).f
    except msgspec.DecodeError:
        return
    _check_format(found)


def _check_format(found: int) -> None:
    if found > FORMAT:
        raise ConfigurationError(
            f"state record format {found} is newer than {FORMAT}, the newest this release reads:"
            " run the release that wrote it, or a later one"
        )
