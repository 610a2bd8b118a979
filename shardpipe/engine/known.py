"""What one command knows of a root. Each folder is listed once, each rows object read once, many at a time.

    listing(folder)    objects with size and version ──▶ facts(path)   what the rows of one object say of themselves
                                                          ▲ summary under _run/, where path, size and version are those
                                                          ▲ the object itself, where they are not

A run writes the summary of a folder once enough was read that it lacks; commands that only look never do. Without it, or with a
bad one, everything is read again: that takes time and changes nothing.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import cached_property

from shardpipe.core.errors import IntegrityError, ShardpipeError
from shardpipe.engine.emission.window import Window, read_window
from shardpipe.storage.commit import numbered
from shardpipe.storage.dataset import Dataset, Layer, unit_list
from shardpipe.storage.facts import (
    FactsBook,
    Found,
    RowsFacts,
    decode_summary,
    encode_summary,
    in_summary,
    read_found,
    still_there,
    summary_path,
)
from shardpipe.storage.parallel import for_each, num_readers
from shardpipe.storage.probe import known_honours
from shardpipe.storage.store import Entry, Store

log = logging.getLogger(__name__)

WORTH_KEEPING = 1000
"""So many objects must have been read before a summary of them is written: it saves a few seconds then."""


class Known:
    """Knowledge of the root of `store`; `keeps`: whether it may write summaries. Not for several threads.

    asks: whether what a listing lacks, which may be late, is asked for by name: a run does, from when it begins its work.
    """

    def __init__(self, store: Store, *, keeps: bool = False) -> None:
        self.store = store
        self.asks = False
        self._keeps = keeps
        self._at_once = num_readers(store)
        self._listed: dict[str, dict[str, Entry]] = {}
        self._has_root = False
        self._done: dict[tuple[str, str], dict[str, str]] = {}
        self._units: dict[tuple[str, str], list[str]] = {}
        self._windows: dict[str, Window] = {}
        self._book = FactsBook()
        self._summed: set[str] = set()

    def relist(self) -> None:
        """Objects may have come: list anew where it is asked. What is known of objects stays, as long as they do."""
        self._has_root = False
        self._listed, self._done, self._units = {}, {}, {}

    def list_root(self) -> list[str]:
        """List the whole root in one go; the names of its Datasets, sorted. ConfigError if there is none."""
        found: dict[str, dict[str, Entry]] = {}
        paths = []
        for path, entry in self.store.entries("").items():
            name, _, rest = path.partition("/")
            if rest == "dataset.json":
                paths.append(path)
            found.setdefault(f"{name}/{rest.partition('/')[0]}", {})[path] = entry
        names = Dataset.names(self.store, paths)
        self._listed, self._has_root = found, True
        return names

    def list_all(self, folders: Iterable[str]) -> None:
        """List these folders at once, unless they are."""
        new = [folder for folder in dict.fromkeys(folders) if folder not in self._listed and not self._has_root]
        found: dict[str, dict[str, Entry]] = {}
        for_each(new, lambda folder: found.__setitem__(folder, self.store.entries(folder)), at_once=self._at_once)
        self._listed |= found

    def listing(self, folder: str) -> Mapping[str, Entry]:
        """The objects of a folder, such as `score/rows`."""
        if self._has_root and folder not in self._listed:
            above = self._listed.get("/".join(folder.split("/")[:2]), {})
            self._listed[folder] = {path: entry for path, entry in above.items() if path.startswith(f"{folder}/")}
        elif folder not in self._listed:
            self.list_all([folder])
        return self._listed[folder]

    def done(self, layer: Layer) -> Mapping[str, str]:
        """The units (or slices) of which a layer has rows, each to the path of its highest generation."""
        key = (layer.name, layer.form)
        if key not in self._done:
            self._done[key] = layer.log.done(self.listing(layer.folder))
        return self._done[key]

    def units(self, base: Layer) -> list[str]:
        """The units of a base layer, in order."""
        key = (base.name, base.form)
        if key not in self._units:
            if base.form == "emit":
                self._units[key] = [unit for window in self.windows(base.name) for unit in window.shard_units]
            else:
                self._units[key] = unit_list(self.store, base)
        return self._units[key]

    def windows(self, name: str) -> list[Window]:
        """The windows of the Dataset `name` that are planned by now, in order; each is read once."""
        paths = numbered(self.store, f"{name}/plan")
        for path in paths:
            if path not in self._windows:
                self._windows[path] = read_window(self.store, path)
        return [self._windows[path] for path in paths]

    def took(self, window: Window) -> None:
        """A window that was just planned, or found planned."""
        self._windows[window.path] = window

    def look_up(self, layer: Layer, names: Iterable[str]) -> list[str]:
        """Ask by name for rows of these units (or slices) of a layer that are later than those listed, which may lack what was
        written lately; the paths of what was found, none unless `asks`.
        """
        if not self.asks:
            return []
        done = {**self.done(layer)}
        found: dict[str, tuple[str, int]] = {}

        def ask(name: str) -> None:
            path = layer.log.later(name, done.get(name))
            if path is not None and (size := self.store.size(path)) is not None:
                found[name] = (path, size)

        for_each(names, ask, at_once=self._at_once)
        self._listed[layer.folder] = {
            **self.listing(layer.folder),
            **{p: Entry(size, "") for p, size in found.values()},
        }
        self._done[layer.name, layer.form] = {**done, **{name: path for name, (path, _) in found.items()}}
        return [path for path, _ in found.values()]

    @cached_property
    def lists_late(self) -> bool:
        """Whether listings of this store are known not to show what was written before them."""
        honours = known_honours(self.store)
        return honours is not None and not honours.list_after_write

    def facts(self, layer: Layer, path: str) -> RowsFacts | None:
        """What is known of one rows object of a layer, None if it is not there; IntegrityError if another configuration made it."""
        found = self._book.get(path, self.listing(layer.folder))
        if found is not None and layer.form == "rows" and found.fingerprint != layer.info.fingerprint:
            raise IntegrityError(
                f"{self.store.url}/{path} was made by another configuration (fingerprint {found.fingerprint[:12]}, "
                f"dataset.json says {layer.info.fingerprint[:12]}): run `shardpipe verify`"
            )
        return found

    def read(self, layer: Layer, paths: Collection[str], *, hashed: bool) -> None:
        """Learn of these rows objects of a layer what is not known yet. hashed: with their sha256.

        Raises IntegrityError for a damaged one; one that is gone is none.
        """
        listed = self.listing(layer.folder)
        self._load(layer.folder, listed)

        def is_new(path: str) -> bool:
            found = self._book.get(path, listed)
            return found is None or (hashed and found.sha256 is None)

        new: list[Found] = []

        def learn(path: str) -> None:
            try:
                found, facts = read_found(self.store, path, listed[path], hashed=hashed)
            except FileNotFoundError:
                return
            self._book.add(path, found.entry, found.sha256, facts, f"{self.store.url}/{path}")
            if self._keeps:
                new.append(found)

        for_each([path for path in paths if path in listed and is_new(path)], learn, at_once=self._at_once)
        if len(new) >= WORTH_KEEPING:
            self._keep(layer.folder, new)

    def _load(self, folder: str, listed: Mapping[str, Entry]) -> None:
        """Take from the summary of a folder what holds of the objects that are listed."""
        if folder in self._summed or len(listed) < WORTH_KEEPING:
            return
        self._summed.add(folder)
        try:
            summary = decode_summary(self.store.read(summary_path(folder)))
        except FileNotFoundError:
            return
        names = {path: path for path in listed}  # the listing's own strings: each is held once
        for path, entry, sha256, facts in in_summary(summary):
            if listed.get(path) == entry:
                with suppress(IntegrityError):  # an entry that is no good is as none
                    self._book.add(names[path], listed[path], sha256, facts, path)

    def _keep(self, folder: str, new: list[Found]) -> None:
        """Write the summary anew: with what was read now, and what holds of the one that is there. A lost one is no harm."""
        path = summary_path(folder)
        others = dict(self.listing(folder))
        for found in new:
            others.pop(found.path, None)
        try:
            try:
                earlier = self.store.read(path)
            except FileNotFoundError:
                earlier = b""
            self.store.replace(path, encode_summary(new, still_there(decode_summary(earlier), others)))
        except (ShardpipeError, OSError) as error:
            log.warning("%s/%s is not written: %s", self.store.url, path, error)
