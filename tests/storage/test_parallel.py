"""Many things at once: all are done, few at a time, and an error ends it."""

import threading
import time

import pytest

from shardpipe.storage.parallel import for_each, in_order


class Gauge:
    """How many are inside at once at most, and who came."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.came: list[int] = []
        self._mutex = threading.Lock()

    def pass_through(self, i: int) -> int:
        with self._mutex:
            self.came.append(i)
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.01)
        with self._mutex:
            self.inside -= 1
        if i == 13:
            raise ValueError(i)
        return i


def test_each_once_and_few_at_a_time() -> None:
    gauge = Gauge()
    for_each(range(100, 140), gauge.pass_through, at_once=4)
    assert (sorted(gauge.came), gauge.most) == (list(range(100, 140)), 4)
    for_each([], gauge.pass_through, at_once=4)


def test_the_first_error_ends_it() -> None:
    gauge = Gauge()
    with pytest.raises(ValueError, match="13"):
        for_each(range(1000), gauge.pass_through, at_once=4)
    assert len(gauge.came) < 30


def test_in_order_works_ahead_and_no_further() -> None:
    gauge = Gauge()
    found = in_order(range(20, 1000), gauge.pass_through, at_once=4)
    assert [next(found)[1].result() for _ in range(3)] == [20, 21, 22]
    found.close()
    assert gauge.most <= 4
    assert len(gauge.came) < 20
