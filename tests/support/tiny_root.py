"""A finished root made by hand, and whatever may happen to its objects: what `verify` must find."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from support.tiny_dataset import Row, make_clips, make_pass

from shardpipe.core.columns import Columns, float32, list_of, string
from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.emitplan import make_plan
from shardpipe.engine.emission.index import finish
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.verifying.verify import verify
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.store import open_store

COLUMNS: Columns = {"aes": float32, "text": string, "cmotion": list_of(string)}
SETTINGS = PlanSettings(shard_bytes=9_000, members=("json", "mp4", "txt", "npy"), plan_units=2)


def score(row: Row) -> Row:
    number = int(row["key"][-8:])
    found: Row = {"aes": number / 3, "text": f"clip {number}", "cmotion": ["static"], "emb": row["key"].encode() * 9}
    return {**found, "dropped_by": "aes >= 0.3" if number == 0 else None}


def make_root(root: Path, units: dict[str, list[str]], settings: PlanSettings) -> Path:
    """A finished root: clips, a pass of rows with members, an emitted one."""
    store = open_store(str(root))
    make_clips(store, units)
    make_pass(store, "score", columns=COLUMNS, score=score, members={"emb": "npy"}, unit_clips=3)
    make_pass(store, "train", over="score", columns={}, score=lambda _: {}, emit="shards")
    plan = make_plan(Dataset.open(store, "train"), settings, finished=True)
    emitter = Emitter(store, "train")
    for unit in plan.shard_units:
        emitter.emit(unit)
    finish(store, "train")
    store.replace("_run/worker.json", b"{}")
    shutil.rmtree(root / ".tmp", ignore_errors=True)
    return root


def objects(root: Path) -> list[Path]:
    found = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return [path for path in found if "_run" not in path.parts and ".tmp" not in path.parts]


def problems(root: Path) -> list[str]:
    return [str(problem) for problem in verify(str(root)).problems]


def mutations(path: Path, others: list[Path], *, num_flips: int) -> Iterator[tuple[str, dict[Path, bytes | None]]]:
    """What may happen to one object: name, and the files that it changes (None: gone)."""
    data = path.read_bytes()
    generator = random.Random(str(path.name))
    yield "delete", {path: None}
    yield f"truncate to {len(data) // 2}", {path: data[: len(data) // 2]}
    if num_flips > 1:
        for size in {0, len(data) - 1, max(0, len(data) - 512)}:
            yield f"truncate to {size}", {path: data[:size]}
        yield "grow", {path: data + b"\0"}
        yield "duplicate as the next", {_next_name(path): data}
    for at in [generator.randrange(len(data)) for _ in range(num_flips)]:
        yield f"flip {at}", {path: data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]}
    twins = [other for other in others if other.suffix == path.suffix and other.read_bytes() != data]
    if twins:
        twin = generator.choice(twins)
        yield f"swap with {twin}", {path: twin.read_bytes(), twin: data}
    yield "duplicate", {path.with_name(f"copy-{path.name}"): data}


def _next_name(path: Path) -> Path:
    head, _, ext = path.name.partition(".")
    digits = head[len(head.rstrip("0123456789")) :]
    number = f"{int(digits) + 7:0{len(digits)}d}" if digits else "1"
    return path.with_name(f"{head.removesuffix(digits)}{number}.{ext}")


def missed(root: Path, paths: list[Path], *, num_flips: int) -> list[str]:
    """The mutations of these objects that `verify` does not find."""
    everything, found = objects(root), []
    for path in paths:
        for name, changes in mutations(path, everything, num_flips=num_flips):
            before = {each: each.read_bytes() if each.exists() else None for each in changes}
            _put(changes)
            if not verify(str(root)).problems:
                found.append(f"{path.relative_to(root)}: {name}")
            _put(before)
    assert not problems(root)
    return found


def _put(files: dict[Path, bytes | None]) -> None:
    for path, data in files.items():
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(data)
