"""Ctrl-C belongs to the executor: workers never see it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interrupts_held() -> Iterator[None]:
    """A process spawned here never sees Ctrl-C, not even while it imports; this one sees it a moment later."""
    resource_tracker.ensure_running()  # starting it later would let interrupts through again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
