"""Roots of many units, quickly: `clips`, `score` (rows) and `train` (emitted), as a run leaves them, but without a byte of media.

Each rows object is one that the real encoder wrote, with the facts of its own unit in its footer: all units have the same clips.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from support.packed_store import PackedStore, Packer
from support.tiny_dataset import clip_row

from shardpipe.config.models import Config
from shardpipe.core.clip import CLIP_COLUMNS, LOCATION, STATE
from shardpipe.core.columns import Columns, string
from shardpipe.core.fingerprint import canonical_json, fingerprint, sha256_hex
from shardpipe.engine.counts import count
from shardpipe.engine.emission.index import index_facts
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.emission.window import PLAN_COLUMNS, Window, shard_unit
from shardpipe.engine.prepare import prepare
from shardpipe.engine.sources.cutplan import PART_COLUMNS
from shardpipe.storage.dataset import DatasetInfo
from shardpipe.storage.rows import (
    CHECKSUM,
    WRITER,
    RowsMeta,
    TarRef,
    arrow_schema,
    encode_arrow,
    encode_rows,
    encode_table,
    quick_text,
)
from shardpipe.storage.rows import FORMAT as ROWS_FORMAT
from shardpipe.storage.store import open_store

Row = dict[str, Any]
NUM_SHARDS = 50


def large_config() -> Config:
    """The config of such a root."""
    score = {"name": "score", "from": "clips", "stages": [{"type": "flow"}], "emit": "rows"}
    train = {"name": "train", "from": "score", "keep": ["duration_s > 1"], "emit": "shards"}
    return Config.model_validate({"root": "packed", "passes": [score, train]})


@dataclass(frozen=True)
class _Template:
    """A rows object whose facts are replaced by others of the same length."""

    data: bytes
    text: bytes
    names: frozenset[str]

    @staticmethod
    def of(columns: Columns, rows: list[Row], meta: RowsMeta) -> "_Template":
        data = encode_rows(columns, rows, meta)
        text = quick_text(data)
        assert text is not None
        return _Template(data, text, frozenset(json.loads(text)))

    def filled(self, meta: RowsMeta) -> bytes:
        facts = {name: value for name, value in asdict(meta).items() if name in self.names}
        facts |= {"format": ROWS_FORMAT, WRITER: pa.cpp_version}
        text = canonical_json({**facts, CHECKSUM: fingerprint(facts)})
        assert len(text) == len(self.text)
        assert self.data.count(self.text) == 1
        return self.data.replace(self.text, text)


def make_large(path: Path, num_units: int, *, num_clips: int = 2) -> None:
    """Pack such a root: each unit has so many clips, all kept but the first, which `score` has no rule to drop."""
    pack = Packer(path)
    clips = _clips_info()
    units = [f"{i:06d}" for i in range(num_units)]
    small = open_store(f"memory://large-{num_units}")
    small.create("clips/dataset.json", clips.to_bytes())
    parts = [{"url": f"videos/{unit}.mp4", "unit": unit, "part": 0, "cost": 1.0} for unit in units]
    sources = encode_table(PART_COLUMNS, parts, {"batch": 0})
    small.create("clips/sources/0000.parquet", sources)
    score, train = (each.shape.info for each in prepare(small, large_config()).passes)
    pack.add("clips/sources/0000.parquet", sources)
    for info in (clips, score, train):
        pack.add(f"{info.name}/dataset.json", info.to_bytes())
    keys = [f"v0_{i:08d}" for i in range(num_clips)]
    base = [{**clip_row(key, key.encode()), "shard": "shards/x.tar", "offset": 512, "size": 9} for key in keys]
    none = {key: _state(key, dropped=i == 0) for i, key in enumerate(keys)}
    made: dict[str, str] = {}
    made |= _add_rows(pack, clips, {**CLIP_COLUMNS, **STATE, **LOCATION}, base, units, tar=True)
    made |= _add_rows(pack, score, _columns(score), [*none.values()], units, made=made, inputs=("clips",))
    kept = [_state(key, dropped=False) for key in keys[1:]]
    made |= _add_rows(pack, train, _columns(train), kept, units, made=made, inputs=("clips", "score"))
    _add_plan(pack, train, units, made)
    pack.close()


def _clips_info() -> DatasetInfo:
    identity = {"cut": "large"}
    return DatasetInfo(
        name="clips",
        kind="cut",
        emit="rows",
        fingerprint=fingerprint(identity),
        identity=identity,
        layers=["."],
        columns={name: str(kind) for name, kind in CLIP_COLUMNS.items()},
    )


def _columns(info: DatasetInfo) -> Columns:
    return {"key": string, **STATE, **info.typed_columns}


def _state(key: str, *, dropped: bool) -> Row:
    dropped_by = "flow > 1" if dropped else None
    return {"key": key, "kept": not dropped, "dropped_by": dropped_by, "error": None, "duration_s": 2.0}


def _add_rows(
    pack: Packer,
    info: DatasetInfo,
    columns: Columns,
    rows: list[Row],
    units: list[str],
    *,
    tar: bool = False,
    made: Mapping[str, str] | None = None,
    inputs: tuple[str, ...] = (),
) -> dict[str, str]:
    """The rows of all units of one Dataset: path to sha256."""
    own = [{name: value for name, value in row.items() if name in columns} for row in rows]

    def meta(unit: str) -> RowsMeta:
        paths = [f"{name}/rows/{unit}.parquet" for name in inputs]
        ref = TarRef(f"shards/{unit}-{'0' * 12}.tar", 10240, "0" * 64) if tar else None
        used = {path: (made or {})[path] for path in paths}
        return RowsMeta(info.fingerprint, unit, used, tar=ref, counts=count(rows))

    template = _Template.of(columns, own, meta(units[0]))
    found = {}
    for unit in units:
        data = template.filled(meta(unit))
        found[f"{info.name}/rows/{unit}.parquet"] = sha256_hex(data)
        pack.add(f"{info.name}/rows/{unit}.parquet", data)
    return found


def _add_plan(pack: Packer, info: DatasetInfo, units: list[str], inputs: Mapping[str, str]) -> None:
    """One window over all units, the records of its shards, and the index."""
    settings = PlanSettings.of(large_config().passes[1])
    rows = []
    for i, unit in enumerate(units):
        shard = i * NUM_SHARDS // len(units)
        out = {"unit_out": shard_unit(shard), "shard": shard, "place": 0}
        where = {"media": "clips/shards/x.tar", "offset": 512, "size": 9, "sha256": "0" * 64}
        rows.append({"key": f"v{unit}_00000001", "unit": unit, **out, **where})
    facts = {"settings": settings.identity, "units": units, "missing": [], "inputs": dict(inputs)}
    data = encode_table(PLAN_COLUMNS, rows, {**facts, "first_shard": 0, "num_shards": NUM_SHARDS})
    window = Window.decode(f"{info.name}/plan/0000.parquet", data)
    pack.add(window.path, data)
    for unit in window.shard_units:
        meta = RowsMeta("0" * 64, unit, {window.path: window.sha256}, counts=count([]))
        pack.add(f"{info.name}/emit/{unit}.parquet", encode_rows({"key": string}, [], meta))
        pack.add(f"{info.name}/shards/{info.name}-{unit}.tar", b"tar")
    table = arrow_schema({"key": string}).empty_table()
    pack.add(f"{info.name}/index.parquet", encode_arrow(table, index_facts([window])))


def large_store(path: Path, over: Path, *, left: float = 0.0) -> PackedStore:
    """The root, all done; or with this share of the units of `score` not done yet, and nothing of `train`."""
    whole = PackedStore(path, over)
    if not left:
        return whole
    rows = list(whole.list("score/rows"))
    gone = rows[round(len(rows) * (1 - left)) :]
    return PackedStore(path, over, without=[*gone, *whole.list("train")])
