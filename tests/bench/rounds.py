"""Rounds of a comparison, and how quiet the machine was meanwhile."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from tests.bench.encoder import OTHERS, busy_seconds

T = TypeVar("T")

SPARE: Final = 4
"""Rounds that are repeated at most, because others took more than their share."""


@dataclass(frozen=True, slots=True)
class Rounds(Generic[T]):
    """What the rounds gave. `noisy` of them ran while others worked too: spare ones were used up."""

    results: list[T]
    repeated: int
    noisy: int


def own_seconds() -> float:
    """CPU of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def others_share(act: Callable[[], T]) -> tuple[T, float]:
    """The share of the machine that other processes took while `act` ran."""
    wall, busy, used = time.perf_counter(), busy_seconds(), own_seconds()
    result = act()
    elapsed = max(time.perf_counter() - wall, 0.01)
    others = busy_seconds() - busy - (own_seconds() - used)
    return result, max(0.0, others / (elapsed * (os.cpu_count() or 1)))


def quiet_rounds(one: Callable[[int], T], rounds: int) -> Rounds[T]:
    """`one(number)` plays a whole round, A and then B; the first warms up and does not count."""
    one(0)
    results: list[T] = []
    spare = SPARE
    noisy = number = 0
    while len(results) < rounds:
        number += 1
        result, others = others_share(lambda: one(number))  # noqa: B023 - called at once
        if others > OTHERS and spare:
            spare -= 1
            continue
        noisy += others > OTHERS
        results.append(result)
    return Rounds(results, SPARE - spare, noisy)
