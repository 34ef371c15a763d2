"""Generations: a collection and the frozen configuration it is built with, as `<app>.generations` tells them.

A worker runs what the topic says, not what the file says: two halves of one index must never be cut
or encoded differently. The topic holds wishes and reports, one key each, and no process but its
writer's changes a record:

    articles                    Pointer      which generation is to answer; one record, so one moment
    articles/alias              Aliased      which one the index's alias was moved to, by a worker
    articles/2                  Generation   what number 2 is made of, and whether it still runs
    articles/2/report/<worker>  Report       what one worker process has done for it

So a promotion or a rollback is one write of a Pointer, and workers make the alias follow it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

import msgspec
from pydantic import TypeAdapter, ValidationError

from core.errors import ConfigurationError
from core.settings import DocumentSettings, EncoderSettings
from core.topics import collection_name
from embed.pace import Pace as Pace  # noqa: PLC0414 - a part of a generation's record

FORMAT: Final = 2
"""1 knew one generation of a document, marked live."""

_ENCODER: Final[TypeAdapter[EncoderSettings]] = TypeAdapter(EncoderSettings)

Status: TypeAlias = Literal["running", "lost", "dropped"]
"""`lost`: a start did not find its collection. It is not followed, nor deleted where it is found again."""
Role: TypeAlias = Literal["live", "candidate", "previous", "lost", "dropped"]


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a generation is built with; a change of any of it needs a reindex."""

    document: DocumentSettings
    encoder: EncoderSettings
    fingerprint: str
    """Of the encoder: of what decides a vector, unlike its number of threads."""
    dimensions: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of one document, as recorded. A number is never used again."""

    document: str
    number: int
    status: Status
    frozen: Frozen
    started_at: int = 0
    """Unix ms."""
    pace: Pace = field(default_factory=Pace)
    decided: int | None = field(default=None, compare=False)
    """As Pointer's."""

    def collection(self, app: str) -> str:
        """Name of its collection."""
        return collection_name(app, self.document, self.number)


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which generation of a document is to answer, and which one answered before it."""

    document: str
    live: int
    previous: int | None = None
    at: int = 0
    """Unix ms of the wish."""
    decided: int | None = field(default=None, compare=False)
    """Of an operator's wish: the position of the topic that it rests on."""


@dataclass(frozen=True, slots=True)
class Aliased:
    """Which generation the alias points at since `at` (Unix ms)."""

    document: str
    number: int
    at: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker process has done for one generation since that process started."""

    document: str
    number: int
    worker: str
    at: int
    """Unix ms."""
    embedded: int = 0
    """Texts that the encoder was paid for."""
    reused: int = 0
    tokens: int = 0
    """Of the embedded texts."""
    encoding_ms: int = 0
    rows: int = 0
    documents: int = 0
    """In the whole collection, as this worker saw it last; so `chunks` and `bytes`."""
    chunks: int = 0
    bytes: int | None = None
    """On this machine's disk; None where the index is elsewhere."""
    offsets: Mapping[int, int] = field(default_factory=dict)
    """By state partition of this worker: the offset after the last record covered."""
    waiting: str | None = None
    """What it waits for, if it cannot go on."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The topic, read."""

    generations: tuple[Generation, ...] = ()
    """Every one ever recorded, by document and number."""
    pointers: Mapping[str, Pointer] = field(default_factory=dict)
    aliased: Mapping[str, Aliased] = field(default_factory=dict)
    reports: tuple[Report, ...] = ()

    def of(self, document: str) -> list[Generation]:
        """All of one document, oldest first."""
        return [one for one in self.generations if one.document == document]

    def running(self) -> list[Generation]:
        """Those that follow the log."""
        return [one for one in self.generations if one.status == "running"]

    def find(self, document: str, number: int) -> Generation | None:
        return next((one for one in self.of(document) if one.number == number), None)

    def live(self, document: str) -> Generation | None:
        """The one that is to answer: the pointer's; without a pointer the oldest that runs.

        Of a pointer at one that was dropped meanwhile counts what answered before it, then the newest
        older one, then any: None only where nothing runs.
        """
        running = [one for one in self.of(document) if one.status == "running"]
        pointer = self.pointers.get(document)
        if pointer is None or not running:
            return running[0] if running else None
        for number in (pointer.live, pointer.previous):
            for one in running:
                if one.number == number:
                    return one
        return next((one for one in reversed(running) if one.number < pointer.live), running[0])

    def answering(self, document: str) -> Generation | None:
        """The one that answers now: the alias's, as a worker has recorded it.

        Without such a record, or where that one runs no longer, the one that is to answer.
        """
        said = self.aliased.get(document)
        found = None if said is None else self.find(document, said.number)
        return found if found is not None and found.status == "running" else self.live(document)

    def role(self, generation: Generation) -> Role:
        """`candidate` is newer than the live one, `previous` older; both follow the log until dropped."""
        if generation.status != "running":
            return generation.status
        live = self.live(generation.document)
        if live is None or generation.number > live.number:
            return "candidate"
        return "live" if generation.number == live.number else "previous"

    def reports_of(self, generation: Generation) -> list[Report]:
        return [r for r in self.reports if (r.document, r.number) == (generation.document, generation.number)]


def dropped(generation: Generation) -> Generation:
    """The record that says so."""
    return replace(generation, status="dropped", decided=None)


def lost(generation: Generation) -> Generation:
    """As `dropped`."""
    return replace(generation, status="lost", decided=None)


class _GenerationWire(msgspec.Struct):
    f: int
    document: str
    number: int
    status: Literal["running", "live", "lost", "dropped"]
    section: dict[str, object]
    encoder: dict[str, object]
    fingerprint: str
    dimensions: int
    started_at: int = 0
    pace: Pace = Pace()
    decided: int | None = None


class _Stamped(msgspec.Struct):
    f: int


class _PointerWire(msgspec.Struct):
    f: int
    pointer: Pointer


class _AliasedWire(msgspec.Struct):
    f: int
    aliased: Aliased


class _ReportWire(msgspec.Struct):
    f: int
    report: Report


Record: TypeAlias = Generation | Pointer | Aliased | Report


def encode_record(record: Record) -> tuple[bytes, bytes]:
    """Key and value in `<app>.generations`."""
    match record:
        case Generation():
            return f"{record.document}/{record.number}".encode(), _encode_generation(record)
        case Pointer():
            return record.document.encode(), msgspec.json.encode(_PointerWire(FORMAT, record))
        case Aliased():
            return f"{record.document}/alias".encode(), msgspec.json.encode(_AliasedWire(FORMAT, record))
        case Report():
            key = f"{record.document}/{record.number}/report/{record.worker}"
            return key.encode(), msgspec.json.encode(_ReportWire(FORMAT, record))


def decode_registry(records: Mapping[bytes, bytes]) -> Registry:
    """The last value of each key. ConfigurationError for a newer format or bytes that are no record."""
    decoded = [decode_record(key, value) for key, value in records.items()]
    return registry_of(decoded)


def registry_of(records: Iterable[Record]) -> Registry:
    """One record a key."""
    generations: list[Generation] = []
    pointers: dict[str, Pointer] = {}
    aliased: dict[str, Aliased] = {}
    reports: list[Report] = []
    for record in records:
        match record:
            case Generation():
                generations.append(record)
            case Pointer():
                pointers[record.document] = record
            case Aliased():
                aliased[record.document] = record
            case Report():
                reports.append(record)
    generations.sort(key=lambda one: (one.document, one.number))
    reports.sort(key=lambda one: (one.document, one.number, one.worker))
    return Registry(tuple(generations), pointers, aliased, tuple(reports))


def decode_record(key: bytes, value: bytes) -> Record:
    """As `decode_registry`, one record."""
    name, _, rest = key.decode(errors="replace").partition("/")
    try:
        stamp = msgspec.json.decode(value, type=_Stamped).f
        if stamp > FORMAT:
            raise ConfigurationError(
                f"generation record format {stamp} is newer than {FORMAT}, the newest this release reads:"
                " run the release that wrote it, or a later one"
            )
        if not rest:
            return msgspec.json.decode(value, type=_PointerWire).pointer
        if rest == "alias":
            return msgspec.json.decode(value, type=_AliasedWire).aliased
        if "/report/" in rest:
            return msgspec.json.decode(value, type=_ReportWire).report
        return _generation(msgspec.json.decode(value, type=_GenerationWire))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(
            f"the generations topic holds a record of {name} that cannot be read: {error}"
        ) from error


def _encode_generation(generation: Generation) -> bytes:
    frozen = generation.frozen
    return msgspec.json.encode(
        _GenerationWire(
            FORMAT,
            generation.document,
            generation.number,
            generation.status,
            frozen.document.model_dump(mode="json"),
            frozen.encoder.model_dump(mode="json"),
            frozen.fingerprint,
            frozen.dimensions,
            generation.started_at,
            generation.pace,
            generation.decided,
        )
    )


def _wrong(error: ValidationError) -> str:
    """Not pydantic's own text: that quotes what it was given, secrets too."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())


def _generation(wire: _GenerationWire) -> Generation:
    try:
        document = DocumentSettings.model_validate(wire.section)
        encoder = _ENCODER.validate_python(wire.encoder)
    except ValidationError as error:
        raise ConfigurationError(
            f"the recorded configuration of {wire.document} generation {wire.number} is not understood by"
            f" this release: {_wrong(error)}"
        ) from None
    frozen = Frozen(document, encoder, wire.fingerprint, wire.dimensions)
    status: Status = "running" if wire.status == "live" else wire.status
    return Generation(wire.document, wire.number, status, frozen, wire.started_at, wire.pace, wire.decided)
