"""Checks of one tar: size and sha256 as its rows name them, members where they say, and each clip's own sha256."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from shardpipe.core.errors import MediaError
from shardpipe.engine.findings import Findings
from shardpipe.engine.verifyblank import blanked_faults, leftover_faults
from shardpipe.media.decode import decode
from shardpipe.storage.rows import TarRef
from shardpipe.storage.store import Store
from shardpipe.storage.tar import read_members

CHUNK = 8 << 20


@dataclass(frozen=True)
class Expected:
    """A member as rows describe it. sha256, data: None where they do not say; num_frames: of an mp4."""

    name: str
    offset: int | None
    size: int | None
    sha256: str | None = None
    data: bytes | None = None
    num_frames: int | None = None


class TarCheck:
    """Checks tars; with `deep`, decodes each clip (each once, also where several tars have it)."""

    def __init__(self, findings: Findings, *, deep: bool) -> None:
        self._findings = findings
        self._deep = deep
        self._decoded: set[str] = set()
        self.hashes: dict[str, str] = {}
        """sha256 of each tar that was read."""

    def check(self, path: str, ref: TarRef, members: Sequence[Expected], *, by: str) -> None:
        """Check the tar at `path` against what `by` says of it: these members in this order, and no others."""
        if not self._findings.claim(path, f"{by} names it"):
            return
        with self._findings.guard(path), local_file(self._findings.store, path, self._findings.objects[path]) as file:
            self.hashes[path] = hash_of(file)
            if any(self._findings.removed.has(member.name.partition(".")[0]) for member in members):
                self._check_blanked(path, file, members, by)
                return
            if self._findings.objects[path] != ref.num_bytes:
                self._findings.add(path, f"has {self._findings.objects[path]} bytes, and {by} says {ref.num_bytes}")
            elif self.hashes[path] != ref.sha256:
                self._findings.add(path, f"is damaged: its sha256 is not the one that {by} names")
            found = list(read_members(file))
            if [name for name, _, _ in found] != [member.name for member in members]:
                self._findings.add(path, f"does not hold the members that {by} names, in that order")
                return
            for (_, offset, size), member in zip(found, members, strict=True):
                self._check_member(path, file, (offset, size), member, by)

    def _check_blanked(self, path: str, file: BinaryIO, members: Sequence[Expected], by: str) -> None:
        """A tar with removed clips: each byte of it."""
        faults = list(blanked_faults(file, members, self._findings.removed))
        for fault in faults:
            self._findings.add(path, fault)
        for member in members if self._deep and not faults else ():
            if member.offset is not None and not self._findings.removed.has(member.name.partition(".")[0]):
                self._check_member(path, file, (member.offset, member.size or 0), member, by)

    def is_leftover(self, path: str, sha256: str) -> bool:
        """Whether a tar that nothing names is what its name says: its sha256 begins so, unless clips were taken out of it."""
        with local_file(self._findings.store, path, self._findings.objects[path]) as file:
            self.hashes[path] = hash_of(file)
            is_whole = self.hashes[path].startswith(sha256)
            was_blanked = False
            if self._findings.removed:
                was_blanked, faults = leftover_faults(file, self._findings.removed)
                for fault in faults:
                    self._findings.add(path, fault)
        return (is_whole or was_blanked) and list(self.hashes.values()).count(self.hashes[path]) == 1

    def _check_member(self, path: str, file: BinaryIO, place: tuple[int, int], member: Expected, by: str) -> None:
        if member.offset is not None and place != (member.offset, member.size):
            self._findings.add(path, f"has {member.name} at {place}, and {by} says {(member.offset, member.size)}")
            return
        if member.sha256 is None and member.data is None:
            return
        file.seek(place[0])
        data = file.read(place[1])
        if member.data is not None and data != member.data:
            self._findings.add(path, f"{member.name} is not what {by} says")
        if member.sha256 is not None and hashlib.sha256(data).hexdigest() != member.sha256:
            self._findings.add(path, f"{member.name} is damaged: its sha256 is not its row's")
        elif self._deep and member.num_frames is not None and member.sha256 not in self._decoded:
            self._decoded.add(member.sha256 or "")
            self._decode(path, member, data)

    def _decode(self, path: str, member: Expected, data: bytes) -> None:
        try:
            num_frames = sum(1 for _ in decode(data))
        except MediaError as error:
            self._findings.add(path, f"{member.name} cannot be decoded: {error}")
            return
        if member.num_frames is not None and num_frames != member.num_frames:
            self._findings.add(path, f"{member.name} has {num_frames} frames, and its row says {member.num_frames}")


@contextmanager
def local_file(store: Store, path: str, num_bytes: int) -> Iterator[BinaryIO]:
    """The object as a local file: itself where the store is a disk, else a copy."""
    local = store.local_path(path)
    if local is not None:
        with local.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as copy:
        for start in range(0, num_bytes, CHUNK):
            copy.write(store.read_range(path, start, min(CHUNK, num_bytes - start)))
        yield copy


def hash_of(file: BinaryIO) -> str:
    """The sha256 of a whole file."""
    file.seek(0)
    found = hashlib.sha256()
    while chunk := file.read(CHUNK):
        found.update(chunk)
    return found.hexdigest()
