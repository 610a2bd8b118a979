"""OpenCV on one thread for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs OpenCV on one thread inside the block, then as before: DIS flow differs with the number of threads, since
    each thread searches a stripe of its own, and a worker has one core.
    """
    before = cv2.getNumThreads()
    if before == 1:
        yield
        return
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
