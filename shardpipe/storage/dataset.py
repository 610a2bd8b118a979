"""A Dataset: a folder of the root with a `dataset.json`, the layers that it folds, and the views of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from shardpipe.core.columns import Columns
from shardpipe.core.errors import ConfigError, IncompleteError, StoreError
from shardpipe.storage.layers import FORMAT, MADE, DatasetInfo, Layer, LayerRows, Row, UsedFile, UsedWeights
from shardpipe.storage.store import Store, check_path
from shardpipe.storage.view import Fold, View, check_inputs, unit_list

__all__ = [
    "FORMAT",
    "MADE",
    "Dataset",
    "DatasetInfo",
    "Fold",
    "Layer",
    "LayerRows",
    "Row",
    "UsedFile",
    "UsedWeights",
    "View",
    "check_inputs",
    "unit_list",
]


@dataclass(frozen=True)
class Dataset:
    """A folder of the root with a `dataset.json`."""

    store: Store
    info: DatasetInfo

    @staticmethod
    def open(store: Store, name: str) -> "Dataset":
        """The Dataset `name` of the root; raises IncompleteError if there is none."""
        try:
            data = store.read(f"{name}/dataset.json")
        except FileNotFoundError:
            raise IncompleteError(
                f"{store.url}/{name} is no Dataset (no dataset.json there): run the pass that makes it"
            ) from None
        return Dataset(store, DatasetInfo.from_bytes(data, f"{store.url}/{name}/dataset.json"))

    @staticmethod
    def names(store: Store, paths: Iterable[str] | None = None) -> list[str]:
        """The Datasets of a root, sorted, by a listing or out of `paths`; raises ConfigError if there is none."""
        listed = store.list("") if paths is None else paths
        found = (path.split("/") for path in listed if path.endswith("/dataset.json"))
        if names := sorted(name for name, *inner in found if len(inner) == 1):
            return names
        raise ConfigError(f"{store.url}: there is no Dataset here; give the config's root")

    @staticmethod
    def there(store: Store, name: str) -> "Dataset":
        """As `open`, for a name from the command line; raises ConfigError, which says what is there."""
        try:
            check_path(name)
        except StoreError as error:
            raise ConfigError(f"{name!r} is no name of a Dataset: {error}") from error
        if store.size(f"{name}/dataset.json") is None:
            where = f"{store.url}/{name} is no Dataset (no dataset.json there)"
            for folder in (f"{name}/", ""):
                if (
                    store.size(f"{folder}clips/dataset.json") is not None
                ):  # a root: that, or one of its Datasets, was meant
                    paths = [path.split("/") for path in store.list(folder) if path.endswith("/dataset.json")]
                    raise ConfigError(
                        f"{where}; there are: {', '.join(f'{store.url}/{folder}{path[-2]}' for path in paths)}"
                    )
            raise ConfigError(where)
        return Dataset.open(store, name)

    @property
    def name(self) -> str:
        """Its folder under the root."""
        return self.info.name

    def is_readable(self) -> bool:
        """Whether the next pass and loaders may read it: an emitted Dataset has an index once its first windows are whole."""
        return self.info.emit == "rows" or self.store.size(f"{self.name}/index.parquet") is not None

    def check_readable(self) -> None:
        """Raise IncompleteError where the next pass may not read it yet."""
        if not self.is_readable():
            raise IncompleteError(
                f"{self.store.url}/{self.name} is not complete (no index.parquet): finish it with `shardpipe run`, or `shardpipe emit`"
            )

    def pass_layers(self) -> list[Layer]:
        """The layers whose rows this Dataset's own pass made and read: the base, then passes, itself last."""
        layers: list[Layer] = []
        for prefix in self.info.layers:
            dataset = self if prefix == "." else Dataset.open(self.store, prefix.removeprefix("../"))
            is_emitted = not layers and dataset is not self and dataset.info.emit == "shards"
            layers += dataset.next_layers() if is_emitted else [Layer(self.store, dataset.info, "rows")]
        return layers

    def pass_view(self) -> View:
        """The fold of the pass's rows over its input: what the plan is made from; units are the input's."""
        return View(self.store, self.pass_layers())

    def next_layers(self) -> list[Layer]:
        """The layers that the next pass reads: as `pass_layers`, or, once emitted, this Dataset alone as a base."""
        if self.info.kind == "pass" and self.info.emit == "shards":
            return [Layer(self.store, self._emitted_info(), "emit")]
        return self.pass_layers()

    def next_view(self) -> View:
        """The fold that the next pass, `inspect` and loaders read; raises IncompleteError before there is an index.

        Shards that were planned since for new sources are units that have no rows until they are written.
        """
        self.check_readable()
        return View(self.store, self.next_layers())

    def _emitted_info(self) -> DatasetInfo:
        """This Dataset seen as a base: its records hold every folded column."""
        columns = {name: text for layer in self.pass_layers() for name, text in layer.info.columns.items()}
        return self.info.model_copy(update={"columns": columns, "members": {}, "layers": ["."], "unit_clips": None})

    def columns(self) -> Columns:
        """The folded data columns."""
        return self.next_view().columns()

    def units(self) -> list[str]:
        """The unit names handed to the next pass, in order."""
        return self.next_view().units()

    def fold(self, unit: str) -> Fold:
        """The folded rows of one unit handed to the next pass."""
        return self.next_view().fold(unit)
