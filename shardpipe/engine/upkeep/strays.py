"""Objects inside a Dataset's folder that nothing of it names. They may be anything, and are never deleted: only told."""

from collections.abc import Iterable, Iterator

from shardpipe.engine.emission.record import shard_name
from shardpipe.engine.emission.window import read_windows
from shardpipe.engine.objectnames import BESIDE_NAME, ENERGON_NAME, INDEX_NAME
from shardpipe.storage.commit import NAME, NUMBERED, TarName
from shardpipe.storage.dataset import Dataset, unit_list


def strays(dataset: Dataset, objects: Iterable[str]) -> Iterator[str]:
    """Those of `objects` (a listing of the root, made before) that belong to nothing; tars of units are no strays."""
    known = _Known(dataset)
    start = f"{dataset.name}/"
    for path in objects:
        if path.startswith(start) and not known.has(path.removeprefix(start)):
            yield path


class _Known:
    """What a Dataset's units and plan name."""

    def __init__(self, dataset: Dataset) -> None:
        self._is_cut = dataset.info.kind == "cut"
        self._units = set(unit_list(dataset.store, dataset.pass_layers()[0], with_gaps=True))
        windows = read_windows(dataset.store, dataset.name)
        self._records = {f"{unit}.parquet" for window in windows for unit in window.shard_units}
        self._shards = {shard_name(dataset.name, unit) for window in windows for unit in window.shard_units}
        self._is_planned = bool(windows)

    def has(self, path: str) -> bool:
        """Whether something names the object at `path`, relative to the Dataset; of tars of units: whether it may be one."""
        folder, _, name = path.rpartition("/")
        is_final = bool(INDEX_NAME.match(path) or BESIDE_NAME.match(path))
        match folder:
            case "":
                found = name == "dataset.json" or (self._is_planned and is_final)
            case "rows":
                found = self._is_of_unit(name)
            case "sources" | "plan":
                found = bool(NUMBERED.match(name)) and (folder == "plan" or self._is_cut)
            case "emit":
                found = name in self._records
            case "shards" | "members":
                may_be_of_unit = self._is_cut or folder == "members"
                found = path.removesuffix(".idx") in self._shards or (may_be_of_unit and bool(TarName.parse(name)))
            case _:
                found = bool(ENERGON_NAME.match(path))
        return found

    def _is_of_unit(self, name: str) -> bool:
        match = NAME.match(name)
        return match is not None and bool({match["unit"], match["unit"].rpartition("-")[0]} & self._units)
