"""An asyncio loop in a thread of its own, for engines that are asynchronous under a pass that is not."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

Made = TypeVar("Made")


async def nothing() -> None:
    """What ends a loop that has nothing to put away."""


class LoopThread:
    """Runs coroutines, from whichever thread they are submitted. `at_end` is run in the loop, as the last thing there."""

    def __init__(self, name: str, at_end: Callable[[], Awaitable[None]] = nothing) -> None:
        self._at_end = at_end
        self._stop = asyncio.Event()
        self._lock = threading.Lock()
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._started.wait()

    def submit(self, coroutine: Coroutine[Any, Any, Made]) -> "Future[Made]":
        """Begin with it; what it returns or raises is the future's, and cancelling the future cancels it.

        RuntimeError after `close`.
        """
        with self._lock:
            if self._is_closed or self._loop is None:
                coroutine.close()
                raise RuntimeError(f"{self._thread.name} is closed")
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        """Cancel all that is not finished, run `at_end`, and end the thread. A second call does nothing."""
        with self._lock:
            if not self._is_closed and self._loop is not None:
                self._is_closed = True
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started.set()
        await self._stop.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._at_end()
