"""How many bytes the folders of scratch may take together: each has a note of its own, which counts as long as the folder is there."""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LIMIT = ".limit"
BYTES = ".bytes"
NEW = ".new"


def taken(folder: Path, num_bytes: int, max_bytes: int, *, owners: Callable[[], Iterable[Path]]) -> bool:
    """Take the bytes for `BASE/OWNER/UNIT`, which is made if need be, if the other folders of all owners leave so many.

    On OSError (the disk may be full even for a note) nothing is left of what was not there.
    """
    with counting(folder.parent.parent):
        if sum(_held(owners(), but=folder)) + num_bytes > max_bytes:
            return False
        is_new = not folder.is_dir()
        folder.mkdir(exist_ok=True)
        new = folder.with_name(f"{folder.name}{NEW}")
        try:
            new.write_text(json.dumps([num_bytes, max_bytes]), encoding="ascii")
            new.replace(_note(folder))
        except BaseException:
            new.unlink(missing_ok=True)
            if is_new:
                folder.rmdir()
            raise
        return True


def limit_of(folder: Path) -> tuple[int, int] | None:
    """(what a folder may take, what all may together); None where there is no limit."""
    return _read(_note(folder))


@contextmanager
def counting(base: Path) -> Iterator[None]:
    """Nobody else counts or takes meanwhile."""
    fd = os.open(base / LIMIT, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with suppress(OSError):  # a file system without locks: two that count at once may take a little too much
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _held(owners: Iterable[Path], *, but: Path) -> Iterator[int]:
    """What all folders but one may take. Who removes one does not wait for who counts: it is there still, or not."""
    for owner in owners:
        try:
            notes = [Path(entry) for entry in os.scandir(owner) if entry.name.endswith(BYTES)]
        except (FileNotFoundError, NotADirectoryError):
            continue
        for note in notes:
            folder = note.with_name(note.name.removesuffix(BYTES))
            if not folder.is_dir():
                note.unlink(missing_ok=True)
            elif folder != but and (found := _read(note)) is not None:
                yield found[0]


def _note(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{BYTES}")


def _read(note: Path) -> tuple[int, int] | None:
    """What a note says; None where there is none that can be read."""
    try:
        held, max_bytes = json.loads(note.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return held, max_bytes
