"""Reciprocal rank fusion."""

import pytest

from retrieve.fusion import fuse


def test_scores_are_sums_of_reciprocal_ranks() -> None:
    fused = dict(fuse([["a", "b"], ["b", "c"]]))
    assert fused == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62})


def test_what_both_find_comes_first_and_ties_keep_the_order_given() -> None:
    assert [item for item, _ in fuse([["a", "b", "c"], ["c", "d"]])] == ["c", "a", "b", "d"]


def test_an_item_counts_once_in_each_ranking() -> None:
    assert fuse([["a", "a", "b"]]) == fuse([["a", "b"]])


def test_nothing_gives_nothing() -> None:
    assert fuse([]) == fuse([[], []]) == []
