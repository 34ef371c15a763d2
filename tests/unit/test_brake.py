"""When refused records are a bad set-up, and when they are just bad records."""

import pytest

from core.errors import ConfigurationError
from ingest.brake import Brake


def stops(brake: Brake, refused: int, of: int) -> bool:
    try:
        brake.judge(refused, of, "topic", ValueError("why"))
    except ConfigurationError:
        return True
    brake.count(refused, of)
    return False


@pytest.mark.parametrize(
    ("share", "batches", "expected"),
    [
        (0.5, [(99, 99)], [False]),  # too few to judge by
        (0.5, [(100, 100)], [True]),
        (0.5, [(1, 1)] * 101, [False] * 99 + [True, True]),
        (0.5, [(94, 100)], [False]),
        (0.5, [(96, 100)], [True]),
        (0.5, [(0, 900), (400, 400), (100, 100), (1, 1)], [False, False, False, True]),
        (0.1, [(0, 900), (100, 500), (1, 500)], [False, False, True]),
        (0.99, [(0, 20), (980, 980)], [False, False]),
        (0.99, [(995, 1000)], [True]),
        (1.0, [(1000, 1000)] * 3, [False] * 3),  # never
        (0.5, [(0, 0), (0, 1000)], [False, False]),
        (0.5, [(500, 1000), (0, 0)], [False, False]),
    ],
)
def test_share_of_a_window(share: float, batches: list[tuple[int, int]], expected: list[bool]) -> None:
    brake = Brake(share, "the set-up")
    assert [stops(brake, refused, of) for refused, of in batches] == expected


def test_a_batch_that_is_tried_again_counts_once() -> None:
    brake = Brake(0.5, "the set-up")
    for _ in range(1000):
        brake.judge(1, 1, "topic", None)
    assert not stops(brake, 1, 1)


def test_it_says_where_what_and_why() -> None:
    with pytest.raises(ConfigurationError, match=r"shop\.a: 200 of the last 200 .*\(the text\).*: no column"):
        Brake(0.5, "the text").judge(200, 200, "shop.a", ValueError("no column"))
