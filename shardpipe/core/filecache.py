"""A folder of files that can be fetched again: so many bytes at most, those used last stay, for many processes at once.

    FOLDER/.limit         held while it is counted what is there, and while room is made
    FOLDER/KEY.lock       held by who fetches KEY alone, or by all who use it: what is held is never removed
    FOLDER/KEY.part       on its way; counts from its beginning with all its bytes
    FOLDER/KEY.file       whole: it got this name after its last byte was on the disk

The kernel drops the locks of a process that dies, however it dies: then another one fetches, over what is left of its try.
(Weights lie in folders `KEY` of such a folder: see `models/remote.py`.) KEY is hex digits. Whatever else lies in FOLDER is somebody else's: it
neither counts nor goes.
"""

import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LIMIT, LOCK, PART, FILE = ".limit", ".lock", ".part", ".file"
OURS = re.compile(r"[0-9a-f]+(\.part|\.file)?")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheSettings:
    """Where copies lie, and how many bytes of them."""

    folder: Path
    max_bytes: int


class UnkeptError(Exception):
    """The disk or the folder does not take a file: full, not ours, without locks."""


class FileCache:
    """The cache that settings describe; one object may serve many threads."""

    def __init__(self, settings: CacheSettings) -> None:
        self._folder, self._max_bytes = settings.folder, settings.max_bytes
        self._is_told = False

    @contextmanager
    def use(self, key: str, num_bytes: int, fetch: Callable[[Path], None]) -> Iterator[Path | None]:
        """The file `key`, of so many bytes, which stays while the body runs: one process fetches it into the file that `fetch` is
        given, others wait for that.

        None where it cannot be kept: it is larger than the limit, all else is in use, or the disk does not take it (told once). What
        `fetch` raises is raised, and nothing counts; but its own OSErrors are the disk's.
        """
        held = self._held(key, num_bytes, fetch) if num_bytes <= self._max_bytes else None
        try:
            yield None if held is None else self._folder / f"{key}{FILE}"
        finally:
            if held is not None:
                os.close(held)

    def _held(self, key: str, num_bytes: int, fetch: Callable[[Path], None]) -> int | None:
        """A descriptor that keeps the file; None where it cannot be kept."""
        lock = self._folder / f"{key}{LOCK}"
        try:
            while True:
                fd = locked(lock, fcntl.LOCK_SH)
                if self._is_whole(key, num_bytes):
                    return fd
                os.close(fd)
                fd = locked(lock, fcntl.LOCK_EX)
                try:
                    is_there = self._is_whole(key, num_bytes) or self._fetch(key, num_bytes, fetch)
                finally:
                    os.close(fd)
                if not is_there:
                    return None
        except UnkeptError as error:
            if not self._is_told:
                log.warning(
                    "%s: remote files are read past the cache, as they cannot be kept there: %s", self._folder, error
                )
            self._is_told = True
            return None

    def _is_whole(self, key: str, num_bytes: int) -> bool:
        path = self._folder / f"{key}{FILE}"
        try:
            is_whole = path.stat().st_size == num_bytes
        except OSError:
            return False
        with suppress(OSError):  # it may be another's, to be read only
            os.utime(path)  # used last
        return is_whole

    def _fetch(self, key: str, num_bytes: int, fetch: Callable[[Path], None]) -> bool:
        """Fetch a file; false where there is no room."""
        part = self._folder / f"{key}{PART}"
        if not make_room(part, num_bytes, self._max_bytes):
            return False
        try:
            fetch(part)
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.rename(part.with_suffix(FILE))
        except OSError as error:
            raise UnkeptError(str(error)) from error
        finally:
            part.unlink(missing_ok=True)
        return True


def make_room(part: Path, num_bytes: int, max_bytes: int) -> bool:
    """Make the file `part` of so many bytes, of which none is on the disk, and remove what was used least until all in its folder
    has at most `max_bytes`; false where that cannot be, as the rest is in use. UnkeptError where the disk does not take it.

    `part` ends in PART, and who calls it holds its lock.
    """
    fd = locked(part.parent / LIMIT, fcntl.LOCK_EX)
    try:
        part.unlink(missing_ok=True)
        found = sorted(_entries(part.parent))
        left = max_bytes - num_bytes - sum(size for _, size, _ in found)
        for _, size, path in found:
            if left >= 0:
                break
            if _removed(path):
                left += size
        if left < 0:
            return False
        with part.open("xb") as file:
            os.truncate(file.fileno(), num_bytes)
    except OSError as error:
        raise UnkeptError(str(error)) from error
    else:
        return True
    finally:
        os.close(fd)


def locked(path: Path, how: int) -> int:
    """A descriptor that holds the lock of this very file (LOCK_SH or LOCK_EX), waited for; UnkeptError where there are no locks."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UnkeptError(str(error)) from error
        try:
            fcntl.flock(fd, how)
        except OSError as error:
            os.close(fd)
            raise UnkeptError(f"{path.parent} has no locks ({error})") from error
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # it was removed between the two
        time.sleep(0.01)


def _entries(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each entry was used last, its bytes, and where it is."""
    for path in folder.iterdir():
        if not OURS.fullmatch(path.name) or not (path.suffix or path.with_suffix(LOCK).exists()):
            continue
        with suppress(FileNotFoundError):
            used_at = 0.0 if path.suffix == PART else path.stat().st_mtime
            files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
            yield used_at, sum(each.stat().st_size for each in files), path


def _removed(path: Path) -> bool:
    """Remove an entry, unless it is in use or on its way."""
    lock = path.with_suffix(LOCK)
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)  # last, and while it is held: `locked` notices that its file is gone
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)
