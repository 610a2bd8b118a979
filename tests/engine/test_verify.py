import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.emitted import add_unit, first_window
from support.tiny_dataset import Row, commit_pass_unit, keys_of, make_clips, make_pass

from shardpipe.core.columns import Columns, float32, list_of, string
from shardpipe.engine.emit import Emitter
from shardpipe.engine.emitplan import make_plan
from shardpipe.engine.index import finish
from shardpipe.engine.plansettings import PlanSettings
from shardpipe.engine.verify import verify
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    make_root(root, {**keys_of(3, 5), "000003": ["bad_0"]}, SETTINGS)
    make_pass(open_store(str(root)), "late", over="train", columns={"n": float32}, score=lambda _: {"n": 1.0})
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "root")
    return tmp_path / "root"


def objects(root: Path) -> list[Path]:
    found = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return [path for path in found if "_run" not in path.parts and ".tmp" not in path.parts]


def problems(root: Path) -> list[str]:
    return [str(problem) for problem in verify(str(root)).problems]


def test_a_finished_root_has_no_problem(root: Path) -> None:
    report = verify(str(root))
    assert report.problems == ()
    assert report.notes == ()
    assert report.num_objects == len(objects(root)) > 30


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


def test_a_mutation_of_an_object_of_any_kind_is_found(tmp_path: Path) -> None:
    root = make_root(tmp_path, keys_of(1, 3), PlanSettings(shard_bytes=1 << 20, members=("json", "mp4")))
    kinds = {(path.relative_to(root).parts[:-1], path.suffix, len(path.suffixes)): path for path in objects(root)}
    paths = list(kinds.values())
    assert len(paths) >= 14
    assert not missed(root, paths, num_flips=1)


def test_a_mutation_of_final_objects_is_found_where_windows_were_added(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first_window(store, ["a_00000000"])
    finish(store, "train")
    for number in (1, 3):
        add_unit(store, [f"b_0000000{number}"])
        finish(store, "train")
    shutil.rmtree(tmp_path / ".tmp", ignore_errors=True)
    finals = [path for path in objects(tmp_path) if path.parent == tmp_path / "train" and path.name != "dataset.json"]
    assert len(finals) == 10
    assert not missed(tmp_path, finals, num_flips=1)


@pytest.mark.slow
def test_every_mutation_of_every_object_is_found(root: Path) -> None:
    assert not missed(root, objects(root), num_flips=7)


def _put(files: dict[Path, bytes | None]) -> None:
    for path, data in files.items():
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(data)


def test_a_generation_that_is_a_copy_is_found(root: Path) -> None:
    shutil.copy(root / "score/rows/000000-00.parquet", root / "score/rows/000000-00.1.parquet")
    assert any("holds the rows of unit 000000-00, generation 0" in problem for problem in problems(root))


def test_rows_of_an_input_that_changed_are_found(root: Path) -> None:
    store = open_store(str(root))
    for path in (root / "score/rows").glob("000001-*"):
        path.unlink()
    shutil.rmtree(root / "score/members")
    commit_pass_unit(store, Dataset.open(store, "score").info, "000001", lambda row: {**score(row), "aes": 7.0})
    found = problems(root)
    assert any("train/rows/000001.parquet: was made from other rows" in problem for problem in found)
    assert any(problem.startswith("train/plan/0000.parquet: ") for problem in found)


def test_what_is_not_done_yet_is_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    make_clips(store, keys_of(2, 2))
    make_pass(store, "train", columns=COLUMNS, score=score, emit="shards", skip=["000001"])
    assert problems(tmp_path) == [
        "train/rows/000001.parquet: is missing: not done yet, or lost",
        "train/plan: covers not all units: 000000 and 1 more are not planned",
        "train/plan: is missing: not emitted yet, or lost",
    ]


def test_a_tar_of_a_lost_race_is_no_problem(root: Path) -> None:
    import hashlib

    data = b"a tar that another encoder made"
    (root / f"clips/shards/000000-{hashlib.sha256(data).hexdigest()[:12]}.tar").write_bytes(data)
    report = verify(str(root))
    assert report.problems == ()
    assert "no rows name it" in report.notes[0]


def test_objects_of_others_are_left_alone(root: Path) -> None:
    (root / "notes.txt").write_text("x")
    (root / "videos").mkdir()
    (root / "videos/a.mp4").write_text("x")
    report = verify(str(root))
    assert report.problems == ()
    assert "2 objects are not shardpipe's" in report.notes[0]


def test_deep_decodes_every_clip(finished: Path) -> None:
    report = verify(str(finished), deep=True)
    assert len(report.problems) == 15  # none of the made-up clips is a video
    assert all("cannot be decoded" in problem.text for problem in report.problems)
