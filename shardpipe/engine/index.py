"""What makes an emitted Dataset whole: `urls.txt`, `wids.json`, `README.md` and, last of all, `index.parquet`.

The Dataset can be read as soon as its index is there. New sources add windows of shards later; they get a urls.txt, a
wids.json and an index of their own that cover everything (`index.0003.parquet`: up to window 3), since no object is
ever replaced. What is in a numbered set follows from its number. How many windows the set without number covers is
what the run knew that created its urls.txt: that one comes first, and whoever finds it completes it as it was begun.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shardpipe.core.clip import STATE
from shardpipe.core.columns import Columns
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.core.fingerprint import canonical_json
from shardpipe.engine.card import dataset_card
from shardpipe.engine.emit import record_columns, shard_name
from shardpipe.engine.known import Known
from shardpipe.engine.plansettings import PlanSettings
from shardpipe.engine.window import Window
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.facts import read_end
from shardpipe.storage.parallel import in_order, num_readers
from shardpipe.storage.rows import RowsMeta, arrow_schema, decode_facts, decode_rows, encode_arrow
from shardpipe.storage.store import Store

Record = tuple[pa.Table, RowsMeta]


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


def urls_txt(name: str, windows: Sequence[Window]) -> bytes:
    """The shards of these windows, a line each, relative to the Dataset."""
    return "".join(f"{shard_name(name, unit)}\n" for window in windows for unit in window.shard_units).encode()


def finish(store: Store, name: str, *, known: Known | None = None) -> Finished:
    """Write the final objects of a Dataset whose windows cover all its units; IncompleteError if a record is missing."""
    known = known or Known(store)
    covered = _covered(store, name)
    windows = known.windows(name)
    if not windows:
        raise IncompleteError(f"{store.url}/{name} has no plan yet")
    if covered is None:
        covered = _finish_first(known, name, windows)
    if len(covered) > len(windows):  # another run knows windows that were added since
        windows = known.windows(name)
    if covered != index_facts(windows[: len(covered)])["windows"]:
        raise IntegrityError(
            f"{store.url}/{final_path(name, 'index.parquet', None)} was made from other plans than those that are "
            "there: run `shardpipe verify`"
        )
    newest = len(windows) - 1
    for last in range(len(covered), len(windows)):
        begun = last == newest or store.size(final_path(name, "urls.txt", last)) is not None
        if begun and store.size(final_path(name, "index.parquet", last)) is None:
            _write(store, name, windows[: last + 1], read_records(store, name, windows[: last + 1]), last)
    path = final_path(name, "index.parquet", None if len(covered) == len(windows) else newest)
    num_clips = sum(window.table.num_rows for window in windows)
    return Finished(path, sum(window.num_shards for window in windows), num_clips)


def is_whole(store: Store, name: str) -> bool:
    """Whether an index covers all windows that are planned."""
    num = len(store.list(f"{name}/plan"))
    if num > 1 and store.size(final_path(name, "index.parquet", num - 1)) is not None:
        return True
    covered = _covered(store, name)
    return covered is not None and len(covered) == num


def _covered(store: Store, name: str) -> Mapping[str, str] | None:
    """The windows that the index without number covers, path to sha256; None if it is not there yet."""
    path = final_path(name, "index.parquet", None)
    size = store.size(path)
    if size is None:
        return None
    return _windows_in(path, read_end(store, path, size))


def _windows_in(path: str, index: bytes) -> Mapping[str, str]:
    """The windows that an index covers, of which `index` is the end at least."""
    windows: Mapping[str, str] | None = decode_facts(index, path).get("windows")
    if windows is None:
        raise IntegrityError(f"{path} is no index: run `shardpipe verify`")
    return windows


def _finish_first(known: Known, name: str, windows: Sequence[Window]) -> Mapping[str, str]:
    """Write the set without number; the windows that its index covers.

    Its urls.txt says which it covers. Windows without shards leave the choice open: then the index decides, as its
    other objects are the same.
    """
    store = known.store
    records = read_records(store, name, windows)
    path = final_path(name, "urls.txt", None)
    urls = store.create(path, urls_txt(name, windows))
    if len(urls) > len(urls_txt(name, windows)):  # another run knew windows that were added since
        windows = known.windows(name)
        records = read_records(store, name, windows)
    for num in range(len(windows), 0, -1):
        if urls_txt(name, windows[:num]) == urls:
            return _write(store, name, windows[:num], records[: urls.count(b"\n")], None)
    raise IntegrityError(f"{store.url}/{path} lists other shards than are planned: run `shardpipe verify`")


def _write(
    store: Store, name: str, windows: Sequence[Window], records: Sequence[Record], last: int | None
) -> Mapping[str, str]:
    """Write the final objects that cover these windows, the index last; the windows that its index covers."""
    columns = Dataset.open(store, name).pass_view().columns()
    beside = beside_index(name, columns, windows, records, last=last)
    for path, data in beside.items():
        if store.create(path, data) != data:
            raise _differs(store, path)
    path = final_path(name, "index.parquet", last)
    data = encode_arrow(index_table(columns, windows, records), index_facts(windows))
    there = store.create(path, data)
    covered = _windows_in(path, there)
    if there != data and len(covered) == len(windows):
        raise _differs(store, path)
    return covered


def _differs(store: Store, path: str) -> IntegrityError:
    return IntegrityError(f"{store.url}/{path} is there with other bytes than its records give: run `shardpipe verify`")


def index_table(columns: Columns, windows: Sequence[Window], records: Sequence[Record]) -> pa.Table:
    """The rows of an index: those of the records, without the clips' state. columns: of the folded rows."""
    others = [ext for ext in _settings(windows).members if ext != "mp4"]
    schema = arrow_schema({name: kind for name, kind in record_columns(columns, others).items() if name not in STATE})
    return pa.concat_tables([schema.empty_table(), *(table.select(schema.names) for table, _ in records)])


def index_facts(windows: Sequence[Window]) -> dict[str, Any]:
    """What an index says of itself."""
    return {"windows": {window.path: window.sha256 for window in windows}}


def beside_index(
    name: str, columns: Columns, windows: Sequence[Window], records: Sequence[Record], *, last: int | None
) -> dict[str, bytes]:
    """The final objects beside an index, path to bytes, in the order in which they are written."""
    return {
        final_path(name, "urls.txt", last): urls_txt(name, windows),
        final_path(name, "wids.json", last): wids_json(records),
        f"{name}/README.md": dataset_card(name, _settings(windows), columns).encode(),
    }


def _settings(windows: Sequence[Window]) -> PlanSettings:
    """The settings that all windows of a Dataset share."""
    return PlanSettings.model_validate({**windows[0].settings})


def read_records(store: Store, name: str, windows: Sequence[Window]) -> list[Record]:
    """The record of each planned shard, in order; IncompleteError if one is not there yet, IntegrityError if it is of another plan."""
    wanted = [(window, unit) for window in windows for unit in window.shard_units]
    with closing(in_order(wanted, lambda each: _record(store, name, *each), at_once=num_readers(store))) as found:
        return [record.result() for _, record in found]


def _record(store: Store, name: str, window: Window, unit: str) -> Record:
    path = RowsLog(store, name, folder="emit").path(unit)
    try:
        data = store.read(path)
    except FileNotFoundError:
        raise IncompleteError(f"{store.url}/{name}: shard {unit} is planned but not written yet") from None
    table, meta = decode_rows(data, f"{store.url}/{path}")
    if meta.inputs != {window.path: window.sha256}:
        raise IntegrityError(f"{store.url}/{path} was made from another {window.path}: run `shardpipe verify`")
    return table, meta


def wids_json(records: Sequence[Record]) -> bytes:
    """The index of shards that the wids package reads; urls are relative to it."""
    shards: list[Mapping[str, Any]] = [
        {"url": meta.tar.name, "nsamples": table.num_rows, "filesize": meta.tar.num_bytes}
        for table, meta in records
        if meta.tar is not None
    ]
    return canonical_json({"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards})
