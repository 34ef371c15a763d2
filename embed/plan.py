"""What one change needs in the index. Pure: the pipeline acts it out.

Chunks are immutable, so a difference of ids is the whole difference between what a manifest lists
and what it should list.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, TypeAlias

from embed.index import Drop, Swap
from embed.model import NAMESPACE, Change, Chunk, Document, Manifest, Removal, manifest_id

Outcome: TypeAlias = Literal["superseded", "unchanged", "put", "remove"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The effects, in their order: write `add`, then `swap`, then `drop`.

    `superseded`: the index holds a newer version. `unchanged`: it holds exactly this. Neither has effects.
    """

    outcome: Outcome
    add: tuple[Chunk, ...] = ()
    swap: Swap | None = None
    drop: Drop | None = None


def desired(document: Document, pieces: Sequence[str]) -> tuple[Chunk, ...]:
    """The chunks of a document cut into these pieces, in order.

    An id covers everything that a search filters by and the text, not the place: an edit at the top
    moves no ids below it. The same text again in one document is told apart by its occurrence.
    """
    groups = None if document.groups is None else sorted(document.groups)
    payload = [document.name, document.tenant, document.canonical.hex(), groups, dict(document.metadata)]
    owner = blake2b(json.dumps(payload, sort_keys=True).encode(), digest_size=16).hexdigest()
    seen: dict[str, int] = {}
    chunks = []
    for piece in pieces:
        occurrence = seen.get(piece, 0)
        seen[piece] = occurrence + 1
        said = blake2b(piece.encode(), digest_size=16).hexdigest()
        chunks.append(Chunk(uuid.uuid5(NAMESPACE, f"chunk\0{owner}\0{said}\0{occurrence}"), piece))
    return tuple(chunks)


def manifest(change: Change, chunks: Sequence[Chunk], fingerprint: str) -> Manifest:
    """What the index holds for this change once it is applied."""
    live = change if isinstance(change, Document) else None
    return Manifest(
        id=manifest_id(change.name, change.canonical),
        document=change.name,
        key=change.key,
        canonical=change.canonical,
        version=change.version,
        tenant=change.tenant,
        groups=live.groups if live else None,
        deleted=live is None,
        chunks=tuple(chunk.id for chunk in chunks),
        title=live.title if live else "",
        url=live.url if live else None,
        position=change.position,
        committed_at=change.committed_at,
        fingerprint=fingerprint,
    )


def plan(
    old: Manifest | None, change: Change, chunks: Sequence[Chunk], fingerprint: str, *, rewrite: bool = False
) -> Plan:
    """From the manifest in the index to this change, whose chunks these are (none for a removal).

    An equal version is no reason to stop: only an equal manifest is. Vectors of another encoder, and with
    `rewrite` all of them, are written again. The drop is fenced by the change's version: what a newer version
    has listed again carries that version. A removal at the version that is held drops that one's chunks.
    """
    if old is not None and supersedes(old, change):
        return Plan("superseded")
    new = manifest(change, chunks, fingerprint)
    trusted = old is not None and old.fingerprint == fingerprint and not rewrite
    listed = frozenset(old.chunks) if old is not None else frozenset()
    kept = frozenset(new.chunks)
    below = change.version + (new.deleted and old is not None and old.version == change.version)
    gone = tuple(one for one in old.chunks if one not in kept) if old is not None else ()
    add = tuple(chunk for chunk in chunks if not (trusted and chunk.id in listed))
    if old == new and not add:
        return Plan("unchanged")
    return Plan(
        outcome="remove" if new.deleted else "put",
        add=add,
        swap=Swap(new, expect=None if old is None else old.version),
        drop=Drop(gone, below) if gone else None,
    )


def supersedes(stored: Manifest, change: Change) -> bool:
    """Whether the change comes too late. A truncate leaves the row that lives at its own version."""
    spared = isinstance(change, Removal) and change.truncated and not stored.deleted
    return stored.version > change.version or (stored.version == change.version and spared)


def strays(written: Sequence[Chunk], current: Manifest | None) -> Drop | None:
    """What a change that lost to `current` has written in vain.

    Fenced by the current version: a later one that lists such a chunk has written it again, at its own.
    """
    if current is None:
        return None
    listed = frozenset(current.chunks)
    vain = tuple(chunk.id for chunk in written if chunk.id not in listed)
    return Drop(vain, below=current.version) if vain else None
