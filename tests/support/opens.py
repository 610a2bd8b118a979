"""Which watched files were opened, by anyone in any process, as the kernel tells (inotify)."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_OPEN = 0x20
IN_NONBLOCK = os.O_NONBLOCK


class Watch:
    """Says whether a file was opened since the watch began."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def opened(self) -> bool:
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False


@contextmanager
def watching(path: Path) -> Iterator[Watch]:
    """Watch one file."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(IN_NONBLOCK)
    if fd < 0 or libc.inotify_add_watch(fd, str(path).encode(), IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    try:
        yield Watch(fd)
    finally:
        os.close(fd)
