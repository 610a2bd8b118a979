"""What a local disk is asked for: whole reads and writes, names that survive a power cut, errors in words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shardpipe.core.errors import IntegrityError, StoreError
from shardpipe.storage.scratch import FULL
from shardpipe.storage.store import TEMP


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


def walk(folder: Path, prefix: str) -> list[tuple[str, os.stat_result]]:
    """(path, stat) of every file under `folder`; what vanishes meanwhile is left out."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found: list[tuple[str, os.stat_result]] = []
    for entry in entries:
        if entry.name == TEMP:
            continue
        if entry.is_dir():
            found += walk(Path(entry.path), f"{prefix}{entry.name}/")
            continue
        try:
            found.append((f"{prefix}{entry.name}", entry.stat()))
        except FileNotFoundError:
            continue
    return found


def pread(fd: int, start: int, length: int) -> bytes:
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


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, whatever one call takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def fsync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """`mkdir -p` whose new names survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync(folder.parent)
