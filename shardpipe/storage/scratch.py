"""Scratch folders under a local root's `.tmp`, and the removal of those whose process is dead.

A process owns `.tmp/HOST-PID-RANDOM` as long as it holds a lock on `.tmp/HOST-PID-RANDOM.lock`. The kernel drops the
lock when the process dies, however it dies: so neither a reused pid nor another container's can be mistaken for it,
and a living process never loses its folder.
"""

import fcntl
import os
import shutil
import socket
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

LOCK = ".lock"


class Scratch:
    """The folder of this process under `base`: made when first asked for, removed with this object or at exit."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._mutex = threading.Lock()
        self._owner = 0  # the pid that made `_folder`: a forked child makes its own
        self._folder = base

    def folder(self) -> Path:
        """The folder; raises OSError where it cannot be made."""
        with self._mutex:
            if self._owner != os.getpid() or not self._folder.is_dir():
                self._folder, fd = _claim(self._base)
                self._owner = os.getpid()
                weakref.finalize(self, _release, self._folder, fd, self._owner)
            return self._folder


def leftovers(base: Path) -> list[Path]:
    """The scratch folders of dead processes under `base`, sorted; nothing is changed."""
    found = []
    for name in sorted(_names(base)):
        lock = base / f"{name}{LOCK}"
        fd = _try_lock(lock, os.O_RDWR)
        if fd is not None:
            os.close(fd)
        if fd is not None or not lock.exists():
            found.append(base / name)
    return found


def remove_leftovers(base: Path) -> None:
    """Remove the scratch folders of dead processes under `base`; the living and the unknowable stay."""
    for name in _names(base):
        lock = base / f"{name}{LOCK}"
        fd = _try_lock(lock, os.O_RDWR | os.O_CREAT)
        if fd is None:
            continue
        try:
            shutil.rmtree(base / name, ignore_errors=True)
            lock.unlink(missing_ok=True)  # last, and while we hold it: `_claim` notices that its file is gone
        except OSError:
            continue  # a root we may not write to: the first write will say so
        finally:
            os.close(fd)


def _names(base: Path) -> set[str]:
    try:
        return {entry.name.removesuffix(LOCK) for entry in os.scandir(base)}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _claim(base: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor whose lock makes it ours until this process dies."""
    base.mkdir(parents=True, exist_ok=True)
    host = "".join(c if c.isalnum() or c in "-_" else "_" for c in socket.gethostname())
    while True:
        folder = base / f"{host}-{os.getpid()}-{uuid4().hex[:12]}"
        lock = base / f"{folder.name}{LOCK}"
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        # Where the file system has no locks, nobody can take ours for dead either: leftovers stay there.
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:  # else a cleaner came between open and lock
            folder.mkdir()
            return folder, fd
        os.close(fd)


def _release(folder: Path, fd: int, owner: int) -> None:
    """Remove the folder, unless we are a fork of its owner."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # at exit: nobody is left to be told
            folder.with_name(f"{folder.name}{LOCK}").unlink(missing_ok=True)
    os.close(fd)


def _try_lock(lock: Path, flags: int) -> int | None:
    """A descriptor that holds the lock, if nobody else does."""
    try:
        fd = os.open(lock, flags | os.O_CLOEXEC, 0o666)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd
