"""Two generations compared: every difference is found, and what is only on its way is none."""

import uuid
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from embed.model import Covered, Manifest
from retrieve.compare import (
    ABSENT,
    Stand,
    Suspect,
    judged,
    kind,
    latency,
    merged,
    overlap,
    reach,
    recall,
    stand_of,
    suspect,
)

few = settings(max_examples=150, deadline=None)
stored = st.builds(Stand, st.booleans(), st.integers(0, 6))
stands = st.one_of(st.just(ABSENT), stored)


def manifest(number: int, stand: Stand) -> Manifest:
    return Manifest(
        id=uuid.UUID(int=number),
        document="articles",
        key=str(number),
        canonical=b"",
        version=stand.version,
        tenant=None,
        groups=None,
        deleted=not stand.shown,
        chunks=(),
        title="",
        url=None,
        position="",
        committed_at=0,
        fingerprint="",
    )


def shown(rows: Mapping[int, Stand]) -> list[Manifest]:
    """As a scroll gives them."""
    return [manifest(number, stand) for number, stand in sorted(rows.items()) if stand.shown]


rows = st.dictionaries(st.integers(0, 30), stored)


@few
@given(rows, rows)
def test_a_merge_shows_every_row_once_and_finds_exactly_what_differs(
    live: dict[int, Stand], candidate: dict[int, Stand]
) -> None:
    pairs = list(merged(shown(live), shown(candidate)))
    ids = [(one or other).id for one, other in pairs if (one or other) is not None]  # type: ignore[union-attr]
    assert ids == sorted({m.id for m in [*shown(live), *shown(candidate)]})
    found = {s.key for one, other in pairs if (s := suspect(one, other)) is not None}
    expected = {
        str(number)
        for number in live.keys() | candidate.keys()
        if kind(live.get(number, ABSENT), candidate.get(number, ABSENT)) is not None
    }
    assert found == expected


@few
@given(st.lists(st.integers(1, 9), max_size=8), st.data())
def test_a_log_that_both_follow_never_ends_in_a_difference(edits: list[int], data: st.DataObject) -> None:
    """One row's history; each side has applied some of it at the first look and no less at the second."""
    history = [Stand(shown=edit > 3, version=version) for version, edit in enumerate(edits)]

    def at(applied: int) -> Stand:
        return history[applied - 1] if applied else ABSENT

    count = st.integers(0, len(history))
    first = [data.draw(count) for _ in range(2)]
    second = [data.draw(st.integers(one, len(history))) for one in first]
    seen = Suspect(uuid.UUID(int=1), "1", at(first[0]), at(first[1]))
    covered = min(second) - 1  # everything up to the version of the one that is behind
    if kind(seen.live, seen.candidate) is None:
        return
    verdict = judged(seen, at(second[0]), at(second[1]), covered)
    if second[0] == second[1]:
        assert verdict is None
    if min(second) >= max(first):  # the one behind has reached what the other had
        assert verdict is None
    assert verdict in (None, "on its way")


@few
@given(stands, stands, st.integers(-1, 8))
def test_what_both_have_covered_and_hold_otherwise_is_a_difference(
    live: Stand, candidate: Stand, covered: int
) -> None:
    seen = Suspect(uuid.UUID(int=1), "1", live, candidate)
    verdict = judged(seen, live, candidate, covered)
    if covered >= max(live.version, candidate.version):
        assert verdict == kind(live, candidate)
    elif kind(live, candidate) is not None and live.version != candidate.version:
        assert verdict == "on its way"


def mark(partition: int, version: int) -> Covered:
    return Covered("shop.state", partition, 1, version, "", 0)


def test_reach_is_the_least_of_all_partitions_of_both() -> None:
    assert reach([mark(0, 5), mark(1, 9)], [mark(0, 7), mark(1, 4)]) == 4
    assert reach([mark(0, 5), mark(1, 9)], [mark(0, 7)]) == -1
    assert reach([], []) == -1


def test_stands_of_manifests() -> None:
    assert stand_of(None) == ABSENT
    assert stand_of(manifest(1, Stand(shown=False, version=3))) == Stand(shown=False, version=3)


keys = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


@few
@given(keys, keys)
def test_overlap_is_a_symmetric_share_of_what_was_found(one: list[str], other: list[str]) -> None:
    share = overlap(one, other)
    assert share == overlap(other, one)
    if share is None:
        assert one == other == []
        return
    assert 0.0 <= share <= 1.0
    assert (share == 1.0) == ({*one} == {*other})


@few
@given(keys, keys, st.integers(1, 8))
def test_recall_counts_at_most_k(found: list[str], expected: list[str], k: int) -> None:
    share = recall(found, expected, k)
    if not expected:
        assert share is None
        return
    assert share is not None
    assert 0.0 <= share <= 1.0
    assert recall(expected, expected, k) == 1.0
    assert (share == 0.0) == ({*found[:k]}.isdisjoint(expected))


def test_latency_is_of_those_that_were_measured() -> None:
    assert latency([]) is None
    found = latency([float(one) for one in range(1, 101)])
    assert found is not None
    assert (found.p50_ms, found.p95_ms) == (50.0, 96.0)
    only = latency([7.0])
    assert only is not None
    assert (only.p50_ms, only.p95_ms) == (7.0, 7.0)
