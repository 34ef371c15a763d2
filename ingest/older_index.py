"""An index that holds less than was acknowledged for it: it was put back from a copy. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from embed.model import Covered


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group, and what it has acknowledged of one topic."""

    name: str
    committed: Callable[[], Mapping[int, int]]
    """By partition the next offset. Blocking; raises TransientError."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Records of one partition that were acknowledged and are not in the index."""

    partition: int
    covered: int
    """The first of them."""
    committed: int
    """The one after the last."""


def gaps(committed: Mapping[int, int], marks: Iterable[Covered], topic: str) -> list[Gap]:
    """Where a group has acknowledged more of this topic than its collection has covered.

    `committed`, by partition, must have been read before `marks`. A partition without a mark tells nothing:
    its progress record is yet to be read, and in a compacted topic that stands near the end.
    """
    covered = {mark.partition: mark.offset for mark in marks if mark.topic == topic}
    found = [Gap(number, covered.get(number, offset), offset) for number, offset in sorted(committed.items())]
    return [gap for gap in found if gap.covered < gap.committed]


def older(collection: str, group: str, topic: str, missing: Sequence[Gap]) -> str:
    """What to tell the operator first."""
    places = ", ".join(f"{gap.covered} to {gap.committed} of {topic}/{gap.partition}" for gap in missing)
    return (
        f"the index {collection} is older than what was read for it, as if put back from a copy:"
        f" {places} is acknowledged by group {group} and not in it"
    )
