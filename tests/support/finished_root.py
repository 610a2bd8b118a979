"""A finished root made by hand, with all that a root may have: slices, members, a second generation, windows, a pass over shards."""

from dataclasses import replace
from pathlib import Path

from support.tiny_dataset import Row, keys_of, make_clips, make_pass

from shardpipe.core.clip import CLIP_COLUMNS, LOCATION, STATE
from shardpipe.core.columns import Columns, float32, list_of, string
from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.emitplan import make_plan
from shardpipe.engine.emission.index import finish
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.rows import decode_rows, encode_rows
from shardpipe.storage.store import Store, open_store

COLUMNS: Columns = {"aes": float32, "text": string, "cmotion": list_of(string)}
SETTINGS = PlanSettings(shard_bytes=9_000, members=("json", "mp4", "txt", "npy"), plan_units=2)
ALL = ("clips", "score", "train", "late")


def score(row: Row) -> Row:
    """What the pass `score` says of a clip; the first of each unit is dropped."""
    number = int(row["key"][-8:])
    found: Row = {"aes": number / 3, "text": f"clip {number}", "cmotion": ["static"], "emb": row["key"].encode() * 9}
    return {**found, "dropped_by": "aes >= 0.3" if number == 0 else None}


def finished_root(root: Path, *, num_units: int = 3) -> Store:
    """`clips` (one unit retried), `score` over it, `train` emitted, `late` over that; and what no copy has to take along."""
    store = open_store(str(root))
    make_clips(store, {**keys_of(num_units, 4), f"{num_units:06d}": ["bad_0"]})
    retry(store, "000000")
    make_pass(store, "score", columns=COLUMNS, score=score, members={"emb": "npy"}, unit_clips=3)
    make_pass(store, "train", over="score", columns={}, score=lambda _: {}, emit="shards")
    plan = make_plan(Dataset.open(store, "train"), SETTINGS, finished=True)
    emitter = Emitter(store, "train")
    for unit in plan.shard_units:
        emitter.emit(unit)
    finish(store, "train")
    make_pass(store, "late", over="train", columns={"n": float32}, score=lambda _: {"n": 1.0})
    store.replace("_run/worker.json", b"{}")
    return store


def retry(store: Store, unit: str) -> None:
    """A second generation of a unit of `clips`, with the same tar."""
    log = RowsLog(store, "clips")
    table, meta = decode_rows(store.read(log.path(unit)))
    data = encode_rows({**CLIP_COLUMNS, **STATE, **LOCATION}, table.to_pylist(), replace(meta, generation=1))
    log.commit(unit, data, 1)
