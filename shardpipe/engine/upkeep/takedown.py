"""Taking removed clips out of every object that holds their media. The list is written before; all of this may be done again.

    tars of cut, of members    the clip's members become zeros in place (`storage.blanks`)
    emitted shards             are made again (`takenshards`)
    tars that nothing names    or of which that cannot be told, since what would name them is lost or damaged: as those of cut

A Dataset comes after those that it was made from, since its shards are made anew from theirs. What cannot be looked into, or cleaned,
keeps nothing else from it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from shardpipe.engine.upkeep.namedtars import Held, NamedTars
from shardpipe.engine.upkeep.takenshards import TakenShards
from shardpipe.engine.upkeep.uncleaned import Uncleaned
from shardpipe.engine.views.report import all_datasets
from shardpipe.storage.blanks import blank, is_blank, members_in
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.parallel import in_order, num_readers
from shardpipe.storage.removed import Removed, batch_path
from shardpipe.storage.store import RUN, Store

TAR = re.compile(r"(?P<name>[^/]+)/(shards|members)/[^/]+\.tar\Z")
OURS = re.compile(r"-([0-9a-f]{12}|\d{6,})\.tar\Z")
"""How the name of a tar ends, by which a folder without dataset.json may be one of ours."""

INFO = re.compile(r"(?P<name>[^/]+)/dataset\.json\Z")


def check_root(store: Store) -> None:
    """ConfigError where there is neither a Dataset nor what one leaves: a list of removed clips, tars of an unfinished copy."""
    objects = store.list("")
    if batch_path(0) not in objects and not any(TAR.match(path) and OURS.search(path) for path in objects):
        Dataset.names(store, objects)


@dataclass
class Cleaned:
    """What was taken out of one Dataset (or would be): clips, and of how many tars and shards."""

    name: str
    num_clips: int = 0
    num_tars: int = 0
    num_shards: int = 0


@dataclass
class _Taken:
    """The same while it goes on."""

    keys: set[str] = field(default_factory=set)
    num_tars: int = 0
    num_shards: int = 0


class Cleaner:
    """Takes the clips of one list out of a root. problems: what could not be looked into, or cleaned; all else is."""

    def __init__(self, store: Store, removed: Removed, *, dry_run: bool = False) -> None:
        self._store = store
        self._removed = removed
        self._dry_run = dry_run
        self._found = Uncleaned()
        self._taken: dict[str, _Taken] = {}

    @property
    def problems(self) -> list[str]:
        """A line each."""
        return self._found.problems

    def run(self) -> list[Cleaned]:
        """Clean every Dataset, and what belongs to none; the folders in which there was something to do."""
        self._taken = {}
        objects = self._store.list("")  # first of all: a shard of it that no plan has then is not being made
        looked = set[str]()
        for dataset in self._datasets(objects):
            if dataset.info.kind == "cut" or dataset.info.members:
                with self._found.guard(f"{dataset.name}/rows"):
                    named = NamedTars(self._store, self._removed, self._found).of(dataset, objects)
                    looked |= self._tars(named)
            with self._found.guard(f"{dataset.name}/plan"):
                looked |= self._shards(dataset.name, objects)
        self._sweep(
            path for path in objects if (match := TAR.match(path)) and match["name"] != RUN and path not in looked
        )
        return [
            Cleaned(name, len(taken.keys), taken.num_tars, taken.num_shards)
            for name, taken in self._taken.items()
            if taken.keys
        ]

    def _datasets(self, objects: Iterable[str]) -> Iterator[Dataset]:
        """Those whose dataset.json can be read, and of all that they were made from; each after these."""
        order: dict[str, Dataset] = {}
        for path in objects:
            if match := INFO.match(path):
                with self._found.guard(path):
                    order |= {each.name: each for each in all_datasets(self._store, [match["name"]])}
        yield from order.values()

    def _tars(self, named: Mapping[str, Held]) -> set[str]:
        """Blank the tars that rows name; those that are clean now."""
        clean = {path for path, held in named.items() if not held.keys}

        def is_gone(path: str) -> bool | None:
            with self._found.guard(path):
                return is_blank(self._store, path, [named[path].newest[1]])
            return None

        dirty = (path for path in named if path not in clean)
        with closing(in_order(dirty, is_gone, at_once=num_readers(self._store))) as looked:
            for path, gone in looked:
                if gone.result() or (gone.result() is False and self._blank(path, named[path].keys)):
                    clean.add(path)
        return clean

    def _shards(self, name: str, objects: Iterable[str]) -> set[str]:
        """Make the shards of a Dataset again that have removed clips; those that are clean now."""
        shards = TakenShards(self._store, name, self._removed, self._found)
        shards.run(objects, dry_run=self._dry_run)
        if shards.keys:
            taken = self._taken.setdefault(name, _Taken())
            taken.keys |= shards.keys
            taken.num_shards += shards.num_made
        return shards.clean

    def _sweep(self, paths: Iterable[str]) -> None:
        """Blank tars of which only their own headers tell what they hold."""

        def held(path: str) -> set[str]:
            with self._found.guard(path):
                keys = {name.partition(".")[0] for name, *_ in members_in(self._store, path)}
                return {key for key in keys if self._removed.has(key)}
            return set()

        with closing(in_order(paths, held, at_once=num_readers(self._store))) as looked:
            for path, keys in looked:
                if keys.result():
                    self._blank(path, keys.result())

    def _blank(self, path: str, keys: set[str]) -> bool:
        """Take these clips out of a tar; whether that was done (or would be)."""
        with self._found.guard(path):
            if not self._dry_run:
                blank(self._store, path, self._removed)
            taken = self._taken.setdefault(path.split("/", 1)[0], _Taken())
            taken.keys |= keys
            taken.num_tars += 1
            return True
        return False
