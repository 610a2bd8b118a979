"""Weights at any fsspec URL, a file or a folder: copied to the cache folder once, whole or not at all. Of a folder the files count that
count in a hub's repository (`models/chosen.py`).

weights/urls/<hash of url>.json              written last: which entry counts, its size and sha256
weights/files/<hash of url and version>/NAME  one folder a version (etag, size, mtime) of the remote file; bounded by
                                              SHARDPIPE_CACHE_BYTES as `core/filecache.py` says
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
from fsspec.callbacks import Callback

from shardpipe.core.errors import WeightsError
from shardpipe.core.filecache import LOCK, PART, UnkeptError, locked, make_room
from shardpipe.core.fingerprint import fingerprint, sha256_hex
from shardpipe.core.secrets import clean_cause
from shardpipe.core.temporary import ShortAnswerError, patiently
from shardpipe.models.cache import (
    cache_folder,
    cache_limit,
    files_at,
    hash_file,
    keep_hash,
    read_json,
    sha256_at,
    write_json,
)
from shardpipe.models.chosen import chosen
from shardpipe.models.places import Report

VERSIONED_BY = ("ETag", "etag", "Content-MD5", "LastModified", "Last-Modified", "last_modified", "updated", "mtime")
VERSIONED_BY_DATE = "created"  # of a file system that writes files anew, such as memory://


class _Told(Callback):  # type: ignore[misc]  # fsspec is untyped
    """What fsspec says of a transfer, for a Report."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def call(self, hook_name: str | None = None, **kwargs: object) -> None:  # noqa: ARG002  fsspec's signature
        self._report(int(self.value), None if self.size is None else int(self.size))


@dataclass(frozen=True)
class RemotePlace:
    """A file or a folder at an fsspec URL, and its copies in the cache."""

    url: str
    is_local: bool = False

    @staticmethod
    def parse(url: str) -> "RemotePlace":
        """The place at a URL; WeightsError for a scheme that fsspec does not know, or whose package is not installed.

        Of a chain (`zip://head.pt::https://host/all.zip`) each is looked at, and none opened: that may ask the network.
        """
        try:
            for scheme, mark, _ in (link.partition("://") for link in url.split("::")):
                if mark or scheme in fsspec.available_protocols():
                    fsspec.get_filesystem_class(scheme)
        except (ValueError, ImportError) as error:
            raise WeightsError(f"{url} cannot be opened: {error}") from error
        return RemotePlace(url)

    def find(self) -> Path | None:
        """The copy that was fetched last; WeightsError where its bytes are no longer those that were fetched."""
        entry = read_json(self._pointer)
        path = self._copy_of(entry)
        if path is None or entry is None:
            return None
        if self._sha256(path) != entry["sha256"]:
            raise WeightsError(f"{path}, the copy of {self.url}, has changed since it was pulled: pull it again")
        return path

    def fetch(self, report: Report) -> Path:
        """The copy of what is there now; another version than the last is a new entry."""
        fs, remote = self._file_system()
        with self._errors():
            info = patiently(lambda: fs.info(remote))
            wanted = {"": info} if info.get("type") != "directory" else self._in_folder(fs, remote)
        version = (
            _version(info) if "" in wanted else fingerprint({name: _version(each) for name, each in wanted.items()})
        )
        with self._alone():  # another process may have fetched it while we waited
            entry = read_json(self._pointer)
            path = self._copy_of(entry)
            is_new = path is None or entry is None or entry["version"] != version
            if path is not None and entry is not None and not is_new and self._sha256(path) == entry["sha256"]:
                return path
            return self._copy(fs, remote, wanted, version, report)

    def _in_folder(self, fs: Any, remote: str) -> dict[str, Mapping[str, Any]]:  # noqa: ANN401
        """The files of a folder that count, by their paths in it; WeightsError where there are none."""
        start = len(remote.rstrip("/")) + 1
        listed = patiently(lambda: fs.find(remote, detail=True))
        found = {path[start:]: info for path, info in listed.items() if info.get("type") == "file"}
        names = [name for name in chosen(found) if ".." not in name.split("/") and not name.startswith("/")]
        if not names:
            raise WeightsError(f"{self.url} is a folder that holds no weights: no tensors, configs or tokenizers")
        return {name: found[name] for name in sorted(names)}

    def files(self, path: Path) -> list[Path]:
        """The file itself, or those of the folder."""
        return files_at(path)

    def _sha256(self, path: Path) -> str:
        return sha256_at(path, self.files(path))

    def keep(self, path: Path) -> bool:
        """See Place. The lock is held by a descriptor that nobody closes: the kernel does when this process ends."""
        try:
            fd = locked(path.parent.with_suffix(LOCK), fcntl.LOCK_SH)
        except UnkeptError:  # without locks, or in a folder of another's, nobody removes anything
            return True
        if not path.exists():
            os.close(fd)
            return False
        with contextlib.suppress(OSError):
            os.utime(path.parent)  # used last
        return True

    def forget(self, path: Path) -> None:
        """Take a copy, and the note that it counts, out of the cache."""
        self._pointer.unlink(missing_ok=True)
        shutil.rmtree(path.parent, ignore_errors=True)

    @property
    def _pointer(self) -> Path:
        return cache_folder() / "urls" / f"{sha256_hex(self.url.encode())[:32]}.json"

    @property
    def _name(self) -> str:
        first = next((link for link in self.url.split("::") if "://" in link), self.url)  # of a chain, what is wanted
        name = unquote("".join(urlsplit(first)[1:3])).rstrip("/").rpartition("/")[2]
        return name if name and name not in (".", "..") else "weights"

    def _copy_of(self, entry: Mapping[str, Any] | None) -> Path | None:
        if entry is None or entry.get("url") != self.url:
            return None
        path = cache_folder() / "files" / str(entry["folder"]) / self._name
        return path if path.exists() else None

    def _copy(
        self,
        fs: Any,  # noqa: ANN401
        remote: str,
        wanted: Mapping[str, Mapping[str, Any]],
        version: str,
        report: Report,
    ) -> Path:
        folder = fingerprint([self.url, version])[:32]
        files = cache_folder() / "files"
        with self._errors():
            with self._room(files / folder, sum(info.get("size") or 0 for info in wanted.values())):
                temp = Path(tempfile.mkdtemp(dir=files, prefix=f".tmp-{self._pointer.stem}-"))
                try:
                    num_bytes = self._transfer_all(fs, remote, wanted, temp / self._name, report)
                    hashes = {name: hash_file(temp / self._name / name) for name in wanted}
                    path = self._settle(temp, files / folder, hashes)
                finally:
                    shutil.rmtree(temp, ignore_errors=True)
            for name, sha256 in hashes.items():
                keep_hash(path / name, sha256)
            sha256 = self._sha256(path)
            entry = {"url": self.url, "version": version, "folder": folder, "num_bytes": num_bytes}
            write_json(self._pointer, {**entry, "sha256": sha256})
        return path

    def _transfer_all(
        self,
        fs: Any,  # noqa: ANN401
        remote: str,
        wanted: Mapping[str, Mapping[str, Any]],
        path: Path,
        report: Report,
    ) -> int:
        """Copy each of these; how many bytes they have."""
        came = 0
        for name, info in wanted.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            source, told = f"{remote.rstrip('/')}/{name}" if name else remote, _after(report, came)
            came += patiently(partial(self._transfer, fs, source, info, path / name, told))
        return came

    def _transfer(self, fs: Any, remote: str, info: Mapping[str, Any], path: Path, report: Report) -> int:  # noqa: ANN401
        """Copy the file, all of it; how many bytes it has."""
        fs.get_file(remote, str(path), callback=_Told(report))
        num_bytes = path.stat().st_size
        if info.get("size") not in (None, num_bytes):
            raise ShortAnswerError(f"it broke off: {num_bytes} of {info['size']} bytes came")
        return num_bytes

    @contextlib.contextmanager
    def _room(self, folder: Path, num_bytes: int) -> Iterator[None]:
        """Room for so many bytes under the limit, if there is one, while they are fetched: what was used least is removed for it."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        limit = cache_limit()
        if limit is None:
            yield
            return
        part = folder.with_suffix(PART)
        try:
            fd = locked(folder.with_suffix(LOCK), fcntl.LOCK_SH)
            try:
                if not make_room(part, num_bytes, limit):
                    raise WeightsError(
                        f"{self.url} has {num_bytes:,} bytes, for which SHARDPIPE_CACHE_BYTES ({limit:,}) leaves no room beside the "
                        f"weights in use in {folder.parent}: raise it"
                    )
                yield
            finally:
                part.unlink(missing_ok=True)
                os.close(fd)
        except UnkeptError as error:
            raise WeightsError(
                f"no room can be made for {self.url} in {folder.parent}, as SHARDPIPE_CACHE_BYTES asks: {error}"
            ) from error

    def _settle(self, temp: Path, final: Path, hashes: Mapping[str, str]) -> Path:
        """Rename a whole folder to its final name; what is there stays if it is the same, and goes if it is damaged."""
        temp.chmod(0o755)
        path = final / self._name
        while not all((path / name).is_file() and hash_file(path / name) == hashes[name] for name in hashes):
            try:
                temp.rename(final)
            except OSError:
                if not final.is_dir():
                    raise
                doomed = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".tmp-{self._pointer.stem}-"))
                with contextlib.suppress(FileNotFoundError):  # another process took it first
                    final.rename(doomed / "old")
                shutil.rmtree(doomed, ignore_errors=True)
        return path

    def _file_system(self) -> tuple[Any, str]:
        try:
            fs, remote = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except Exception as error:  # an unknown scheme, a package that is not installed, a bad url: each its own error
            raise WeightsError(f"{self.url} cannot be opened: {error}") from error
        return fs, str(remote)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One pull of a url at a time, where the file system has locks; without, the last of two that race counts."""
        lock = self._pointer.with_suffix(".lock")
        with self._errors():
            lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
                self._sweep()
            yield
        finally:
            os.close(handle)

    def _sweep(self) -> None:
        """Remove what pulls of this url that were killed have left: none is alive while we hold the lock."""
        for left in (cache_folder() / "files").glob(f".tmp-{self._pointer.stem}-*"):
            shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except WeightsError:
            raise
        except FileNotFoundError as error:
            raise WeightsError(f"{self.url}: there is no such file ({error})") from error
        except Exception as error:  # noqa: BLE001  each backend has its own errors (OSError, botocore's, aiohttp's)
            raise WeightsError(f"{self.url} cannot be fetched: {type(error).__name__}: {error}") from clean_cause(error)


def _after(report: Report, before: int) -> Report:
    """Tells of one file of many: so many bytes came before; how many there will be is not said."""
    return (lambda done, _: report(before + done, None)) if before else report


def _version(info: Mapping[str, Any]) -> str:
    """What tells a changed remote file: its etag or its time, and its size."""
    marks = {name: str(info[name]) for name in (*VERSIONED_BY, VERSIONED_BY_DATE) if info.get(name)}
    return fingerprint({"size": info.get("size"), **marks})
