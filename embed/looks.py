"""Records of a state topic as a plan sees them, and which of them a replay makes work of. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from core.version import epoch_of, version

_GOLDEN: Final = (5**0.5 - 1) / 2

TEXT: Final = np.dtype([("text", "<u8"), ("tokens", "<u4")])
"""One text that must be embedded: its hash and its length."""

Kind: TypeAlias = Literal["document", "none", "removed", "truncate"]


@dataclass(frozen=True, slots=True)
class Look:
    """One record, and what it means for the new generation.

    `document`: a row that becomes one. `none`: a row that does not, for it is deleted, filtered out or
    cannot be rendered. `removed`: the tombstone of an expired grave. `truncate`: every row of this
    partition below `version` is dead.
    """

    kind: Kind
    window: int
    """In order of reading, from 0."""
    partition: int
    offset: int
    version: int
    key: bytes = b""
    was: bool = False
    """It is a document of the live generation."""
    chunks: int | None = None
    """None: the window was read for its keys only, and nothing was cut."""
    before: int = 0
    """Chunks of the live generation, where they are known; 0 otherwise."""
    reusable: int = 0
    """Chunks whose vector is there already."""
    characters: int = 0
    """Of all chunks."""
    needed: bytes = b""
    """The other chunks' texts, each once: an array of TEXT."""


class Later(NamedTuple):
    """A record behind a window, of which no more than its key was looked at."""

    partition: int
    offset: int
    key: bytes


def alive(looks: Sequence[Look], *, whole: bool) -> list[Look]:
    """The rows that no truncate has ended: a replay knows all truncates before it meets the first row."""
    dead_below: dict[int, int] = {}
    for look in looks:
        if look.kind == "truncate":
            dead_below[look.partition] = max(look.version, dead_below.get(look.partition, 0))
    rows = [look for look in looks if look.kind in ("document", "none")]
    # An epoch begins with a truncate of every partition, which a sample seldom meets.
    epoch = 0 if whole else max((epoch_of(look.version) for look in rows), default=0)
    begun = version(epoch, 0)
    return [look for look in rows if look.version >= max(begun, dead_below.get(look.partition, 0))]


def newest(rows: Sequence[Look], looks: Sequence[Look]) -> dict[bytes, Look]:
    """The newest of these rows of each key that has not been removed or buried.

    The highest version, not the last: a worker that was frozen may write an older row after a newer.
    """
    removed: dict[bytes, list[Look]] = {}
    for look in looks:
        if look.kind == "removed":
            removed.setdefault(look.key, []).append(look)
    found: dict[bytes, Look] = {}
    for look in rows:
        if any(one.version >= look.version and one.offset > look.offset for one in removed.get(look.key, ())):
            continue
        known = found.get(look.key)
        if known is None or (look.version, look.offset) > (known.version, known.offset):
            found[look.key] = look
    return found


def replayed(rows: Sequence[Look], later: Sequence[Later], batch: int) -> list[Look]:
    """What is cut and written on the way: of several records of a row in one batch only the last.

    `batch`: offsets of one partition. Compaction leaves holes where rows stand once, so where it matters
    so many offsets are so many records.
    """
    places: dict[tuple[int, bytes], list[int]] = {}
    met: tuple[Look | Later, ...] = (*rows, *later)
    for one in met:
        places.setdefault((one.partition, one.key), []).append(one.offset)
    for offsets in places.values():
        offsets.sort()

    def last(look: Look) -> bool:
        offsets = places[look.partition, look.key]
        after = bisect_right(offsets, look.offset)
        # Where a batch begins is not known: evenly spread places in one are as good as the true one.
        place = int(look.offset * _GOLDEN % 1 * batch)
        return after == len(offsets) or place + offsets[after] - look.offset >= batch

    return [look for look in rows if look.chunks is not None and last(look)]
