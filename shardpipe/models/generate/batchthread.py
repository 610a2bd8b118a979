"""A thread that answers what waits in batches of one kind."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


class BatchThread(Generic[Item, Made]):
    """Takes the item that has waited longest with others of its `kind`, in their order, at most `most` at a time.

    work: gives a result or an exception for each item of a batch; what it raises is the exception of all of them.
    `most` may be lowered at any time.
    """

    def __init__(
        self,
        name: str,
        most: int,
        *,
        kind: Callable[[Item], Hashable],
        work: Callable[[Sequence[Item]], "Sequence[Made | Exception]"],
    ) -> None:
        self.most = most
        self._kind, self._work = kind, work
        self._waiting: deque[tuple[Item, Future[Made]]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> "Future[Made]":
        """Let an item wait. RuntimeError after `close`."""
        future: Future[Made] = Future()
        with self._changed:
            if self._is_closed:
                raise RuntimeError(f"{self._thread.name} is closed")
            self._waiting.append((item, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Cancel what waits, and end the thread after the batch that it is at, whose items are cancelled too."""
        with self._changed:
            self._is_closed = True
            for _, future in self._waiting:
                future.cancel()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            items = [item for item, _ in batch]
            try:
                made: Sequence[Made | Exception] = self._work(items)
            except Exception as error:  # noqa: BLE001  it is theirs who wait
                made = [error] * len(items)
            for (_, future), result in zip(batch, made, strict=True):
                _settle(future, result, is_closed=self._is_closed)

    def _next(self) -> "list[tuple[Item, Future[Made]]]":
        """The next batch; empty once the thread is closed."""
        with self._changed:
            while True:
                self._waiting = deque(each for each in self._waiting if not each[1].cancelled())
                if self._is_closed:
                    return []
                if self._waiting:
                    break
                self._changed.wait()
            kind = self._kind(self._waiting[0][0])
            batch = [each for each in self._waiting if self._kind(each[0]) == kind][: self.most]
            taken = {id(future) for _, future in batch}
            self._waiting = deque(each for each in self._waiting if id(each[1]) not in taken)
            return batch


def _settle(future: "Future[Made]", result: "Made | Exception", *, is_closed: bool) -> None:
    if is_closed:
        future.cancel()
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
