"""Ctrl-C and what else stops a run belong to the driver: workers never see them, and it ends once however often it is told."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

SAME_S = 1.0
"""A signal so soon after another is the same one: `timeout` sends each twice."""

AGAIN_S = 0.05


def stop_on_signals() -> None:
    """A scheduler's SIGTERM and a lost terminal end a command as cleanly as Ctrl-C; a second one ends it at once."""
    last_s = float("-inf")
    others = sys.unraisablehook

    def stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001  a signal handler's arguments
        nonlocal last_s
        if (now_s := time.monotonic()) - last_s > SAME_S:
            last_s = now_s
            raise KeyboardInterrupt

    def again(dropped: "sys.UnraisableHookArgs") -> None:
        """It came up in a callback of C code or in a `__del__`, which drop it: once more, a moment later."""
        nonlocal last_s
        if dropped.exc_type is not KeyboardInterrupt:
            others(dropped)
            return
        last_s = float("-inf")
        threading.Timer(AGAIN_S, signal.pthread_kill, (threading.main_thread().ident, signal.SIGTERM)).start()

    sys.unraisablehook = again
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if (
            each is signal.SIGTERM or signal.getsignal(each) is not signal.SIG_IGN
        ):  # what nohup or `&` started is to go on
            signal.signal(each, stop)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """A process spawned here never sees Ctrl-C, not even while it imports; this one sees it a moment later."""
    resource_tracker.ensure_running()  # starting it later would let interrupts through again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
