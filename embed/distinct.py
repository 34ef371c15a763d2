"""How many different things there are, from how many were met once, twice and thrice. Pure."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Counts: TypeAlias = NDArray[np.float64]
Column: TypeAlias = NDArray[np.int64]


def unmet(once: float, twice: float, thrice: float, share: float) -> float:
    """How many things were not met in `share` of the windows, if so many were met in one, two, three.

    Some are taken to stand in one window, the others in `copies`: the numbers met twice and thrice give
    `copies`, and those met once the rest. Exact in expectation where that is so, as where rows have one
    record or two. What stands in very many windows was met, and adds nothing. Where the rest would be
    negative, for things repeat in every number, the lower bound of Chao (1987) is given.
    """
    rest = 1 - share
    if rest <= 0 or once <= 0:
        return 0.0
    if twice <= 0:
        return once / share * rest
    copies = 2 + 3 * rest / share * thrice / twice
    several = twice / (copies * (copies - 1) / 2 * share**2 * rest ** (copies - 2))
    single = once / share - copies * rest ** (copies - 1) * several
    if single >= 0:
        return float(single * rest + several * rest**copies)
    return float(once**2 / (2 * twice + share / rest * once))


class Distinct:
    """How many different things all `of` windows hold, if `ids` were met in `windows` of the first `read`.

    `ids` from 0, each once a window. `doubt` is the standard deviation that the number of those met
    twice brings with it: few of them stand for many, and they come in clumps, as the texts of one row do.
    `weights`, one for each id, are summed likewise.
    """

    def __init__(
        self,
        ids: Column,
        windows: Column,
        read: int,
        of: int,
        weights: Counts | None = None,
        clump: float = 1.0,
    ) -> None:
        counts = np.bincount(ids)
        met = int(np.count_nonzero(counts))
        once, twice, thrice = (int(np.count_nonzero(counts == times)) for times in (1, 2, 3))
        share = min(read / of, 1.0) if of else 1.0
        self._windows, self._read = windows, read
        self._weights = np.ones(ids.size) if weights is None else weights[ids]
        missed = unmet(once, twice, thrice, share)
        part = min(1.0, (clump / twice) ** 0.5) if twice else 0.0
        more, less = (unmet(once, twice * by, thrice * by, share) for by in (1 + part, 1 - part))
        # What was not met is rare, as what was met once is.
        each = 1.0 if weights is None or not once else float(weights[: counts.size][counts == 1].mean())
        self.count = met + missed
        self.weight = self.count if weights is None else float(weights[: counts.size].sum()) + missed * each
        self.doubt = abs(less - more) / 2 * each

    def among(self, keep: NDArray[np.bool_]) -> float:
        """The weight, if only these windows had been read and things repeated as much in them."""
        every = float(self._weights.sum())
        if not every:
            return self.weight
        kept = float(self._weights[keep[self._windows]].sum())
        return self.weight * kept / every * self._read / max(int(keep[: self._read].sum()), 1)
