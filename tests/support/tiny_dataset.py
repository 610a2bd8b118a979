"""Small Datasets made by hand, without cutting or decoding: `clips`, and passes over it that write given columns."""

import hashlib
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import xxhash

from shardpipe.core.clip import CLIP_COLUMNS, LOCATION, STATE
from shardpipe.core.columns import Columns, string
from shardpipe.core.fingerprint import fingerprint
from shardpipe.engine.counts import count
from shardpipe.engine.emission.sidecar import sidecar
from shardpipe.engine.sources.cutplan import PART_COLUMNS
from shardpipe.storage.commit import RowsLog, tar_name
from shardpipe.storage.dataset import Dataset, DatasetInfo
from shardpipe.storage.members import member_columns, member_values
from shardpipe.storage.rows import RowsMeta, TarRef, encode_rows, encode_table
from shardpipe.storage.store import Store
from shardpipe.storage.tar import TarWriter

Row = dict[str, Any]


def fake_mp4(key: str) -> bytes:
    """Bytes of 600 to 3000, always the same for a key; no video."""
    generator = random.Random(key)
    return generator.randbytes(generator.randrange(600, 3000))


def clip_row(key: str, data: bytes, **values: Any) -> Row:
    """A clip's row in `clips`."""
    facts = {"video_id": key.rsplit("_", 1)[0], "scene": 0, "start_s": 0.0, "end_s": 2.0, "duration_s": 2.0}
    facts |= {"num_frames": 50, "width": 320, "height": 180, "aspect_ratio": 0.5625, "resolution": 57600, "fps": 25.0}
    facts |= {"codec": "h264", "has_audio": False, "cut_method": "copy", "num_encoded": 0, "pix_fmt": "yuv420p"}
    facts |= {"bit_depth": 8, "color_transfer": "bt709", "interlaced": False, "rotation": 0, "sar": "1:1"}
    facts |= {"bit_rate": 1000, "source": "videos/a.mp4", "path": f"{key}.mp4"}
    own = {"key": key, "num_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    state = {"kept": True, "dropped_by": None, "error": None}
    return {**facts, **own, **state, **values}


def make_clips(
    store: Store, units: Mapping[str, Sequence[str]], *, payload: Callable[[str], bytes] = fake_mp4, **values: Any
) -> Dataset:
    """The Dataset `clips` with these keys in each unit. A key that starts with `bad` is an error row without media.

    `values` are facts that all rows share, in place of `clip_row`'s.
    """
    info = DatasetInfo(
        name="clips",
        kind="cut",
        emit="rows",
        fingerprint=fingerprint({"cut": "tiny"}),
        identity={"cut": "tiny"},
        layers=["."],
        columns={name: str(kind) for name, kind in CLIP_COLUMNS.items()},
    )
    store.create("clips/dataset.json", info.to_bytes())
    parts = [{"url": f"videos/{unit}.mp4", "unit": unit, "part": 0, "cost": 1.0} for unit in units]
    store.create("clips/sources/0000.parquet", encode_table(PART_COLUMNS, parts, {"batch": 0}))
    for unit, keys in units.items():
        commit_clips(store, info, unit, keys, payload=payload, values=values)
    return Dataset(store, info)


def commit_clips(
    store: Store, info: DatasetInfo, unit: str, keys: Sequence[str], *, payload: Callable[[str], bytes], values: Row
) -> None:
    """One unit of `clips`: its tar, then its rows."""
    rows, ref = [], None
    folder = store.scratch()
    with TarWriter(folder / "unit.tar") as tar:
        for key in keys:
            data = payload(key)
            if key.startswith("bad"):
                empty = dict.fromkeys([*CLIP_COLUMNS, *LOCATION])
                rows.append({**empty, "key": key, "kept": False, "dropped_by": "error: cut", "error": "no video"})
                continue
            row = clip_row(key, data, **values)
            tar.add(f"{key}.json", sidecar(row, CLIP_COLUMNS))
            row["offset"], row["size"] = tar.add(f"{key}.mp4", data)
            row["xxh128"] = xxhash.xxh3_128_hexdigest(data)
            rows.append(row)
        if tar.num_samples:
            written = tar.close()
            ref = TarRef(tar_name("shards", unit, 0, written.sha256), written.num_bytes, written.sha256)
            store.put_file(f"clips/{ref.name}", folder / "unit.tar")
            for row in rows:
                row["shard"] = ref.name if row.get("size") else None
    shutil.rmtree(folder, ignore_errors=True)
    columns = {**CLIP_COLUMNS, **STATE, **LOCATION}
    meta = RowsMeta(fingerprint=info.fingerprint, unit=unit, tar=ref, counts=count(rows))
    RowsLog(store, "clips").commit(unit, encode_rows(columns, rows, meta))


def make_pass(
    store: Store,
    name: str,
    *,
    over: str = "clips",
    columns: Columns,
    score: Callable[[Row], Row],
    emit: Literal["rows", "shards"] = "rows",
    members: Mapping[str, str] | None = None,
    unit_clips: int | None = None,
    skip: Sequence[str] = (),
) -> Dataset:
    """A pass over `over`, with rows of all its units but those of `skip`.

    `score` gives a clip's new columns (members as bytes), and `dropped_by` where a rule drops it.
    """
    base = Dataset.open(store, over).next_view()
    identity = {"pass": name, "columns": sorted(columns)}
    info = DatasetInfo(
        name=name,
        kind="pass",
        emit=emit,
        fingerprint=fingerprint(identity),
        identity=identity,
        layers=[*(f"../{layer.name}" for layer in base.layers), "."],
        columns={column: str(kind) for column, kind in columns.items()},
        members=dict(members or {}),
        unit_clips=unit_clips,
    )
    store.create(f"{name}/dataset.json", info.to_bytes())
    for unit in base.units():
        if unit not in skip:
            commit_pass_unit(store, info, unit, score)
    return Dataset(store, info)


def commit_pass_unit(store: Store, info: DatasetInfo, unit: str, score: Callable[[Row], Row]) -> None:
    """The rows of one unit of a pass, in slices if it has them."""
    dataset = Dataset(store, info)
    layers = dataset.pass_layers()
    fold = type(dataset.pass_view())(store, layers[:-1]).fold(unit)
    size = info.unit_clips or max(1, len(fold.rows))
    for name, start in zip(
        layers[-1].slices(unit, len(fold.rows)), range(0, max(1, len(fold.rows)), size), strict=True
    ):
        rows, ref = [], None
        folder: Path = store.scratch()
        with TarWriter(folder / "members.tar") as tar:
            for row in fold.rows[start : start + size]:
                if row["kept"]:
                    rows.append(_scored(info, tar, row, score(row)))
            if tar.num_samples:
                written = tar.close()
                ref = TarRef(tar_name("members", name, 0, written.sha256), written.num_bytes, written.sha256)
                store.put_file(f"{info.name}/{ref.name}", folder / "members.tar")
        shutil.rmtree(folder, ignore_errors=True)
        columns: Columns = {"key": string, **STATE, **info.typed_columns, **member_columns(sorted(info.members))}
        facts = [{**row, "duration_s": 2.0} for row in rows]
        meta = RowsMeta(
            fingerprint=info.fingerprint, unit=name, inputs=fold.inputs, members_tar=ref, counts=count(facts)
        )
        RowsLog(store, info.name).commit(name, encode_rows(columns, rows, meta))


def _scored(info: DatasetInfo, tar: TarWriter, row: Row, scored: Row) -> Row:
    found = {name: scored.get(name) for name in info.columns}
    for member, ext in info.members.items():
        if scored.get(member) is not None:
            at = tar.add(f"{row['key']}.{ext}", scored[member])
            found |= member_values(member, at, hashlib.sha256(scored[member]).hexdigest())
    dropped_by = scored.get("dropped_by")
    return {"key": row["key"], "kept": dropped_by is None, "dropped_by": dropped_by, "error": None, **found}


def keys_of(units: int, clips: int) -> dict[str, list[str]]:
    """`units` units of `clips` keys each."""
    return {f"{unit:06d}": [f"v{unit}_{clip:08d}" for clip in range(clips)] for unit in range(units)}
