"""Scratch folders of processes under one folder (`.tmp` of a local root, or any), bounded together, removed once their process is dead.

    BASE/HOST-PID-RANDOM.lock        held by the process that owns HOST-PID-RANDOM, as long as it lives
    BASE/HOST-PID-RANDOM/UNIT/       what is built for one unit
    BASE/HOST-PID-RANDOM/UNIT.bytes  how many bytes it may take, where there is a limit: counted as long as UNIT/ is there
    BASE/.limit                      held while bytes are counted and taken

The kernel drops a lock when its process dies, however it dies: so neither a reused pid nor another container's can be mistaken
for it, and a living process never loses its folder. Nor need anybody give bytes back: they go with the folder. Whatever else lies in
BASE is somebody else's: only a folder of such a name whose lock is there, and which nobody holds, is ever removed.
"""

import errno
import fcntl
import logging
import math
import os
import re
import shutil
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from shardpipe.core.errors import ConfigError, IncompleteError, StoreError
from shardpipe.storage.scratchbytes import limit_of, taken

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
CLOSED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS})
NAME = re.compile(r"[\w-]*-[0-9]+-[0-9a-f]{12}", re.ASCII)
LOCK = ".lock"
LONGEST_PAUSE_S = 1.0
GROW_WAIT_S = 30.0
"""So long a unit that holds scratch waits for more: longer, and two might wait for each other."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScratchSettings:
    """folder: where scratch lies; None: `.tmp` of a local root, else a folder of the user's below the system's temporary one.
    max_bytes: what all processes that use that folder with a limit may take at once; None: no limit.
    """

    folder: Path | None = None
    max_bytes: int | None = None

    def base(self, default: Path | None = None) -> Path:
        """The folder; `default` where none is named."""
        found = self.folder or default
        return Path(tempfile.gettempdir()) / f"shardpipe-{os.getuid()}" if found is None else found


class Scratch:
    """The folder of this process under `base`: made when first asked for, removed with this object or at exit."""

    def __init__(self, base: Path, *, max_bytes: int | None = None) -> None:
        self.base = base
        self._max_bytes = max_bytes
        self._mutex = threading.Lock()
        self._owner = 0  # the pid that made `_folder`: a forked child makes its own
        self._folder = base

    def folder(self) -> Path:
        """The folder; raises OSError where it cannot be made."""
        with self._mutex:
            if self._owner != os.getpid() or not self._folder.is_dir():
                self._folder, fd = _claim(self.base)
                self._owner = os.getpid()
                weakref.finalize(self, _release, self._folder, fd, self._owner)
            return self._folder

    def new(self, num_bytes: int = 0, *, is_guess: bool = False, stopped: threading.Event | None = None) -> Path:
        """A new empty folder in it, once so many bytes are free under the limit; they are taken until the folder is removed.

        is_guess: if the limit is less than that, all of it will do. stopped: ends the wait, with IncompleteError. StoreError where
        the limit is less otherwise, and where the disk is full; ConfigError where nothing can be written.
        """
        with _told(self.base):
            path = self.folder() / uuid4().hex
            if self._max_bytes is None:
                path.mkdir()
            else:
                wanted = min(num_bytes, self._max_bytes) if is_guess else num_bytes
                _take(path, wanted, self._max_bytes, stopped=stopped)
        return path


def full(folder: Path, error: OSError) -> StoreError:
    """The error of a scratch folder whose disk is full."""
    return StoreError(
        f"the disk of the scratch folder {folder} is full, or over quota ({error}). Nothing was lost: what is committed is whole. "
        "Free some space, or give execute.scratch another folder, and run again"
    )


@contextmanager
def _told(base: Path) -> Iterator[None]:
    """Raise the disk's errors in words."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise full(base, error) from error
        if error.errno in CLOSED:
            raise ConfigError(
                f"nothing can be written in {base} ({error.strerror}: {error.filename}): give execute.scratch another folder"
            ) from error
        raise StoreError(f"scratch in {base}: {error.strerror or error}") from error


def grow(folder: Path, num_bytes: int) -> None:
    """Let a folder that `Scratch.new` gave take so many bytes in all; StoreError where the limit, or others, leave no room for it."""
    base = folder.parent.parent
    with _told(base):
        if (found := limit_of(folder)) is None:
            return
        held, max_bytes = found
        more = min(max_bytes, max(num_bytes, held * 5 // 4))
        if num_bytes > held and not (more > num_bytes and _taken(folder, more, max_bytes)):
            _take(folder, num_bytes, max_bytes, wait_s=GROW_WAIT_S)


def leftovers(base: Path) -> list[Path]:
    """The scratch folders of dead processes under `base`, sorted; nothing is changed."""
    found = []
    for name in sorted(_names(base)):
        fd = _try_lock(base / f"{name}{LOCK}")
        if fd is not None:
            os.close(fd)
            found.append(base / name)
    return found


def remove_leftovers(base: Path) -> None:
    """Remove the scratch folders of dead processes under `base`; the living and the unknowable stay."""
    for name in _names(base):
        fd = _try_lock(base / f"{name}{LOCK}")
        if fd is not None:
            _remove(base / name)
            os.close(fd)


def _names(base: Path) -> set[str]:
    """The folders of processes: those with a lock. None in a folder of our name that is another user's."""
    if _is_anothers(base):
        return set()
    try:
        names = [entry.name for entry in os.scandir(base)]
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {
        name.removesuffix(LOCK) for name in names if name.endswith(LOCK) and NAME.fullmatch(name.removesuffix(LOCK))
    }


def _is_anothers(base: Path) -> bool:
    """Whether the folder of our name below the system's temporary one was made by somebody else."""
    if base != ScratchSettings().base() or not os.path.lexists(base):
        return False
    return base.is_symlink() or base.stat().st_uid != os.getuid()


def _claim(base: Path) -> tuple[Path, int]:
    """A new folder, and the descriptor whose lock makes it ours until this process dies."""
    _make(base)
    host = "".join(c if c.isalnum() or c in "-_" else "_" for c in socket.gethostname())
    while True:
        folder = base / f"{host}-{os.getpid()}-{uuid4().hex[:12]}"
        lock = base / f"{folder.name}{LOCK}"
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        # Where the file system has no locks, nobody can take ours for dead either: leftovers stay there.
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            if os.fstat(fd).st_nlink:  # else a cleaner came between open and lock
                folder.mkdir()
                return folder, fd
        except OSError:
            lock.unlink(missing_ok=True)
            os.close(fd)
            raise
        os.close(fd)


def _release(folder: Path, fd: int, owner: int) -> None:
    """Remove the folder, unless we are a fork of its owner."""
    if os.getpid() == owner:
        _remove(folder)
    os.close(fd)


def _remove(folder: Path) -> None:
    """Remove the folder of a process whose lock we hold, as far as that can be done: the first write will say what is wrong.

    The lock goes last: `_claim` notices that its file is gone, and a folder without it would stay for ever.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not os.path.lexists(folder):
        with suppress(OSError):
            folder.with_name(f"{folder.name}{LOCK}").unlink(missing_ok=True)


def _try_lock(lock: Path) -> int | None:
    """A descriptor that holds the lock, if it is there and nobody else does."""
    try:
        fd = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _make(base: Path) -> None:
    """Make the folder for all processes; ConfigError where one of our name below the system's temporary folder is another user's."""
    base.mkdir(0o700 if base == ScratchSettings().base() else 0o777, parents=True, exist_ok=True)
    if _is_anothers(base):
        raise ConfigError(f"{base} belongs to another user: give execute.scratch another folder")


def _take(
    folder: Path,
    num_bytes: int,
    max_bytes: int,
    *,
    wait_s: float = math.inf,
    stopped: threading.Event | None = None,
) -> None:
    """Let `folder`, which is made if need be, take so many bytes, once others leave room for them."""
    base = folder.parent.parent
    if num_bytes > max_bytes:
        raise StoreError(
            f"a unit needs {num_bytes:,} bytes of scratch in {base}, and execute.scratch_bytes allows {max_bytes:,}: raise "
            "it, or make units smaller (shard_bytes, unit_s). Nothing was lost"
        )
    began, pause_s, is_told = time.monotonic(), 0.02, False
    stopped = stopped or threading.Event()
    while not _taken(folder, num_bytes, max_bytes):
        remove_leftovers(base)
        if not is_told:
            log.info("waiting for %s bytes of scratch in %s", f"{num_bytes:,}", base)
            is_told = True
        if time.monotonic() - began > wait_s:
            raise StoreError(
                f"a unit needs {num_bytes:,} bytes of scratch in {base}, and other workers did not leave so many of the "
                f"{max_bytes:,} that execute.scratch_bytes allows within {wait_s:.0f} s: raise it, or use fewer workers. Nothing was lost"
            )
        if stopped.wait(pause_s):
            raise IncompleteError(f"{num_bytes:,} bytes of scratch in {base} are not wanted any more")
        pause_s = min(LONGEST_PAUSE_S, 1.5 * pause_s)


def _taken(folder: Path, num_bytes: int, max_bytes: int) -> bool:
    """Take the bytes, if there are so many."""
    base = folder.parent.parent
    return taken(folder, num_bytes, max_bytes, owners=lambda: [base / name for name in _names(base)])
