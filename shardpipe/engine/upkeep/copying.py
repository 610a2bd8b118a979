"""`copy`: a root, or one Dataset and those that it was made from, from one store to another.

    removed.parquet, ...     first: a copy must not outlive a takedown
    for each Dataset, after those that it was made from:
        tars                 through scratch, hashed on their way: their rows say which bytes they must be
        all else             in the order of `belongings`: dataset.json, which makes a Dataset of it, after all that it needs

What is at the destination already is not sent again: tars of the right size, other objects of the same bytes. What is damaged at the
source is told and left out, and the Dataset stays without its dataset.json, as do those that were made from it.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from shardpipe.core.errors import ConfigError, IntegrityError, told
from shardpipe.engine.upkeep.belongings import INFO, Belongings, Tar, belongings, foreign, inputs_first
from shardpipe.engine.upkeep.removals import Removals, holds_removed
from shardpipe.engine.verifying.findings import Problem, damage_of
from shardpipe.engine.views.opened import split_url
from shardpipe.engine.worker import scratch_folder
from shardpipe.models.places import Report, no_report
from shardpipe.storage.dataset import Dataset, DatasetInfo
from shardpipe.storage.disk import disk_errors
from shardpipe.storage.scratch import ScratchSettings
from shardpipe.storage.store import Store, open_store

T = TypeVar("T")
TARS_AT_ONCE = 4
SMALL_AT_ONCE = 16
CHUNK = 8 << 20
"""Tars pass in such pieces: with what S3 has in flight, about 400 MB are held at once."""

OTHER = (
    "is at {where} with other bytes than at the source, and is left as it is: where clips were removed since it was copied, run the "
    "same `shardpipe remove` there"
)
BACK = "was sent to {where}, and reads back as other bytes: check that store, delete the object and run the copy again"


class _LeftOutError(Exception):
    """An object was not copied."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(path, told(text))


@dataclass(frozen=True)
class CopyReport:
    """What came of a copy.

    datasets: those that are whole at the destination now. num_objects, num_bytes: that were sent; num_there, num_bytes_there: that
    were there before. num_left: objects of the source's Datasets that nothing names. unfinished: those that lack something.
    """

    source: str
    destination: str
    datasets: tuple[str, ...]
    unfinished: tuple[str, ...]
    num_objects: int
    num_bytes: int
    num_there: int
    num_bytes_there: int
    num_left: int
    problems: tuple[Problem, ...]


def copying(source: str, destination: str, *, scratch: ScratchSettings | None = None) -> "Copying":
    """A copy of what is at `source`, a root or ROOT/NAME, to the root `destination`; ConfigError where that cannot be."""
    store, names = open_store(source, read_only=True), []
    if store.size("dataset.json") is not None:
        root, name = split_url(store.url)
        store, names = open_store(root, read_only=True), [name]
    other = open_store(destination, scratch=scratch)
    inside = (f"{each.url.rstrip('/')}/" for each in (store, other))
    here, there = inside
    if here.startswith(there) or there.startswith(here):
        raise ConfigError(f"{other.url} lies in {store.url}, or the other way round: choose another destination")
    return Copying(store, other, names or Dataset.names(store))


class Copying:
    """A copy of Datasets, and of those that they were made from, to another root. Nothing is written before `run`.

    Raises ConfigError where the destination holds another Dataset of such a name, or has removed clips that the source has not.
    """

    def __init__(self, source: Store, destination: Store, names: Sequence[str]) -> None:
        self.source = source
        self.destination = destination
        self._problems: dict[Problem, None] = {}
        self._there: dict[str, int] = {}
        self._sent: list[int] = []
        self._kept: list[int] = []
        self._done = 0
        self._mutex = threading.Lock()
        self._verify = False
        self._report: Report = no_report
        self._infos: dict[str, DatasetInfo | None] = {}
        self._open(names)
        inputs = {name: info.inputs for name, info in self._infos.items() if info is not None}
        self._order = inputs_first(names, inputs)
        # what was made from others first: a run may go on meanwhile, and they will have what it was made from
        self._found = {name: belongings(source, name) for name in reversed(self._order)}
        for name in self._order:
            self._check_free(name, self._infos[name], self._found[name])
        self._note_lost()
        self._removals = Removals.between(source, destination)
        self._total = sum(each.num_bytes for each in self._found.values())

    def run(self, *, verify: bool = False, report: Report = no_report) -> CopyReport:
        """Copy what is not there. verify: read every object at the destination back. StoreError where a store fails: run it again."""
        self._verify, self._report = verify, report
        self._removals.send(self.destination)
        finished: list[str] = []
        for name in self._order:
            info = self._infos[name]
            is_whole = info is not None and set(info.inputs) <= set(finished)
            if self._dataset(self._found[name], finish=is_whole):
                finished.append(name)
        return CopyReport(
            self.source.url,
            self.destination.url,
            datasets=tuple(finished),
            unfinished=tuple(name for name in self._order if name not in finished),
            num_objects=len(self._sent),
            num_bytes=sum(self._sent),
            num_there=len(self._kept),
            num_bytes_there=sum(self._kept),
            num_left=sum(len(each.left) for each in self._found.values()),
            problems=tuple(self._problems),
        )

    def _open(self, names: Iterable[str]) -> None:
        """Read dataset.json of these and of all that they were made from; None for one that cannot be read."""
        for name in names:
            if name in self._infos:
                continue
            path, self._infos[name] = f"{name}/dataset.json", None
            try:
                info = DatasetInfo.from_bytes(self.source.read(path), f"{self.source.url}/{path}")
            except (IntegrityError, FileNotFoundError) as error:
                self._problems[Problem(path, str(error))] = None
                continue
            self._infos[name] = info
            self._open(info.inputs)

    def _check_free(self, name: str, info: DatasetInfo | None, found: Belongings) -> None:
        """Raise ConfigError where the destination holds something else of this name; note what is there."""
        there = self.destination.list(name)
        self._there |= there
        where = f"{self.destination.url}/{name}"
        way_out = "nothing was copied. Choose another destination, or remove that folder"
        if f"{name}/dataset.json" in there and info is not None:
            own = DatasetInfo.from_bytes(self.destination.read(f"{name}/dataset.json"), f"{where}/dataset.json")
            if own != info:
                what = "is another Dataset" if own.fingerprint != info.fingerprint else "was made there by itself"
                raise ConfigError(
                    f"{where} {what} (fingerprint {own.fingerprint[:12]}, that of {self.source.url}/{name} is "
                    f"{info.fingerprint[:12]}): {way_out}"
                )
        elif other := foreign(found, there):
            raise ConfigError(
                f"{self.destination.url}/{other} is no part of a copy of {self.source.url}/{name}: {way_out}"
            )

    def _note_lost(self) -> None:
        """Tell of what objects were made from, or stand for, that is not there."""
        for each in self._found.values():
            for path, by in each.needs.items():
                owner = self._found.get(path.split("/", 1)[0])
                if owner is not None and path not in owner.sizes and self.source.size(path) is None:
                    owner.problems.append(Problem(path, f"is missing: {by} names it"))
                    owner.bad.add(path)

    def _dataset(self, found: Belongings, *, finish: bool) -> bool:
        """Copy one Dataset; whether it is whole at the destination now. finish: whether it may be."""
        self._problems |= dict.fromkeys(found.problems)
        bad = set(found.bad)
        done = self._each(self._tar, found.tars.values(), TARS_AT_ONCE)
        for path, is_there in zip(found.tars, done, strict=True):
            bad.update(found.named_by[path] if not is_there else ())
        for step, paths in found.in_order():
            if step[0] >= INFO and (bad or not finish):
                return False
            good = [path for path in paths if path not in bad]
            done = self._each(self._small, good, SMALL_AT_ONCE)
            bad |= {path for path, is_there in zip(good, done, strict=True) if not is_there}
        return not bad and finish

    def _each(self, act: Callable[[T], None], items: Iterable[T], at_once: int) -> list[bool]:
        """Of each item, whether it is whole at the destination now."""

        def one(item: T) -> bool:
            try:
                act(item)
            except _LeftOutError as left:
                with self._mutex:
                    self._problems[left.problem] = None
                return False
            return True

        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(one, items))

    def _tar(self, tar: Tar) -> None:
        """Send one tar."""
        path, size = tar.path, self.source.size(tar.path)
        if size != tar.ref.num_bytes:
            raise _LeftOutError(
                path, f"has {size} bytes, and {tar.by} says {tar.ref.num_bytes}: restore it; it was not copied"
            )
        removed = self._removals.of(self.source, tar.by)
        there = self._there.get(path)
        if there == size and not self._verify and not removed:
            self._count(self._kept, size)
            return
        with scratch_folder(self.destination, size) as folder:
            file = folder / "tar"
            sha256 = self._fetch(tar, file, is_blanked=bool(removed))
            if there == size and _hash_at(self.destination, path, size) == sha256:
                self._count(self._kept, size)
                return
            if there is not None:
                if removed or not self._is_same(tar.by):
                    raise _LeftOutError(path, OTHER.format(where=self.destination.url))
                self.destination.delete(path)  # it is not what its own rows say
            self.destination.put_file(path, file)
        if self._verify and _hash_at(self.destination, path, size) != sha256:
            raise _LeftOutError(path, BACK.format(where=self.destination.url))
        self._count(self._sent, size)

    def _fetch(self, tar: Tar, file: Path, *, is_blanked: bool) -> str:
        """Copy a tar of the source to a new file, and check it there; its sha256."""
        digest = hashlib.sha256()
        try:
            with disk_errors(file.name, str(file.parent)), file.open("xb") as out:
                for piece in _pieces(self.source, tar.path, tar.ref.num_bytes):
                    digest.update(piece)
                    out.write(piece)
        except (IntegrityError, FileNotFoundError) as error:  # it was changed since
            raise _LeftOutError(tar.path, f"{error}; it was not copied") from error
        damage = None
        if is_blanked:
            as_written = digest.hexdigest() == tar.ref.sha256
            damage = holds_removed(self.source, tar, file, self._removals, is_as_written=as_written)
        elif digest.hexdigest() != tar.ref.sha256:
            damage = f"is damaged: its sha256 is not the one that {tar.by} names"
        if damage:
            raise _LeftOutError(tar.path, f"{damage}; it was not copied")
        return digest.hexdigest()

    def _is_same(self, path: str) -> bool:
        """Whether an object is not at the destination, or is there as at the source."""
        return path not in self._there or self.destination.read(path) == self.source.read(path)

    def _small(self, path: str) -> None:
        """Send one object in memory."""
        try:
            data = self.source.read(path)
        except FileNotFoundError:
            raise _LeftOutError(path, "is gone since it was listed: run the copy again") from None
        if damage := damage_of(path, data):
            raise _LeftOutError(path, f"{damage}; it was not copied")
        if path in self._there:
            there = self.destination.read(path)
            if there == data:
                self._count(self._kept, len(data))
                return
            if not damage_of(path, there):
                raise _LeftOutError(path, OTHER.format(where=self.destination.url))
            self.destination.delete(path)
        if self.destination.create(path, data) != data:
            raise _LeftOutError(path, OTHER.format(where=self.destination.url))
        if self._verify and self.destination.read(path) != data:
            raise _LeftOutError(path, BACK.format(where=self.destination.url))
        self._count(self._sent, len(data))

    def _count(self, where: list[int], num_bytes: int) -> None:
        with self._mutex:
            where.append(num_bytes)
            self._done += num_bytes
            self._report(self._done, self._total)


def _pieces(store: Store, path: str, size: int) -> Iterable[bytes]:
    for start in range(0, size, CHUNK):
        yield store.read_range(path, start, min(CHUNK, size - start))


def _hash_at(store: Store, path: str, size: int) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(store, path, size):
        digest.update(piece)
    return digest.hexdigest()
