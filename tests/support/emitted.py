"""A scored pass over a tiny Dataset, its emit, and what lies in the shards then."""

import io
import tarfile

from support.tiny_dataset import (
    Row,
)

from shardpipe.core.columns import Columns, float32, list_of, string
from shardpipe.engine.emit import Emitter
from shardpipe.engine.emitplan import make_plan
from shardpipe.engine.index import finish
from shardpipe.engine.plansettings import PlanSettings
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.store import Store

COLUMNS: Columns = {"aes": float32, "text": string, "cmotion": list_of(string)}
SMALL = PlanSettings(shard_bytes=20_000)


def score(row: Row) -> Row:
    number = int(row["key"].rsplit("_", 1)[1])
    dropped_by = "aes >= 4" if number % 3 == 2 else None
    return {"aes": 4.4, "text": f"clip {number} ä", "cmotion": ["pan_left"], "dropped_by": dropped_by, "emb": b"12345"}


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


def tars(store: Store, name: str) -> dict[str, bytes]:
    return {path: store.read(path) for path in store.list(f"{name}/shards") if path.endswith(".tar")}


def samples(data: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
