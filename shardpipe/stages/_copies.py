"""Equal values among many: for each place the first one with the same value, and how many came before it."""

import numpy as np
from numpy.typing import NDArray

NOTHING = 0


class Copies:
    """Values by place, as uint64 [N] of their digests, NOTHING for none. Holds 9 bytes a value, and 40 while it is made."""

    def __init__(self, digests: NDArray[np.uint64]) -> None:
        num = len(digests)
        kind = np.min_scalar_type(num)  # uint32, up to four thousand million
        order = np.argsort(digests, kind="stable").astype(kind)
        ordered = digests[order]
        new = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        del ordered
        start = np.zeros(num, kind)  # of the run of equal values that each stands in
        start[new] = new
        del new
        np.maximum.accumulate(start, out=start)
        self._has_value = digests != NOTHING
        self._first = np.empty(num, kind)
        self._before = np.empty(num, kind)
        self._first[order] = order[start]
        self._before[order] = np.arange(num, dtype=kind) - start

    def of(self, place: int) -> tuple[int, int] | None:
        """The first place that has this one's value, and how many before this one have it; None where there is no value."""
        return (int(self._first[place]), int(self._before[place])) if self._has_value[place] else None
