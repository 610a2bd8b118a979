"""What makes an emitted Dataset whole: `README.md`, `urls.txt`, `wids.json` and, last of all, `index.parquet`.

The Dataset is complete if, and only if, its index is there. New sources add windows of shards later; they get an index,
a wids.json and a urls.txt of their own that cover everything (`index.0003.parquet`: up to window 3), since no object
is ever replaced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shardpipe.core.clip import STATE
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.core.fingerprint import canonical_json
from shardpipe.engine.card import dataset_card
from shardpipe.engine.emit import record_columns
from shardpipe.engine.emitplan import Window, read_windows
from shardpipe.engine.plansettings import PlanSettings
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.rows import RowsMeta, arrow_schema, decode_rows, decode_table, encode_arrow
from shardpipe.storage.store import Store


@dataclass(frozen=True)
class Finished:
    """An emitted Dataset that is whole. `index`: the path of its newest index."""

    index: str
    num_shards: int
    num_clips: int

    def __str__(self) -> str:
        if not self.num_shards:
            return "no clip was kept, so there is no shard: only an index without rows"
        return f"{self.num_clips} clips in {self.num_shards} shards"


def final_path(name: str, kind: str, last_window: int | None) -> str:
    """Where a final object lies: `train/index.parquet`; `train/index.0003.parquet` once windows were added to it."""
    stem, _, ext = kind.rpartition(".")
    return f"{name}/{kind}" if last_window is None else f"{name}/{stem}.{last_window:04d}.{ext}"


def newest_index(store: Store, name: str) -> tuple[str, pa.Table, int] | None:
    """Path and rows of the newest index, and the number of windows that it covers; None if there is none."""
    found = None
    for last in (None, *range(len(store.list(f"{name}/plan")) - 1, 0, -1)):
        path = final_path(name, "index.parquet", last)
        if found is not None and last is not None and last < found[2]:
            break  # the index without number covers this window too
        try:
            table, facts = decode_table(store.read(path))
        except FileNotFoundError:
            if last is None:
                return None
            continue
        found = (path, table, len(facts["windows"]))
        if last is not None:
            break
    return found


def finish(store: Store, name: str) -> Finished:
    """Write the final objects of a Dataset whose windows cover all its units; IncompleteError if a record is missing."""
    dataset, windows = Dataset.open(store, name), read_windows(store, name)
    newest = newest_index(store, name)
    if newest is not None and newest[2] == len(windows):
        return Finished(newest[0], sum(window.num_shards for window in windows), newest[1].num_rows)
    if not windows:
        raise IncompleteError(f"{store.url}/{name} has no plan yet")
    last = None if newest is None else len(windows) - 1
    settings = PlanSettings.model_validate({**windows[0].settings})
    columns = dataset.pass_view().columns()
    others = [ext for ext in settings.members if ext != "mp4"]
    records = read_records(store, name, windows)
    schema = arrow_schema(
        {column: kind for column, kind in record_columns(columns, others).items() if column not in STATE}
    )
    index = pa.concat_tables([schema.empty_table(), *(table.select(schema.names) for table, _ in records)])
    facts = {"windows": {window.path: window.sha256 for window in windows}}
    tars = [meta.tar for _, meta in records if meta.tar is not None]
    urls = "".join(f"{tar.name}\n" for tar in tars)
    path = final_path(name, "index.parquet", last)
    _create(store, f"{name}/README.md", dataset_card(name, settings, columns).encode(), index=path)
    _create(store, final_path(name, "urls.txt", last), urls.encode(), index=path)
    _create(store, final_path(name, "wids.json", last), wids_json(records), index=path)
    _create(store, path, encode_arrow(index, facts), index=path)
    return Finished(path, len(tars), index.num_rows)


def read_records(store: Store, name: str, windows: Sequence[Window]) -> list[tuple[pa.Table, RowsMeta]]:
    """The record of each planned shard, in order; IncompleteError if one is not there yet, IntegrityError if it is of another plan."""
    done = RowsLog(store, name, folder="emit").done()
    records = []
    for window in windows:
        for unit in window.shard_units:
            if unit not in done:
                raise IncompleteError(f"{store.url}/{name}: shard {unit} is planned but not written yet")
            table, meta = decode_rows(store.read(done[unit]))
            if meta.inputs != {window.path: window.sha256}:
                raise IntegrityError(
                    f"{store.url}/{done[unit]} was made from another {window.path}: run `shardpipe verify`"
                )
            records.append((table, meta))
    return records


def wids_json(records: Sequence[tuple[pa.Table, RowsMeta]]) -> bytes:
    """The index of shards that the wids package reads; urls are relative to it."""
    shards: list[Mapping[str, Any]] = [
        {"url": meta.tar.name, "nsamples": table.num_rows, "filesize": meta.tar.num_bytes}
        for table, meta in records
        if meta.tar is not None
    ]
    return canonical_json({"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards})


def _create(store: Store, path: str, data: bytes, *, index: str) -> None:
    """Create a final object.

    One with other bytes can be there only if a run ended just before its index, and windows were added since: as long
    as the index is not there it belongs to nothing, and is made anew.
    """
    if store.create(path, data) == data:
        return
    if path == index or store.size(index) is not None:
        raise IntegrityError(
            f"{store.url}/{path} is there with other bytes than its records give: run `shardpipe verify`"
        )
    store.delete(path)
    if store.create(path, data) != data:
        raise IntegrityError(f"{store.url}/{path} is being written by another run: run again")
