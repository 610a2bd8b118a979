"""The requests that this process has in flight, each in the thread of its event loop: none outlives who asked for it."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
ABORT_S = 30.0
"""So long Ctrl-C waits for the abort of an upload."""


class InFlight:
    """Requests under way, which can be given up all at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_over = False
        self._ends: dict[threading.Event, Future[Any]] = {}

    def run(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
        """Its result. What interrupts us interrupts it too: it would go on and commit otherwise."""
        ended = threading.Event()

        async def told() -> T:
            try:
                return await work
            finally:
                with self._lock:
                    del self._ends[ended]
                ended.set()

        with self._lock:
            if not self._is_over:
                future = asyncio.run_coroutine_threadsafe(told(), loop)
                self._ends[ended] = future
        self._stay_if_over()
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                ended.wait(ABORT_S)
            self._stay_if_over()
            raise

    def give_up(self, timeout_s: float) -> None:
        """Cancel them all, which aborts uploads, and wait until they have ended: this process ends. Who asked stays where it is."""
        with self._lock:
            self._is_over = True
            ends = dict(self._ends)
        for future in ends.values():
            future.cancel()
        until = time.monotonic() + timeout_s
        for ended in ends:
            ended.wait(max(0.0, until - time.monotonic()))

    def _stay_if_over(self) -> None:
        while self._is_over:
            time.sleep(1)


IN_FLIGHT = InFlight()
"""Those of this process."""
