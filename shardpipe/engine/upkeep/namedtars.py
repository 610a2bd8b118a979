"""The tars that the rows of a Dataset name, and the removed clips in them: by rows of all generations."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field

from shardpipe.core.clip import video_id
from shardpipe.core.errors import ShardpipeError
from shardpipe.engine.upkeep.uncleaned import Uncleaned
from shardpipe.storage.commit import NAME
from shardpipe.storage.dataset import Dataset, Layer, View, unit_list
from shardpipe.storage.parallel import in_order, num_readers
from shardpipe.storage.probe import known_honours
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store


@dataclass
class Held:
    """The removed clips of a tar, and where a member's data begins of the one that came on the list last.

    A tar is blanked in one step of all that is on the list then: if that one is gone, all are.
    """

    keys: set[str] = field(default_factory=set)
    newest: tuple[int, int] = (-1, -1)

    def add(self, other: "Held") -> None:
        """What another rows object says of the same tar."""
        self.keys |= other.keys
        self.newest = max(self.newest, other.newest)


class NamedTars:
    """Finds what rows name, among the clips of one list. found: rows that could not be read."""

    def __init__(self, store: Store, removed: Removed, found: Uncleaned) -> None:
        self._store = store
        self._removed = removed
        self._found = found
        self._clips: dict[str, int] = {}
        self._videos: dict[str, int] = {}
        for number, batch in enumerate(removed.batches):
            for key, source in batch.entries:
                if key is not None:
                    self._clips.setdefault(key, number)
                elif source is not None:
                    self._videos.setdefault(video_id(source), number)

    def of(self, dataset: Dataset, objects: Iterable[str]) -> dict[str, Held]:
        """Each tar that rows name which can be read. objects: a listing of the root."""
        named: dict[str, Held] = {}
        layer = dataset.pass_layers()[-1]
        paths = self._rows_of(dataset, layer, objects)
        at_once = num_readers(self._store)
        with closing(in_order(paths, lambda path: self._named(layer, path), at_once=at_once)) as each:
            for _, read in each:
                if (found := read.result()) is not None:
                    named.setdefault(found[0], Held()).add(found[1])
        return named

    def _named(self, layer: Layer, path: str) -> tuple[str, Held] | None:
        """The tar that a rows object names, and the removed clips in it."""
        is_cut = layer.info.kind == "cut"
        columns = ["offset"] if is_cut else [f"member_{name}_offset" for name in layer.info.members]
        with self._found.guard(path):
            table, meta = decode_rows(
                self._store.read(path),
                f"{self._store.url}/{path}",
                columns=layer.schema,
                only={"key", "source", *columns},
            )
            ref, held = meta.tar if is_cut else meta.members_tar, Held()
            if ref is None:
                return None
            for row in table.to_pylist():
                offsets = [row[column] for column in columns if row[column] is not None]
                if offsets and self._removed.has(row["key"], row.get("source")):
                    held.add(Held({row["key"]}, (self._since(row["key"]), offsets[0])))
            return f"{layer.name}/{ref.name}", held
        return None

    def _since(self, key: str) -> int:
        """The batch of the list with which a clip was removed; one after the last where none says so."""
        last = len(self._removed.batches)
        video = key.rpartition("_")[0]
        return min(self._clips.get(key, last), *(self._videos.get(name, last) for name in (key, video)))

    def _rows_of(self, dataset: Dataset, layer: Layer, objects: Iterable[str]) -> list[str]:
        """All rows objects of a layer, of each generation; what a late listing lacks is looked up by name."""
        store, log = self._store, layer.log
        folder = f"{dataset.name}/rows/"
        listed = {path for path in objects if path.startswith(folder) and NAME.match(path.removeprefix(folder))}
        honours = known_honours(store)
        if honours is not None and honours.list_after_write:
            return sorted(listed)
        highest = log.generations(listed)

        def others(name: str) -> list[str]:
            found = [path for i in range(highest.get(name, 0)) if (path := log.path(name, i)) not in listed]
            number = highest.get(name, -1) + 1
            while store.size(path := log.path(name, number)) is not None:
                found.append(path)
                number += 1
            return found

        with closing(in_order(self._names(dataset, layer), others, at_once=num_readers(store))) as late:
            return sorted(listed.union(*(found.result() for _, found in late)))

    def _names(self, dataset: Dataset, layer: Layer) -> list[str]:
        """The units, or slices of them, that a layer has or will have rows of."""
        names: list[str] = []
        with self._found.guard(f"{dataset.name}/rows"):
            view = View(self._store, dataset.pass_layers(), removed=Removed())
            for unit in unit_list(self._store, view.base, with_gaps=True):
                try:
                    names += layer.slices(unit, view.num_clips(unit)) if layer.is_sliced else [unit]
                except (
                    ShardpipeError,
                    FileNotFoundError,
                ):  # no rows to slice yet; or damaged ones, which are told anyway
                    continue
        return names
