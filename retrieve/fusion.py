"""Reciprocal rank fusion: several rankings become one, by rank alone. Pure.

Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
Learning Methods" (SIGIR 2009): score = sum over rankings of 1 / (k + rank), with k = 60.
"""

from collections.abc import Hashable, Sequence
from typing import Final, TypeVar

K: Final = 60

Item = TypeVar("Item", bound=Hashable)


def fuse(rankings: Sequence[Sequence[Item]]) -> list[tuple[Item, float]]:
    """Items and fused scores, best first; ranks count from 1, an item counts once in each ranking.

    Equal scores keep the order of first appearance: rankings given first win ties.
    """
    scores: dict[Item, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(dict.fromkeys(ranking), start=1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (K + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])
