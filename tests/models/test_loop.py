"""An asyncio loop in a thread."""

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest

from shardpipe.models.generate.loop import LoopThread


async def echo(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_coroutines_of_any_thread_have_their_results() -> None:
    loop = LoopThread("test")
    assert [loop.submit(echo(i)).result() for i in range(3)] == [0, 1, 2]
    loop.close()


def test_close_cancels_what_runs_and_then_ends_the_thread() -> None:
    ended: list[str] = []

    async def note_end() -> None:
        ended.append("end")

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    loop = LoopThread("close test", note_end)
    future = loop.submit(forever())
    loop.submit(echo(1)).result()
    loop.close()
    loop.close()
    with pytest.raises(CancelledError):
        future.result(timeout=1)
    assert ended == ["cancelled", "end"]
    assert "close test" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(RuntimeError, match="close test is closed"):
        loop.submit(echo(1))


def test_a_cancelled_future_cancels_its_coroutine() -> None:
    was_cancelled = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            was_cancelled.set()
            raise

    loop = LoopThread("test")
    future = loop.submit(forever())
    loop.submit(echo(1)).result()
    future.cancel()
    assert was_cancelled.wait(5)
    loop.close()
