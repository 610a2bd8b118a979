"""What makes an emitted Dataset whole: `urls.txt`, `wids.json`, `README.md` and, last of all, `index.parquet`.

The Dataset can be read as soon as its index is there. New sources add windows of shards later; they get a urls.txt, a
wids.json and an index of their own that cover everything (`index.0003.parquet`: up to window 3), since no object is
ever replaced. What is in a numbered set follows from its number. How many windows the set without number covers is
what the run knew that created its urls.txt: that one comes first, and whoever finds it completes it as it was begun.

Only `remove` has them written anew: it takes the indexes away first, so that nobody reads places by them while its shards change,
and `finish` makes them of the new records. A shard whose clips are all removed is an empty tar, which urls.txt and wids.json leave out.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import pyarrow as pa

from shardpipe.core.clip import STATE
from shardpipe.core.columns import Columns
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.core.fingerprint import canonical_json
from shardpipe.engine.emission.card import dataset_card
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.emission.record import record_columns, shard_name
from shardpipe.engine.emission.window import Window, read_windows
from shardpipe.engine.known import Known
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.facts import read_end
from shardpipe.storage.parallel import in_order, num_readers
from shardpipe.storage.removed import Removed, overwrite
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


def urls_txt(records: Sequence[Record]) -> bytes:
    """The shards that have clips, a line each, relative to the Dataset."""
    return "".join(f"{meta.tar.name}\n" for _, meta in records if meta.tar is not None and meta.counts["kept"]).encode()


def finish(store: Store, name: str, *, known: Known | None = None) -> Finished:
    """Write the final objects of a Dataset whose windows cover all its units; IncompleteError if a record is missing. Begins again
    when clips were removed meanwhile.
    """
    known, removed = known or Known(store), Removed(store)
    while True:
        try:
            found = _finish(known, name, removed)
        except (
            IntegrityError
        ):  # what is there may be without clips that were not on the list yet when we read the records
            if not removed.refresh():
                raise
        else:
            if not removed.refresh():
                return found
        mend(store, name, removed)


def withdraw(store: Store, name: str) -> None:
    """Take the indexes away, that without number last: from then on the Dataset is not complete."""
    for last in reversed(range(1, len(read_windows(store, name)))):
        store.delete(final_path(name, "index.parquet", last))
    store.delete(final_path(name, "index.parquet", None))


def mend(store: Store, name: str, removed: Removed) -> None:
    """Write each set of final objects that was begun so as the records are now; none if none was. Raises as `finish`."""
    done = RowsLog(store, name, folder="emit").done()
    windows = list(takewhile(lambda window: done.keys() >= set(window.shard_units), read_windows(store, name)))
    begun = [
        last for last in (None, *range(1, len(windows))) if store.size(final_path(name, "urls.txt", last)) is not None
    ]
    records = read_records(store, name, windows, removed) if begun else []
    for last in begun:
        num = (
            last + 1
            if last is not None
            else len(_covered(store, name) or _first_windows(store, name, windows, records))
        )
        shards = sum(window.num_shards for window in windows[:num])
        _write(store, name, windows[:num], records[:shards], last)


def _finish(known: Known, name: str, removed: Removed) -> Finished:
    store = known.store
    covered = _covered(store, name)
    windows = known.windows(name)
    if not windows:
        raise IncompleteError(f"{store.url}/{name} has no plan yet")
    if covered is None:
        covered = _finish_first(known, name, windows, removed)
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
            _write(store, name, windows[: last + 1], read_records(store, name, windows[: last + 1], removed), last)
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


def _finish_first(known: Known, name: str, windows: Sequence[Window], removed: Removed) -> Mapping[str, str]:
    """Write the set without number; the windows that its index covers.

    Its urls.txt says which it covers. Windows without shards leave the choice open: then the index decides, as its
    other objects are the same.
    """
    store = known.store
    records = read_records(store, name, windows, removed)
    urls = store.create(final_path(name, "urls.txt", None), urls_txt(records))
    if not set(urls.split()) <= set(_planned_urls(name, windows)):  # another run knew windows that were added since
        windows = known.windows(name)
        records = read_records(store, name, windows, removed)
    windows = _first_windows(store, name, windows, records)
    return _write(store, name, windows, records[: sum(window.num_shards for window in windows)], None)


def _first_windows(store: Store, name: str, windows: Sequence[Window], records: Sequence[Record]) -> Sequence[Window]:
    """The windows that the set without number covers, by its urls.txt: it lists all their shards, but for those that are empty
    by now, or were so already. A numbered set that was begun covers more than it.
    """
    path = final_path(name, "urls.txt", None)
    listed = store.read(path).split()
    numbered = (last for last in range(1, len(windows)) if store.size(final_path(name, "urls.txt", last)) is not None)
    for num in range(next(numbered, len(windows)), 0, -1):
        planned = _planned_urls(name, windows[:num])
        needed = set(urls_txt(records[: len(planned)]).split())
        if listed == [url for url in planned if url in set(listed)] and needed <= set(listed):
            return windows[:num]
    raise IntegrityError(f"{store.url}/{path} lists other shards than are planned: run `shardpipe verify`")


def _planned_urls(name: str, windows: Sequence[Window]) -> list[bytes]:
    return [shard_name(name, unit).encode() for window in windows for unit in window.shard_units]


def _write(
    store: Store, name: str, windows: Sequence[Window], records: Sequence[Record], last: int | None
) -> Mapping[str, str]:
    """Write the final objects that cover these windows, the index last; the windows that its index covers."""
    columns = Dataset.open(store, name).pass_view().columns()
    beside = beside_index(name, columns, windows, records, last=last)
    for path, data in beside.items():
        _create(store, path, data, records)
    path = final_path(name, "index.parquet", last)
    data = encode_arrow(index_table(columns, windows, records), index_facts(windows))
    there = store.create(path, data)
    covered = _windows_in(path, there)
    if there != data and len(covered) == len(windows):
        _create(store, path, data, records)
    return covered


def _create(store: Store, path: str, data: bytes, records: Sequence[Record]) -> None:
    """Create an object that can only be these bytes, unless it was made before clips of the records were removed."""
    if store.create(path, data) == data:
        return
    if all(_is_whole(record) for record in records):
        raise _differs(store, path)
    overwrite(store, path, data)


def _is_whole(record: Record) -> bool:
    """Whether no clip of a shard is removed."""
    return bool(record[1].counts["kept"] == record[0].num_rows)


def _differs(store: Store, path: str) -> IntegrityError:
    return IntegrityError(f"{store.url}/{path} is there with other bytes than its records give: run `shardpipe verify`")


def index_table(columns: Columns, windows: Sequence[Window], records: Sequence[Record]) -> pa.Table:
    """The rows of an index: those of the records, without the clips' state. columns: of the folded rows."""
    others = [ext for ext in _settings(windows).members if ext != "mp4"]
    schema = arrow_schema({name: kind for name, kind in record_columns(columns, others).items() if name not in STATE})
    tables = (record[0] if _is_whole(record) else record[0].filter(record[0].column("kept")) for record in records)
    return pa.concat_tables([schema.empty_table(), *(table.select(schema.names) for table in tables)])


def index_facts(windows: Sequence[Window]) -> dict[str, Any]:
    """What an index says of itself."""
    return {"windows": {window.path: window.sha256 for window in windows}}


def beside_index(
    name: str, columns: Columns, windows: Sequence[Window], records: Sequence[Record], *, last: int | None
) -> dict[str, bytes]:
    """The final objects beside an index, path to bytes, in the order in which they are written."""
    return {
        final_path(name, "urls.txt", last): urls_txt(records),
        final_path(name, "wids.json", last): wids_json(records),
        f"{name}/README.md": dataset_card(name, _settings(windows), columns).encode(),
    }


def _settings(windows: Sequence[Window]) -> PlanSettings:
    """The settings that all windows of a Dataset share."""
    return PlanSettings.model_validate({**windows[0].settings})


def read_records(store: Store, name: str, windows: Sequence[Window], removed: Removed) -> list[Record]:
    """The record of each planned shard, in order; IncompleteError if one is not there yet, or still has a clip that is removed,
    IntegrityError if it is of another plan.
    """
    wanted = [(window, unit) for window in windows for unit in window.shard_units]
    with closing(
        in_order(wanted, lambda each: _record(store, name, each, removed), at_once=num_readers(store))
    ) as found:
        return [record.result() for _, record in found]


def _record(store: Store, name: str, planned: tuple[Window, str], removed: Removed) -> Record:
    window, unit = planned
    path = RowsLog(store, name, folder="emit").path(unit)
    try:
        data = store.read(path)
    except FileNotFoundError:
        raise IncompleteError(f"{store.url}/{name}: shard {unit} is planned but not written yet") from None
    table, meta = decode_rows(data, f"{store.url}/{path}")
    if meta.inputs != {window.path: window.sha256}:
        raise IntegrityError(f"{store.url}/{path} was made from another {window.path}: run `shardpipe verify`")
    if removed and removed_in(table, removed):
        raise IncompleteError(
            f"{store.url}/{path} still has a clip that is removed: run `shardpipe remove {store.url}`"
        )
    return table, meta


def removed_in(table: pa.Table, removed: Removed) -> list[str]:
    """The clips that a record has still, though they are removed."""
    pairs = zip(table.column("key").to_pylist(), table.column("kept").to_pylist(), strict=True)
    return removed.of(key for key, kept in pairs if kept)


def wids_json(records: Sequence[Record]) -> bytes:
    """The index of shards that the wids package reads; urls are relative to it."""
    shards: list[Mapping[str, Any]] = [
        {"url": meta.tar.name, "nsamples": meta.counts["kept"], "filesize": meta.tar.num_bytes}
        for _, meta in records
        if meta.tar is not None and meta.counts["kept"]
    ]
    return canonical_json({"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards})
