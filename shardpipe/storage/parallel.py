"""Many requests at once: what takes a store 20 ms each is done in parallel, by so many threads as the store serves well."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from shardpipe.storage.remote import CONNECTIONS
from shardpipe.storage.store import Store

S = TypeVar("S")
T = TypeVar("T")

DISK_READERS = 8
"""On a local disk the threads wait for the interpreter, not for the disk."""


def num_readers(store: Store) -> int:
    """How many objects of this store to read at once."""
    return CONNECTIONS if store.local_path("any") is None else DISK_READERS


def for_each(items: Iterable[S], act: Callable[[S], object], *, at_once: int) -> None:
    """Do it with each item, so many at once, in any order. The first error ends it, and is raised."""
    left = deque(items)
    if not left:
        return

    def work() -> None:
        try:
            while left:
                try:
                    item = left.popleft()
                except IndexError:  # another thread took the last
                    return
                act(item)
        except BaseException:
            left.clear()
            raise

    num_workers = min(at_once, len(left))
    pool = ThreadPoolExecutor(num_workers)
    try:
        for future in [pool.submit(work) for _ in range(num_workers)]:
            future.result()
    except BaseException as error:
        left.clear()
        pool.shutdown(
            wait=isinstance(error, Exception), cancel_futures=True
        )  # Ctrl-C does not wait for what is in flight
        raise
    pool.shutdown()


def in_order(items: Iterable[S], act: Callable[[S], T], *, at_once: int) -> Generator[tuple[S, Future[T]]]:
    """Each item, in order, with its result to be; so many are worked on ahead of the one that is taken."""
    ahead: deque[tuple[S, Future[T]]] = deque()
    pool = ThreadPoolExecutor(at_once)
    try:
        for item in items:
            ahead.append((item, pool.submit(act, item)))
            if len(ahead) > at_once:
                yield ahead.popleft()
        yield from ahead
    finally:
        pool.shutdown(cancel_futures=True)
