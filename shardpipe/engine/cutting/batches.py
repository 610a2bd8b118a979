"""The batches of raw inputs: `clips/sources/0000.parquet`, 0001 with `--add-sources`. Each is written once, before its first unit."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from shardpipe.config.models import CLIPS, CutConfig
from shardpipe.core.columns import Columns
from shardpipe.core.errors import ConfigError
from shardpipe.engine.cutting.scenesettings import needs_frames
from shardpipe.engine.sources.captionfiles import Files, caption_columns, read_captions
from shardpipe.engine.sources.cutplan import PART_COLUMNS, plan_units
from shardpipe.engine.sources.rawfile import times_reader
from shardpipe.engine.sources.sourceplace import place
from shardpipe.engine.sources.sources import Found, Listing, list_sources
from shardpipe.storage.commit import numbered
from shardpipe.storage.rows import decode_table, encode_table
from shardpipe.storage.store import Store


def first_batch(store: Store, cut: CutConfig, listing: Listing, passthrough: Columns) -> None:
    """Create the first batch, of a listing with its captions; if another driver was faster, its batch counts."""
    _create(store, 0, listing.videos, cut, passthrough, facts={"sources": list(cut.source_list)}, first_unit=0)


def add_batch(store: Store, cut: CutConfig, listing: Listing, passthrough: Columns, *, url: str) -> int:
    """Append those videos of `listing`, which `url` gave, that no batch has yet; their number."""
    while True:
        paths = numbered(store, f"{CLIPS}/sources")
        known, units = _listed(store, paths)
        new = [video for video in listing.videos if place(video.url, video.container) not in known]
        if not new:
            return 0
        if cut.captions:
            new = read_captions(new, cut.captions)
        if _create(store, len(paths), new, cut, passthrough, facts={"sources": [url]}, first_unit=len(units)):
            return len(new)


def read_batches(store: Store, name: str) -> list[pa.Table]:
    """All batches of sources, in order: one row a part. They stay in Arrow: a million dicts would take gigabytes."""
    return [_read_batch(store, path) for path in numbered(store, f"{name}/sources")]


def _read_batch(store: Store, path: str) -> pa.Table:
    return decode_table(store.read(path), f"{store.url}/{path}", columns=PART_COLUMNS)[0]


def parts_of(batches: Sequence[pa.Table], unit: str) -> list[dict[str, Any]]:
    """The parts of one unit, in order; none if no batch has it."""
    return [part for batch in batches for part in _slice_of(batch, int(unit)).to_pylist()]


def _slice_of(batch: pa.Table, number: int) -> pa.Table:
    """The rows of one unit: they stand together, and units are numbered in their order."""
    names = batch.column("unit")
    places = range(len(names))
    start = bisect_left(places, number, key=lambda place: int(names[place].as_py()))
    stop = bisect_right(places, number, key=lambda place: int(names[place].as_py()))
    return batch.slice(start, stop - start)


def unit_costs(batches: Sequence[pa.Table]) -> dict[str, float]:
    """Each unit, in order, and the bytes that it has to read."""
    costs: dict[str, float] = {}
    for batch in batches:
        pairs = zip(batch.column("unit").to_pylist(), batch.column("cost").to_pylist(), strict=True)
        for unit, cost in pairs:
            costs[unit] = costs.get(unit, 0.0) + (cost or 0.0)
    return costs


def list_added(store: Store, url: str, passthrough: Columns, captions: Files) -> Listing:
    """The videos that `--add-sources URL` means; raises ConfigError if there are none, or their columns do not fit."""
    listing = list_sources([url], root=store.url, where="--add-sources", texts=captions)
    caption_columns(captions, listing.columns, url)
    if extra := {name: kind for name, kind in listing.columns.items() if passthrough.get(name) != kind}:
        raise ConfigError(
            f"--add-sources: {url} has the columns {_named(extra)}, and the first batch has {_named(passthrough) or 'none'} "
            "of its own: a root's columns are set by its first sources"
        )
    return listing


def num_new(store: Store, listing: Listing, first: Sequence[Found] = ()) -> int:
    """How many videos of `listing` no batch has yet, nor `first`, which the first batch will be made of."""
    known, _ = _listed(store, numbered(store, f"{CLIPS}/sources"))
    known.update(place(video.url, video.container) for video in first)
    return sum(place(video.url, video.container) not in known for video in listing.videos)


def _listed(store: Store, paths: Sequence[str]) -> tuple[set[str], set[str]]:
    """The places of the videos, and the units, of the batches at `paths`."""
    known: set[str] = set()
    units: set[str] = set()
    for path in paths:
        table = _read_batch(store, path)
        pairs = zip(table.column("url").to_pylist(), table.column("container").to_pylist(), strict=True)
        known.update(place(*pair) for pair in set(pairs))
        units.update(table.column("unit").to_pylist())
    return known, units


def _named(columns: Columns) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in columns.items())


def _create(
    store: Store,
    index: int,
    videos: Sequence[Found],
    cut: CutConfig,
    passthrough: Columns,
    *,
    facts: Mapping[str, Any],
    first_unit: int,
) -> bool:
    """Create batch `index`; False if what is there now is another's."""
    scenes = cut.scenes
    # without a longest clip, where a unit ends could lie anywhere after its edge: such videos are one unit each
    splits = scenes.policy.max_s is not None or not needs_frames(scenes.detector, scenes.policy)
    rows = plan_units(
        videos,
        times_of=times_reader(),
        shard_bytes=cut.shard_bytes,
        unit_s=cut.unit_s if splits else math.inf,
        first_unit=first_unit,
    )
    data = encode_table({**PART_COLUMNS, **passthrough}, rows, facts)
    return store.create(f"{CLIPS}/sources/{index:04d}.parquet", data) == data
