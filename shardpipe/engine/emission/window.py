"""Windows of a plan: what an emitted Dataset's `plan/0000.parquet` holds, as it is read back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from shardpipe.core.columns import Columns, int64, string
from shardpipe.core.errors import IntegrityError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.storage.commit import numbered
from shardpipe.storage.dataset import Row
from shardpipe.storage.rows import decode_table
from shardpipe.storage.store import Store

PLAN_COLUMNS: Columns = {
    "key": string,
    "unit": string,  # of the input
    "unit_out": string,  # the emit unit: the shard's number in six digits
    "shard": int64,
    "place": int64,  # in the shard, from 0
    "media": string,  # the tar that has the mp4 now, relative to the root
    "offset": int64,
    "size": int64,
    "sha256": string,
}


@dataclass(frozen=True)
class Window:
    """One plan object. `units`: the input's units that it covers; `missing`: those of them without rows.

    inputs: path to sha256 of each rows object that it was made from.
    """

    path: str
    sha256: str
    settings: Mapping[str, Any]
    units: tuple[str, ...]
    missing: tuple[str, ...]
    inputs: Mapping[str, str]
    first_shard: int
    num_shards: int
    table: pa.Table = field(repr=False)

    @staticmethod
    def decode(path: str, data: bytes) -> "Window":
        """The window in a plan object; IntegrityError if it is damaged."""
        table, facts = decode_table(data, path, columns=PLAN_COLUMNS)
        try:
            return Window(
                path,
                sha256_hex(data),
                facts["settings"],
                tuple(facts["units"]),
                tuple(facts["missing"]),
                facts["inputs"],
                facts["first_shard"],
                facts["num_shards"],
                table,
            )
        except KeyError as error:
            raise IntegrityError(f"{path} is no plan: it lacks {error}; run `shardpipe verify`") from error

    @property
    def shard_units(self) -> list[str]:
        """The emit units: one a shard."""
        return [shard_unit(self.first_shard + i) for i in range(self.num_shards)]

    def clips(self, unit: str) -> list[Row]:
        """The plan's rows of one shard, in order of their places."""
        numbers = self.table.column("shard").to_numpy()
        start, end = np.searchsorted(numbers, [int(unit), int(unit) + 1])
        rows: list[Row] = self.table.slice(start, end - start).to_pylist()
        return rows


def shard_unit(number: int) -> str:
    """The emit unit's name: what stands in the shard's name too."""
    return f"{number:06d}"


def read_windows(store: Store, name: str) -> list[Window]:
    """The windows of the Dataset `name` that are planned, in order."""
    return [read_window(store, path) for path in numbered(store, f"{name}/plan")]


def read_window(store: Store, path: str) -> Window:
    """The window in the plan object at `path`."""
    return Window.decode(path, store.read(path))


def window_path(name: str, index: int) -> str:
    """Where the plan of a window lies."""
    return f"{name}/plan/{index:04d}.parquet"
