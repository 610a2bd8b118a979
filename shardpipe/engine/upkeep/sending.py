"""Single objects from one root to another: each is checked before it is sent, and compared with what is there already."""

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shardpipe.core.errors import IntegrityError, told
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.upkeep.belongings import Belongings, Tar
from shardpipe.engine.upkeep.beside import idx_by
from shardpipe.engine.upkeep.removals import Removals, damage_of_tar
from shardpipe.engine.verifying.findings import Problem, damage_of
from shardpipe.engine.worker import scratch_folder
from shardpipe.models.places import Report, no_report
from shardpipe.storage.dataset import DatasetInfo
from shardpipe.storage.disk import disk_errors
from shardpipe.storage.store import Store, open_store

CHUNK = 8 << 20
"""Tars pass in such pieces: with what S3 has in flight, about 400 MB are held at once."""

OTHER = (
    "is at {where} with other bytes than at the source, and is left as it is: where clips were removed since it was copied, run the "
    "same `shardpipe remove` there; else delete it there, and run the copy again"
)
BACK = "was sent to {where}, and reads back as other bytes: check that store, delete the object and run the copy again"


class LeftOutError(Exception):
    """An object was not copied."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(path, told(text))


@dataclass
class Tally:
    """What was sent and what was there, in bytes of each object; `report` is told of their sum, and of `total`. From any thread."""

    total: int = 0
    report: Report = no_report
    sent: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    _done: int = 0
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def add(self, where: list[int], num_bytes: int) -> None:
        """One object more, to `sent` or `kept`."""
        with self._mutex:
            where.append(num_bytes)
            self._done += num_bytes
            self.report(self._done, self.total)


@dataclass
class Sending:
    """Sends the objects of one Dataset. there: what is at the destination. verify: read each object there back.

    is_begun: whether the Dataset is not whole there, and clips may have been removed since its copy was begun: then what `remove`
    changes is replaced. wanted: the sha256 that objects may have which others give.
    """

    source: Store
    destination: Store
    found: Belongings
    info: DatasetInfo | None
    removals: Removals
    there: Mapping[str, int]
    tally: Tally
    is_begun: bool
    verify: bool
    wanted: Mapping[str, set[str]] = field(default_factory=dict)

    def tar(self, tar: Tar) -> None:
        """Send one tar."""
        path, size = tar.path, self.source.size(tar.path)
        if size != tar.ref.num_bytes:
            raise LeftOutError(
                path, f"has {size} bytes, and {tar.by} says {tar.ref.num_bytes}: restore it; it was not copied"
            )
        removed = self.removals.of(self.source, tar.by)
        there = self.there.get(path)
        if there == size and not self.verify and not removed:
            self.tally.add(self.tally.kept, size)
            return
        with scratch_folder(self.destination, size) as folder:
            file = folder / path
            sha256 = self._fetch(tar, folder, any_removed=bool(removed))
            if there == size and _hash_at(self.destination, path, size) == sha256:
                self.tally.add(self.tally.kept, size)
                return
            if there is not None:
                if not self.is_begun and (removed or not self._is_same(tar.by)):
                    raise LeftOutError(path, OTHER.format(where=self.destination.url))
                self.destination.delete(path)  # it is not what its own rows say, or of before a removal
            self.destination.put_file(path, file)
        if self.verify and _hash_at(self.destination, path, size) != sha256:
            raise LeftOutError(path, BACK.format(where=self.destination.url))
        self.tally.add(self.tally.sent, size)

    def _fetch(self, tar: Tar, folder: Path, *, any_removed: bool) -> str:
        """Copy a tar of the source to its path in a folder, and check it there; its sha256."""
        digest, file = hashlib.sha256(), folder / tar.path
        try:
            with disk_errors(file.name, str(folder)):
                file.parent.mkdir(parents=True)
                with file.open("xb") as out:
                    for piece in _pieces(self.source, tar.path, tar.ref.num_bytes):
                        digest.update(piece)
                        out.write(piece)
        except (IntegrityError, FileNotFoundError) as error:  # it was changed since
            raise LeftOutError(tar.path, f"{error}; it was not copied") from error
        damage, is_as_written = None, digest.hexdigest() == tar.ref.sha256
        if any_removed:
            copy = open_store(str(folder), read_only=True)
            damage = damage_of_tar(self.source, tar, copy, self.removals, self.info, is_as_written=is_as_written)
        elif not is_as_written:
            damage = f"is damaged: its sha256 is not the one that {tar.by} names"
        if damage:
            raise LeftOutError(tar.path, f"{damage}; it was not copied")
        return digest.hexdigest()

    def _is_same(self, path: str) -> bool:
        """Whether an object is not at the destination, or is there as at the source."""
        return path not in self.there or self.destination.read(path) == self.source.read(path)

    def small(self, path: str) -> None:
        """Send one object in memory."""
        try:
            data = self.source.read(path)
        except FileNotFoundError:
            raise LeftOutError(path, "is gone since it was listed: run the copy again") from None
        if damage := self._damage_of(path, data):
            raise LeftOutError(path, f"{damage}; it was not copied")
        if path in self.there:
            there = self.destination.read(path)
            if there == data:
                self.tally.add(self.tally.kept, len(data))
                return
            if not self._may_replace(path, there):
                raise LeftOutError(path, OTHER.format(where=self.destination.url))
            self.destination.delete(path)
        if self.destination.create(path, data) != data:
            raise LeftOutError(path, OTHER.format(where=self.destination.url))
        if self.verify and self.destination.read(path) != data:
            raise LeftOutError(path, BACK.format(where=self.destination.url))
        self.tally.add(self.tally.sent, len(data))

    def _damage_of(self, path: str, data: bytes) -> str | None:
        """Why an object of the source is not what it must be, by its own bytes or by others; None if it is."""
        if path.endswith(".idx"):
            tar = self.found.tars.get(path.removesuffix(".idx"))
            try:
                return None if tar is None or data == idx_by(self.source, tar.by) else f"is not what {tar.by} gives"
            except (IntegrityError, FileNotFoundError):
                return None  # that one is told of
        if path in self.wanted and sha256_hex(data) not in self.wanted[path]:
            return f"is not what the records in {self.found.name}/emit give"
        return damage_of(path, data)

    def _may_replace(self, path: str, there: bytes) -> bool:
        """Whether what is at the destination in place of an object of the source is damaged, or of before a removal."""
        if self.is_begun and self.found.is_made_again(path):
            return True
        is_given = (
            path.endswith(".idx") or path in self.wanted
        )  # by others, which are the same there unless clips were removed
        return bool(damage_of(path, there)) or (is_given and not self.removals.removed)


def _pieces(store: Store, path: str, size: int) -> Iterable[bytes]:
    for start in range(0, size, CHUNK):
        yield store.read_range(path, start, min(CHUNK, size - start))


def _hash_at(store: Store, path: str, size: int) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(store, path, size):
        digest.update(piece)
    return digest.hexdigest()
