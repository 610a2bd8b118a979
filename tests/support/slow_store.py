"""A store as far away as S3: each request takes its time, a listing one request for each thousand objects. Requests are counted."""

import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.store import Store

T = TypeVar("T")
PAGE = 1000  # objects in one answer of a listing


class SlowStore(RecordingStore):
    """Over another store. `requests` counts them by kind, `reads` those of each object that read any of it; `in_flight` is how many
    there were at once at most.
    """

    def __init__(self, inner: Store, *, request_s: float = 0.02) -> None:
        super().__init__(inner)
        self.requests: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.in_flight = 0
        self._request_s = request_s
        self._now = 0

    def _reach(self, name: str, path: str, act: Callable[[], T], *, count: Callable[[T], int] | None = None) -> T:
        with self._mutex:
            self._now += 1
            self.in_flight = max(self.in_flight, self._now)
        try:
            result = act()
            num = 1 + len(result) // PAGE if isinstance(result, dict) else 1
            time.sleep(num * self._request_s)
        finally:
            with self._mutex:
                self._now -= 1
        with self._mutex:
            self.requests["list" if isinstance(result, dict) else name] += num
            self.reads[path] += name in ("read", "read_range")
        return result
