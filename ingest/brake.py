"""Tells bad records, which are set aside one by one, from a bad set-up, which must stop.

A wrong setting refuses every record. Setting them all aside would acknowledge the whole topic away, a
batch at each start where a supervisor starts it again.
"""

from collections import deque
from typing import Final

from core.errors import ConfigurationError

WINDOW: Final = 1000
"""Records over which the share of refused ones is taken (see settings: poison_share)."""

FEWEST_TO_JUDGE: Final = 100

NEARLY_ALL: Final = 0.95
"""Of the records since the start, where they are fewer than the window: so much no accident refuses."""


class Brake:
    """Of one stage of one table or document. `judge` before a batch is set aside, `count` once it is.

    `share`: of the last 1,000 records, the most that may be refused. `cure`: what to look at.
    """

    def __init__(self, share: float, cure: str) -> None:
        self._share, self._cure = share, cure
        self._refused: deque[bool] = deque(maxlen=WINDOW)

    def judge(self, refused: int, of: int, where: str, why: Exception | None) -> None:
        """Raises ConfigurationError where going on would lose more than it saves. `why`: of one of them."""
        recent = deque(self._refused, WINDOW)
        recent.extend(_marks(refused, of))
        bad, seen = sum(recent), len(recent)
        too_many = bad > max(FEWEST_TO_JUDGE, self._share * WINDOW)
        nearly_all = seen >= FEWEST_TO_JUDGE and bad > max(NEARLY_ALL, self._share) * seen
        if refused and (too_many or nearly_all):
            raise ConfigurationError(
                f"{where}: {bad} of the last {seen} records could not be applied: that is no bad record but a"
                f" bad set-up ({self._cure}). The last one: {str(why)[:300]}. This batch was not"
                " acknowledged; correct the settings and start again"
            )

    def count(self, refused: int, of: int) -> None:
        """This batch is done."""
        self._refused.extend(_marks(refused, of))


def _marks(refused: int, of: int) -> list[bool]:
    return [True] * refused + [False] * (of - refused)
