"""A scored pass over a tiny Dataset, its emit, and what lies in the shards then."""

import io
import tarfile
from collections.abc import Mapping, Sequence

from support.tiny_dataset import Row, commit_clips, commit_pass_unit, fake_mp4, make_clips, make_pass

from shardpipe.core.columns import Columns, float32, list_of, string
from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.emitplan import make_plan
from shardpipe.engine.emission.index import finish
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.sources.cutplan import PART_COLUMNS
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.rows import encode_table
from shardpipe.storage.store import Store

COLUMNS: Columns = {"aes": float32, "text": string, "cmotion": list_of(string)}
SMALL = PlanSettings(shard_bytes=20_000)


def score(row: Row) -> Row:
    number = int(row["key"].rsplit("_", 1)[1])
    dropped_by = "aes >= 4" if number % 3 == 2 else None
    return {"aes": 4.4, "text": f"clip {number} ä", "cmotion": ["pan_left"], "dropped_by": dropped_by, "emb": b"12345"}


def make_train(store: Store, units: Mapping[str, Sequence[str]]) -> Dataset:
    """`clips` with these keys in each unit, and the scored pass `train` over it, of which nothing is emitted yet."""
    make_clips(store, units)
    return make_pass(store, "train", columns=COLUMNS, score=score, emit="shards")


def emit_all(store: Store, name: str, settings: PlanSettings = SMALL) -> None:
    emit_shards(store, name, settings)
    finish(store, name)


def emit_shards(store: Store, name: str, settings: PlanSettings = SMALL) -> None:
    """All but the final objects."""
    plan = make_plan(Dataset.open(store, name), settings, finished=True)
    assert plan.is_whole
    emitter = Emitter(store, name)
    for unit in plan.shard_units:
        emitter.emit(unit)


def add_clips(store: Store, keys: list[str]) -> str:
    """One more unit of sources, with these clips; its name."""
    number, unit = len(store.list("clips/sources")), f"{len(store.list('clips/rows')):06d}"
    part = {"url": f"videos/{unit}.mp4", "unit": unit, "part": 0, "cost": 1.0}
    store.create(f"clips/sources/{number:04d}.parquet", encode_table(PART_COLUMNS, [part], {"batch": number}))
    commit_clips(store, Dataset.open(store, "clips").info, unit, keys, payload=fake_mp4, values={})
    return unit


def add_unit(store: Store, keys: list[str]) -> None:
    """One more unit that is scored, planned and emitted; only the final objects are not written."""
    unit = add_clips(store, keys)
    commit_pass_unit(store, Dataset.open(store, "train").info, unit, score)
    emit_shards(store, "train")


def first_window(store: Store, keys: list[str]) -> None:
    """A Dataset with one window of shards, and no final objects yet."""
    make_train(store, {"000000": keys})
    emit_shards(store, "train")


def tars(store: Store, name: str) -> dict[str, bytes]:
    return {path: store.read(path) for path in store.list(f"{name}/shards") if path.endswith(".tar")}


def samples(data: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
