"""A store on a local disk (or a mounted one that has hard links).

    create:    .tmp/OWN/x  write, fsync  ->  os.link to the final name  ->  fsync the folder  ->  unlink .tmp/OWN/x
    put_file:  fsync the caller's file   ->  os.link to the final name  ->  fsync the folder  ->  unlink it

A link appears at once and never over another file, so kill -9 at any instant leaves nothing or the whole object.
"""

import errno
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from shardpipe.core.errors import ConfigError, IntegrityError, StoreError
from shardpipe.storage.disk import disk_errors, fsync, make_folder, pread, short_read, walk, write_all
from shardpipe.storage.growing import LocalFile, file_of
from shardpipe.storage.scratch import CLOSED, Scratch, ScratchSettings, remove_leftovers
from shardpipe.storage.store import TEMP, Entry, Honours, Upload, check_path, check_prefix, check_replaceable

NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class LocalStore:
    """Objects as files under `root`, which need not exist yet."""

    def __init__(self, root: Path, *, read_only: bool = False, scratch: ScratchSettings | None = None) -> None:
        try:
            there = next((each for each in (root, *root.parents) if each.exists()), root)
        except OSError as error:
            raise ConfigError(f"{root} cannot be a root: {error.strerror}") from error
        if there.exists() and not there.is_dir():
            raise ConfigError(f"{there} is a file, and a Dataset's root must be a folder: choose another place")
        self.root = root
        self.read_only = read_only
        self.scratch_settings = scratch or ScratchSettings()
        self._temp = Scratch(root / TEMP, max_bytes=self.scratch_settings.max_bytes)
        self._scratch = self._temp
        if self.scratch_settings.folder is not None:
            self._scratch = Scratch(self.scratch_settings.folder, max_bytes=self.scratch_settings.max_bytes)
        if not read_only:
            for base in {self._temp.base, self._scratch.base}:
                remove_leftovers(base)

    def __reduce__(self) -> tuple[object, ...]:
        """Another process opens the same root anew, with a scratch folder of its own."""
        return _reopen, (self.root, self.read_only, self.scratch_settings)

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
                data = pread(fd, start, length)
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
            found = walk(self.root / prefix if prefix else self.root, f"{prefix}/" if prefix else "")
            return {path: stat.st_size for path, stat in sorted(found, key=lambda each: each[0])}

    def entries(self, prefix: str) -> dict[str, Entry]:
        """See Store."""
        prefix = check_prefix(prefix)
        with disk_errors(prefix, self.url):
            found = walk(self.root / prefix if prefix else self.root, f"{prefix}/" if prefix else "")
            return {
                path: Entry(stat.st_size, f"{stat.st_mtime_ns}-{stat.st_ino}")
                for path, stat in sorted(found, key=lambda each: each[0])
            }

    def age_s(self, path: str) -> float | None:
        """See Store."""
        with disk_errors(path, self.url):
            try:
                return max(0.0, time.time() - self._file(path).stat().st_mtime)
            except (FileNotFoundError, NotADirectoryError):
                return None

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

    def put_file(self, path: str, local: LocalFile) -> None:
        """See Store."""
        final, local = self._writable(check_path(path)), file_of(local)
        with disk_errors(path, self.url):
            num_bytes = local.stat().st_size
            fsync(local)
            there = None
            while there is None:
                there = num_bytes if self._put(local, final) else _size(final)  # None: `gc` came between the two
        if there != num_bytes:
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

    def overwrite(self, path: str, local: Path) -> None:
        """See Store."""
        final = self._writable(check_path(path))
        with disk_errors(path, self.url):
            temp = self._own_folder() / uuid4().hex
            try:
                shutil.copyfile(local, temp)
                fsync(temp)
                make_folder(final.parent)
                temp.replace(final)
                fsync(final.parent)
            finally:
                temp.unlink(missing_ok=True)
        local.unlink(missing_ok=True)

    def delete(self, path: str) -> None:
        """See Store."""
        final = self._writable(check_path(path))
        with disk_errors(path, self.url):
            try:
                final.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
            fsync(final.parent)

    def uploads(self) -> Sequence[Upload]:
        """None: a file is linked whole, or not at all."""
        return ()

    def abort_upload(self, upload: Upload) -> None:
        """There is nothing to give up."""

    @property
    def honours(self) -> Honours:
        """All of it: links never replace, and a folder shows what is in it."""
        return Honours()

    def probe(self) -> Honours:
        """See Store."""
        return self.honours

    def local_path(self, path: str) -> Path | None:
        """See Store."""
        return self._file(path)

    def scratch(self, num_bytes: int = 0, *, is_guess: bool = False, stopped: threading.Event | None = None) -> Path:
        """See Store."""
        if self.read_only:
            raise StoreError(f"{self.url} is open for reading only")
        if self._scratch is self._temp:
            with disk_errors(TEMP, self.url):
                self._own_folder()
        return self._scratch.new(num_bytes, is_guess=is_guess, stopped=stopped)

    def _own_folder(self) -> Path:
        """Where this process makes files; ConfigError where the root cannot be made or written to."""
        try:
            return self._temp.folder()
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
                write_all(file.fileno(), data)
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
            fsync(temp)
            return self._link(temp, final)
        finally:
            temp.unlink(missing_ok=True)

    def _put(self, local: Path, final: Path) -> bool:
        """Give a synced file its final name, from another disk too; False if the name is taken."""
        try:
            return self._link(local, final)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._copy_and_link(local, final)

    def _link(self, temp: Path, final: Path) -> bool:
        """Give a synced file its final name; False if the name is taken. Either way the name is durable after."""
        make_folder(final.parent)
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
        fsync(final.parent)  # after a lost race too: the winner may not have synced its name yet
        return won


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _reopen(root: Path, read_only: bool, scratch: ScratchSettings) -> LocalStore:  # noqa: FBT001  pickle passes arguments by position
    return LocalStore(root, read_only=read_only, scratch=scratch)
