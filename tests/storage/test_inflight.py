"""Requests in flight: given up together, waited for, and none begun after."""

import asyncio
import threading
import time

from fsspec.asyn import get_loop

from shardpipe.storage.inflight import InFlight

ABORT_S = 0.2


def test_all_have_ended_and_who_asked_hears_nothing() -> None:
    flights, begun = InFlight(), threading.Semaphore(0)
    aborted: list[int] = []
    returned: list[int] = []

    async def request(number: int) -> None:
        try:
            begun.release()
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(ABORT_S)
            aborted.append(number)

    def ask(number: int) -> None:
        flights.run(request(number), get_loop())
        returned.append(number)

    def start(number: int) -> None:
        threading.Thread(target=ask, args=(number,), daemon=True).start()

    for number in range(3):
        start(number)
        assert begun.acquire(timeout=60)
    flights.give_up(60)
    assert sorted(aborted) == [0, 1, 2]
    start(3)
    assert not begun.acquire(timeout=0.5)
    assert returned == []


def test_what_hangs_is_waited_for_no_longer_than_asked() -> None:
    flights, begun, released = InFlight(), threading.Event(), threading.Event()

    async def request() -> None:
        begun.set()
        while not released.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue

    threading.Thread(target=flights.run, args=(request(), get_loop()), daemon=True).start()
    assert begun.wait(60)
    began_s = time.monotonic()
    flights.give_up(0.1)
    assert time.monotonic() - began_s < 30
    released.set()


def test_an_end_leaves_nothing_to_give_up() -> None:
    flights = InFlight()

    async def answer() -> int:
        return 7

    assert flights.run(answer(), get_loop()) == 7
    assert flights._ends == {}
