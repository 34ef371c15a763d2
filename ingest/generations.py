"""Generations: a collection and the frozen configuration it is built with.

A worker runs what `<app>.generations` says, not what the file says: two halves of one index must
never be cut or encoded differently. A file that differs is reported and waits for a reindex.
Pure: what is configured, recorded and stored goes in, a plan in plain words comes out.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import msgspec
from pydantic import TypeAdapter, ValidationError

from core.errors import ConfigurationError
from core.settings import DocumentSettings, EncoderSettings
from core.topics import collection_name

FORMAT: Final = 1
_ENCODER: Final[TypeAdapter[EncoderSettings]] = TypeAdapter(EncoderSettings)

Status: TypeAlias = Literal["live", "dropped"]


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
    """One generation of one document, as recorded."""

    document: str
    number: int
    status: Status
    frozen: Frozen

    def collection(self, app: str) -> str:
        """Name of its collection."""
        return collection_name(app, self.document, self.number)


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """What a start does: run these, make those first, drop those, and say so."""

    run: tuple[Generation, ...]
    make: tuple[Generation, ...]
    """A part of `run`: their collections and records are written before anything starts."""
    drop: tuple[Generation, ...]
    said: tuple[str, ...]


def plan_generations(
    configured: Mapping[str, Frozen], recorded: Sequence[Generation], collections: Collection[str], app: str
) -> GenerationPlan:
    """Decide what a start does. `collections`: those that exist in the index."""
    run: list[Generation] = []
    make: list[Generation] = []
    drop: list[Generation] = []
    said: list[str] = []
    for name, frozen in configured.items():
        mine = [g for g in recorded if g.document == name]
        live = next((g for g in mine if g.status == "live"), None)
        if live is not None and live.collection(app) in collections:
            run.append(live)
            said += _waiting(live, frozen)
            continue
        fresh = Generation(name, _next_number(name, mine, collections, app), "live", frozen)
        run.append(fresh)
        make.append(fresh)
        if live is not None:
            drop.append(live)
            said.append(
                f"document {name}: the index of generation {live.number} is gone; generation {fresh.number}"
                " is built anew from the state topic, answers are incomplete until it has caught up"
            )
        else:
            said.append(
                f"document {name}: new; its index is filled from the state topic of {frozen.document.table}"
            )
    for generation in recorded:
        if generation.document not in configured and generation.status == "live":
            drop.append(generation)
            said.append(
                f"document {generation.document}: no longer configured; its index (generation"
                f" {generation.number}) is dropped, for it would no longer hear of deletions"
            )
    return GenerationPlan(tuple(run), tuple(make), tuple(drop), tuple(said))


def dropped(generation: Generation) -> Generation:
    """The record that says so."""
    return replace(generation, status="dropped")


def _next_number(name: str, mine: Sequence[Generation], collections: Collection[str], app: str) -> int:
    taken = {g.number for g in mine}
    number = max(taken, default=0) + 1
    while collection_name(app, name, number) in collections:  # left by a log that is gone
        number += 1
    return number


def _waiting(live: Generation, frozen: Frozen) -> list[str]:
    old, new = live.frozen.document.model_dump(), frozen.document.model_dump()
    changed = [field for field in old if old[field] != new[field]]
    if live.frozen.fingerprint != frozen.fingerprint:
        changed.append("encoder")
    if not changed:
        return []
    return [
        (
            f"document {live.document}: {', '.join(changed)} in the configuration differ from generation"
            f" {live.number}, which goes on unchanged; the change waits for a reindex (`tailrace reindex`)"
        )
    ]


class _Wire(msgspec.Struct):
    f: int
    document: str
    number: int
    status: Status
    section: dict[str, object]
    encoder: dict[str, object]
    fingerprint: str
    dimensions: int


def encode_generation(generation: Generation) -> tuple[bytes, bytes]:
    """Key and value in `<app>.generations`."""
    frozen = generation.frozen
    wire = _Wire(
        FORMAT,
        generation.document,
        generation.number,
        generation.status,
        frozen.document.model_dump(mode="json"),
        frozen.encoder.model_dump(mode="json"),
        frozen.fingerprint,
        frozen.dimensions,
    )
    return f"{generation.document}/{generation.number}".encode(), msgspec.json.encode(wire)


def decode_generation(value: bytes) -> Generation:
    """Raises ConfigurationError for a newer format or bytes that are no generation record."""
    try:
        wire = msgspec.json.decode(value, type=_Wire)
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"the generations topic holds a record that cannot be read: {error}"
        ) from error
    if wire.f > FORMAT:
        raise ConfigurationError(
            f"generation record format {wire.f} is newer than {FORMAT}, the newest this release reads:"
            " run the release that wrote it, or a later one"
        )
    try:
        document = DocumentSettings.model_validate(wire.section)
        encoder = _ENCODER.validate_python(wire.encoder)
    except ValidationError as error:
        raise ConfigurationError(
            f"the recorded configuration of {wire.document} generation {wire.number} is not understood by"
            f" this release: {error}"
        ) from error
    frozen = Frozen(document, encoder, wire.fingerprint, wire.dimensions)
    return Generation(wire.document, wire.number, wire.status, frozen)
