"""Two generations of one document beside each other: what is in them, and what questions find. Pure.

Both follow the same log while they are compared, so a row may stand in one and not yet in the
other. What differs is therefore looked at again, and counts only if it cannot be on its way.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from embed.model import Covered, Manifest

Kind: TypeAlias = Literal["missing", "extra", "different"]

MOST_SUSPECTS: Final = 20_000
"""That many differences are looked at again. A candidate that lacks more has not caught up."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A saved question. `expected`: keys of documents that a good answer rests on."""

    query: str
    expected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Size:
    """Documents that can be found, and the chunks that they list."""

    documents: int = 0
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """How many documents, and the first of their keys, of those that the caller may see."""

    count: int = 0
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Latency:
    """Of one search, its encoding included."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Found:
    """One question put to both: keys of documents, best first."""

    query: str
    live: tuple[str, ...]
    candidate: tuple[str, ...]
    overlap: float | None
    """None where neither found anything."""
    live_recall: float | None
    candidate_recall: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """One generation. `recall` is None where no question expects anything, latency where none was put."""

    number: int
    size: Size
    recall: float | None
    latency: Latency | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result.

    `missing`: in the live one only; `extra`: in the candidate only; `different`: in both, of other
    versions of the row. `overlap` is the mean over the questions that found something, None without any.
    """

    document: str
    live: Side
    candidate: Side
    missing: Difference
    extra: Difference
    different: Difference
    top_k: int
    overlap: float | None
    questions: tuple[Found, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """Where a comparison stands. `total` is what is known of the end; a log that moves moves it."""

    what: Literal["documents", "settling", "questions"]
    done: int
    total: int


class Stand(NamedTuple):
    """One row in one generation. Version -1: nothing is stored of it."""

    shown: bool
    version: int


ABSENT: Final = Stand(shown=False, version=-1)


class Suspect(NamedTuple):
    """A row that stood differently when it was looked at first."""

    id: UUID
    key: str
    live: Stand
    candidate: Stand


def stand_of(manifest: Manifest | None) -> Stand:
    return ABSENT if manifest is None else Stand(not manifest.deleted, manifest.version)


def merged(
    live: Iterable[Manifest], candidate: Iterable[Manifest]
) -> Iterator[tuple[Manifest | None, Manifest | None]]:
    """Manifests of the same id side by side. Both must come in order of their ids."""
    ones, others = iter(live), iter(candidate)
    one, other = next(ones, None), next(others, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.id < other.id):
            yield one, None
            one = next(ones, None)
        elif one is None or other.id < one.id:
            yield None, other
            other = next(others, None)
        else:
            yield one, other
            one, other = next(ones, None), next(others, None)


def suspect(live: Manifest | None, candidate: Manifest | None) -> Suspect | None:
    """None where both say the same of the row."""
    found = live or candidate
    if found is None or kind(stand_of(live), stand_of(candidate)) is None:
        return None
    return Suspect(found.id, found.key, stand_of(live), stand_of(candidate))


def kind(live: Stand, candidate: Stand) -> Kind | None:
    """How they differ; a row that neither shows differs in nothing."""
    if live.shown and candidate.shown:
        return None if live.version == candidate.version else "different"
    if live.shown:
        return "missing"
    return "extra" if candidate.shown else None


def reach(live: Sequence[Covered], candidate: Sequence[Covered]) -> int:
    """The version up to which both hold everything; -1 where that is not known of every partition."""
    ones, others = ({(m.topic, m.partition): m.version for m in marks} for marks in (live, candidate))
    if not ones or ones.keys() != others.keys():
        return -1
    return min(*ones.values(), *others.values())


def judged(
    first: Suspect, live: Stand, candidate: Stand, covered: int
) -> Kind | Literal["on its way"] | None:
    """What a second look says; None: they agree. `covered`: `reach` as it was *before* that look.

    A row that changes all the time never stands equally in both. It is agreed on once the one that
    was behind has reached what the other one had at the first look.
    """
    found = kind(live, candidate)
    if found is None or covered >= max(live.version, candidate.version):
        return found
    if live.version == candidate.version:
        return found  # a version stands for one content: they make different things of it
    behind, wanted = (
        (live, first.candidate) if first.live.version < first.candidate.version else (candidate, first.live)
    )
    return None if behind.version >= wanted.version else "on its way"


def overlap(one: Sequence[str], other: Sequence[str]) -> float | None:
    """The share of documents that both found; None where neither found any, which says nothing of either."""
    most = max(len(one), len(other))
    return len({*one} & {*other}) / most if most else None


def recall(found: Sequence[str], expected: Sequence[str], k: int) -> float | None:
    """The share of the expected documents (of k of them, if there are more) that were found."""
    wanted = {*expected}
    return len(wanted & {*found[:k]}) / min(len(wanted), k) if wanted else None


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def latency(milliseconds: Sequence[float]) -> Latency | None:
    """None without any."""
    if not milliseconds:
        return None
    ranked = sorted(milliseconds)
    return Latency(ranked[(len(ranked) - 1) // 2], ranked[min(len(ranked) - 1, int(len(ranked) * 0.95))])
