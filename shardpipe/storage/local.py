"""A store on a local disk (or a mounted one that has hard links).

    create:    .tmp/OWN/x  write, fsync  ->  os.link to the final name  ->  fsync the folder  ->  unlink .tmp/OWN/x
    put_file:  fsync the caller's file   ->  os.link to the final name  ->  fsync the folder  ->  unlink it

A link appears at once and never over another file, so kill -9 at any instant leaves nothing or the whole object.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from shardpipe.core.errors import ConfigError, IntegrityError, StoreError
from shardpipe.storage.scratch import Scratch, remove_leftovers
from shardpipe.storage.store import TEMP, check_path, check_prefix, check_replaceable

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812  a method hides `list` inside the class

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
CLOSED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS})
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class LocalStore:
    """Objects as files under `root`, which need not exist yet."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        try:
            there = next((each for each in (root, *root.parents) if each.exists()), root)
        except OSError as error:
            raise ConfigError(f"{root} cannot be a root: {error.strerror}") from error
        if there.exists() and not there.is_dir():
            raise ConfigError(f"{there} is a file, and a Dataset's root must be a folder: choose another place")
        self.root = root
        self.read_only = read_only
        self._scratch = Scratch(root / TEMP)
        if not read_only:
            remove_leftovers(root / TEMP)

    def __reduce__(self) -> tuple[object, ...]:
        """Another process opens the same root anew, with a scratch folder of its own."""
        return _reopen, (self.root, self.read_only)

    @property
    def url(self) -> str:
        """The root folder, absolute."""
        return str(self.root)

    def read(self, path: str) -> bytes:
        """See Store."""
        with disk_errors(path, self.url):
            return self._file(path).read_bytes()

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """See Store."""
        with disk_errors(path, self.url):
            fd = os.open(self._file(path), os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = _pread(fd, start, length)
            finally:
                os.close(fd)
        if len(data) != length:
            raise short_read(path, self.url, start, length, got=len(data))
        return data

    def size(self, path: str) -> int | None:
        """See Store."""
        with disk_errors(path, self.url):
            try:
                file = self._file(path)
                return file.stat().st_size if file.is_file() else None
            except (FileNotFoundError, NotADirectoryError):
                return None

    def list(self, prefix: str) -> dict[str, int]:
        """See Store."""
        prefix = check_prefix(prefix)
        with disk_errors(prefix, self.url):
            return dict(sorted(_walk(self.root / prefix if prefix else self.root, f"{prefix}/" if prefix else "")))

    def create(self, path: str, data: bytes) -> bytes:
        """See Store."""
        final = self._writable(check_path(path))
        with disk_errors(path, self.url):
            temp = self._write_temp(data, sync=True)
            try:
                won = self._link(temp, final)
            finally:
                temp.unlink(missing_ok=True)
            return data if won else final.read_bytes()

    def put_file(self, path: str, local: Path) -> None:
        """See Store."""
        final = self._writable(check_path(path))
        with disk_errors(path, self.url):
            num_bytes = local.stat().st_size
            _fsync(local)
            try:
                won = self._link(local, final)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                won = self._copy_and_link(local, final)
            there = final.stat().st_size
        if not won and there != num_bytes:
            raise IntegrityError(
                f"{path} in {self.url} has {there} bytes, and the same content made again has {num_bytes}: "
                "one of them is damaged; run `shardpipe verify`, and delete the object if it is that one"
            )
        local.unlink(missing_ok=True)

    def replace(self, path: str, data: bytes) -> None:
        """See Store. Not synced: losing a heartbeat in a power cut costs nothing."""
        final = self._writable(check_replaceable(path))
        with disk_errors(path, self.url):
            temp = self._write_temp(data, sync=False)
            try:
                final.parent.mkdir(parents=True, exist_ok=True)
                temp.replace(final)
            finally:
                temp.unlink(missing_ok=True)

    def delete(self, path: str) -> None:
        """See Store."""
        final = self._writable(check_path(path))
        with disk_errors(path, self.url):
            try:
                final.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
            _fsync(final.parent)

    def local_path(self, path: str) -> Path | None:
        """See Store."""
        return self._file(path)

    def scratch(self) -> Path:
        """See Store."""
        if self.read_only:
            raise StoreError(f"{self.url} is open for reading only")
        with disk_errors(TEMP, self.url):
            folder = self._own_folder() / uuid4().hex
            folder.mkdir()
            return folder

    def _own_folder(self) -> Path:
        """Where this process makes files; ConfigError where the root cannot be made or written to."""
        try:
            return self._scratch.folder()
        except OSError as error:
            if error.errno not in CLOSED:
                raise
            raise ConfigError(
                f"nothing can be written in {self.url} ({error.strerror}: {error.filename}): choose another root"
            ) from error

    def _file(self, path: str) -> Path:
        return self.root / check_path(path)

    def _writable(self, path: str) -> Path:
        if self.read_only:
            raise StoreError(f"{self.url} is open for reading only: {path} was not written")
        return self.root / path

    def _write_temp(self, data: bytes, *, sync: bool) -> Path:
        """A new file in our scratch folder with `data`; none is left if the disk fails."""
        temp = self._own_folder() / uuid4().hex
        try:
            with temp.open("xb", buffering=0) as file:
                _write_all(file.fileno(), data)
                if sync:
                    os.fsync(file.fileno())
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        return temp

    def _copy_and_link(self, local: Path, final: Path) -> bool:
        """For a file on another disk: links cannot cross, so it is copied into our scratch folder first."""
        temp = self._own_folder() / uuid4().hex
        try:
            shutil.copyfile(local, temp)
            _fsync(temp)
            return self._link(temp, final)
        finally:
            temp.unlink(missing_ok=True)

    def _link(self, temp: Path, final: Path) -> bool:
        """Give a synced file its final name; False if the name is taken. Either way the name is durable after."""
        _make_folder(final.parent)
        try:
            os.link(temp, final)
        except FileExistsError:
            won = False
        except OSError as error:
            if error.errno in NO_LINKS:
                raise StoreError(
                    f"cannot write {final}: its file system has no hard links, which commits need; choose another disk"
                ) from error
            raise
        else:
            won = True
        _fsync(final.parent)  # after a lost race too: the winner may not have synced its name yet
        return won


@contextmanager
def disk_errors(path: str, root: str) -> Iterator[None]:
    """Raise the disk's errors as StoreError with what, where and what to do. FileNotFoundError stays what it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in FULL:
            raise StoreError(
                f"the disk is full (or over quota): {path} was not written in {root}. Nothing was lost: what is "
                "committed is whole. Free some space and run again"
            ) from error
        raise StoreError(f"{path} in {root}: {error.strerror or error}") from error


def short_read(path: str, root: str, start: int, length: int, *, got: int) -> IntegrityError:
    """The error of a read that found fewer bytes than the rows promise."""
    return IntegrityError(
        f"{path} in {root} ends too early: wanted {length} bytes from {start} on, got {got}; the object was cut short, "
        "run `shardpipe verify`"
    )


def _reopen(root: Path, read_only: bool) -> LocalStore:  # noqa: FBT001  pickle passes arguments by position
    return LocalStore(root, read_only=read_only)


def _walk(folder: Path, prefix: str) -> "List[tuple[str, int]]":
    """(path, bytes) of every file under `folder`; what vanishes meanwhile is left out."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found: list[tuple[str, int]] = []
    for entry in entries:
        if entry.name == TEMP:
            continue
        if entry.is_dir():
            found += _walk(Path(entry.path), f"{prefix}{entry.name}/")
            continue
        try:
            found.append((f"{prefix}{entry.name}", entry.stat().st_size))
        except FileNotFoundError:
            continue
    return found


def _pread(fd: int, start: int, length: int) -> bytes:
    """Up to `length` bytes; fewer only at the file's end (one call gives at most 2 GiB)."""
    data = os.pread(fd, length, start)
    if not data or len(data) == length:
        return data
    parts = [data]
    got = len(data)
    while got < length and (data := os.pread(fd, length - got, start + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _fsync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_folder(folder: Path) -> None:
    """`mkdir -p` whose new names survive a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _fsync(folder.parent)
