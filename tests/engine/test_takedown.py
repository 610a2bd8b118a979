"""Takedowns of hand-made Datasets: which clips are meant, empty shards, windows, crashes, and what `verify` finds then."""

import gc
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
import webdataset
from support.emitted import add_unit, emit_all, first_window, make_train
from support.runs import snapshot
from support.tiny_dataset import fake_mp4, keys_of, make_pass
from support.tiny_root import SETTINGS, make_root, missed, objects, problems

from shardpipe.core.columns import float32
from shardpipe.core.errors import ConfigError, ShardpipeError
from shardpipe.engine.emission.index import finish
from shardpipe.engine.upkeep.wish import Wish, read_keys
from shardpipe.engine.verifying.verify import verify, verify_store
from shardpipe.executors.remove import remove_root
from shardpipe.storage.crashing import Crash, CrashingStore, CrashMode, RecordingStore
from shardpipe.storage.rows import decode_table
from shardpipe.storage.store import Store, open_store

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
KEYS = ("v0_00000001", "v2_00000003")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, scores with members, shards, and a pass over these."""
    root = make_root(tmp_path_factory.mktemp("finished"), {**keys_of(3, 5), "000003": ["bad_0"]}, SETTINGS)
    make_pass(open_store(str(root)), "late", over="train", columns={"n": float32}, score=lambda _: {"n": 1.0})
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "root")
    return tmp_path / "root"


def listed(root: Path) -> set[str]:
    return {row["key"] for row in decode_table((root / "removed.parquet").read_bytes())[0].to_pylist()}


def check_gone(root: Path, keys: tuple[str, ...]) -> None:
    for path in objects(root):
        data = path.read_bytes()
        for key in keys:
            mp4 = fake_mp4(key)
            assert not [i for i in range(0, len(mp4) - 63, 64) if mp4[i : i + 64] in data], path
            assert key.encode() * 9 not in data, path


def test_clips_are_chosen_by_a_rule_on_the_newest_rows_by_key_and_by_source(root: Path) -> None:
    wish = Wish(where="text = 'clip 4' AND source LIKE '%a.mp4'", dataset="score", keys=("v1_00000000", "nobody_1"))
    report = remove_root(str(root), wish)
    assert listed(root) == {"v0_00000004", "v1_00000004", "v2_00000004", "v1_00000000", "nobody_1"}
    assert report.unknown == ("nobody_1",)
    check_gone(root, ("v0_00000004", "v1_00000004", "v2_00000004", "v1_00000000"))
    assert not problems(root)
    assert remove_root(str(root), wish).num_new == 0
    again = remove_root(str(root), Wish(sources=("videos/a.mp4",)))
    assert (again.num_new, again.num_new_sources) == (
        11,
        2,
    )  # all hand-made clips say that they are of it; and its whole path
    check_gone(root, tuple(key for keys in keys_of(3, 5).values() for key in keys))
    assert not problems(root)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Wish(where="txt = 'a'"), "txt"),
        (Wish(where="num_frames"), "BIGINT"),
        (Wish(where="1 = 1) OR (1 = 1"), "DuckDB cannot parse it"),
        (Wish(where="key = 'a'", dataset="nothing"), "is no Dataset"),
    ],
)
def test_a_wish_that_cannot_be_met_changes_nothing(root: Path, wish: Wish, says: str) -> None:
    before = snapshot(open_store(str(root)))
    with pytest.raises(ConfigError, match=says):
        remove_root(str(root), wish)
    assert snapshot(open_store(str(root))) == before


def test_units_without_rows_are_told_where_a_rule_chooses(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    make_train(store, keys_of(2, 2))
    (tmp_path / "clips/rows/000001.parquet").unlink()
    assert remove_root(store.url, Wish(where="key = 'v0_00000000'")).waiting == ("000001",)


@pytest.mark.parametrize("line", ["a/b", "a.mp4", "../x", "k" * 200, "a b"])
def test_a_file_of_keys_has_keys_alone(tmp_path: Path, line: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# taken down\nv0_00000001\n\n{line}\n")
    with pytest.raises(ConfigError, match="no key of a clip"):
        read_keys(str(file))
    file.write_text("# taken down\nv0_00000001\n\nv0_00000001\n")
    assert read_keys(str(file)) == ("v0_00000001",)
    with pytest.raises(ConfigError, match="cannot read"):
        read_keys(str(tmp_path / "nothing"))


def test_verify_finds_every_change_of_what_remove_wrote(root: Path) -> None:
    remove_root(str(root), Wish(keys=KEYS))
    shutil.rmtree(root / ".tmp", ignore_errors=True)
    assert not problems(root)
    tars = [path for path in objects(root) if "shards/train" not in str(path) and path.suffix == ".tar"]
    blanked = [path for path in tars if b"__removed__" in path.read_bytes()]
    assert len(blanked) == 4
    written = [path for path in objects(root) if path.parent in (root, root / "train") and path.name != "dataset.json"]
    shards = [path for path in objects(root) if "train/shards" in str(path) or "train/emit" in str(path)]
    assert not missed(root, [*blanked[::3], *written, *shards[:3]], num_flips=1)


@pytest.mark.slow
def test_verify_finds_every_change_of_every_object_after_a_removal(root: Path) -> None:
    remove_root(str(root), Wish(keys=KEYS))
    shutil.rmtree(root / ".tmp", ignore_errors=True)
    assert not missed(root, objects(root), num_flips=7)


def test_verify_says_where_a_removal_is_not_finished(root: Path, finished: Path) -> None:
    remove_root(str(root), Wish(keys=KEYS))
    assert not problems(root)
    for path in objects(finished):
        own = root / path.relative_to(finished)
        done, before = own.read_bytes(), path.read_bytes()
        if done == before:
            continue
        own.write_bytes(before)
        found = problems(root)
        assert found, own
        if own.suffix == ".tar" and "train" not in own.parts:
            assert any("removal is not finished" in text for text in found)
        own.write_bytes(done)
        assert not problems(root)


def test_a_shard_without_clips_is_an_empty_tar_that_the_lists_leave_out(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    make_train(store, keys_of(3, 6))
    emit_all(store, "train")
    index = decode_table(store.read("train/index.parquet"))[0].to_pylist()
    shards = sorted({row["shard"] for row in index})
    gone = tuple(row["key"] for row in index if row["shard"] == shards[0])
    assert len(shards) > 1
    remove_root(store.url, Wish(keys=gone))
    assert not problems(tmp_path)
    assert store.read(f"train/{shards[0]}") == bytes(1024)
    assert store.read(f"train/{shards[0]}.idx") == bytes(8)
    assert store.read("train/urls.txt").decode().split() == shards[1:]
    assert shards[0].encode() not in store.read("train/wids.json")
    numbers = f"{tmp_path}/train/shards/train-{{000000..{len(shards) - 1:06d}}}.tar"
    read = [sample["__key__"] for sample in webdataset.WebDataset(numbers, shardshuffle=False)]
    gc.collect()
    assert read == [row["key"] for row in index if row["key"] not in gone]
    remove_root(store.url, Wish(keys=tuple(read)))
    assert not problems(tmp_path)
    assert store.read("train/urls.txt") == b""


def test_a_bucket_is_cleaned_as_a_disk_is(tmp_path: Path) -> None:
    keys = {**keys_of(3, 4)}
    roots = [open_store(f"memory://{tmp_path.name}/root"), open_store(str(tmp_path / "root"))]
    found = []
    for store in roots:
        make_train(store, keys)
        emit_all(store, "train")
        assert remove_root(store.url, Wish(keys=KEYS)).problems == ()
        assert verify_store(store).problems == ()
        found.append({path: data for path, data in snapshot(store).items() if not path.startswith("_run/")})
    assert found[0] == found[1]


def test_a_tar_that_no_rows_name_is_cleaned_too(root: Path) -> None:
    """Of a worker that died before its rows: the same clips, and none that the rows of its unit would name."""
    import hashlib

    mp4 = fake_mp4("v0_00000004")
    data = (root / "clips/shards").glob("000000-*").__next__().read_bytes().replace(mp4, mp4[:-1] + b"?")
    orphan = root / f"clips/shards/000000-{hashlib.sha256(data).hexdigest()[:12]}.tar"
    orphan.write_bytes(data)
    (root / "clips/shards/odd.tar").write_bytes(b"no tar" * 200)
    report = remove_root(str(root), Wish(keys=KEYS))
    assert [problem for problem in report.problems if "odd.tar" in problem]
    (root / "clips/shards/odd.tar").unlink()
    check_gone(root, KEYS)
    assert orphan.stat().st_size == len(data)
    assert verify(str(root)).problems == ()
    assert "no rows name it" in verify(str(root)).notes[0]
    orphan.write_bytes(data)
    assert any("removal is not finished" in text for text in problems(root))


def test_a_clean_root_costs_a_look_a_tar(root: Path) -> None:
    """However many clips were taken out of it."""
    keys = tuple(keys_of(3, 5)["000001"])
    remove_root(str(root), Wish(keys=keys))
    recorded = RecordingStore(open_store(str(root)))
    assert remove_root(str(root), Wish(), store=recorded).datasets == ()
    looks = [each.path for each in recorded.operations if each.name == "read_range"]
    tars = [path for path in looks if path.startswith(("clips/shards/", "score/members/"))]
    assert len(tars) == len(set(tars)) == 3
    assert not [each.path for each in recorded.operations if each.name == "size" and "/rows/" in each.path]


def with_windows(root: Path) -> Store:
    """A Dataset to which windows were added: one of a clip that will be removed, one of others, one not finished yet."""
    store = open_store(str(root))
    first_window(store, ["a_00000000", "a_00000001"])
    finish(store, "train")
    add_unit(store, ["b_00000000"])
    finish(store, "train")
    add_unit(store, ["c_00000000", "c_00000001"])
    finish(store, "train")
    return store


GONE = ("a_00000001", "b_00000000")


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], int]:
    """A root with windows, what it is once the clips are removed, and how many writes that takes."""
    root = tmp_path_factory.mktemp("windows")
    with_windows(root / "before")
    shutil.copytree(root / "before", root / "after")
    counting = CrashingStore(open_store(str(root / "after")), None, writes_only=True)
    remove_root(counting.url, Wish(keys=GONE), store=counting)
    return root / "before", snapshot(open_store(str(root / "after"))), counting.count


def test_all_windows_are_mended(windows: tuple[Path, dict[str, bytes], int]) -> None:
    before, after, _ = windows
    root = before.with_name("after")
    assert not problems(root)
    check_gone(root, GONE)
    assert after["train/urls.txt"] == b"shards/train-000000.tar\n"
    assert after["train/urls.0001.txt"] == after["train/urls.txt"]
    assert after["train/urls.0002.txt"] == after["train/urls.txt"] + b"shards/train-000002.tar\n"
    assert after.keys() - snapshot(open_store(str(before))).keys() == {"removed.parquet"}


MODES: tuple[CrashMode, ...] = ("before", "after", "torn reply")


@pytest.mark.parametrize("mode", MODES)
def test_a_crash_at_each_write_ends_in_the_same_bytes(
    windows: tuple[Path, dict[str, bytes], int], tmp_path: Path, mode: CrashMode
) -> None:
    """At each in one of the modes."""
    assert windows[2] > 15
    crash_and_finish(windows, tmp_path, mode, range(MODES.index(mode), windows[2], len(MODES)))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_crash_at_each_write_in_each_mode_ends_in_the_same_bytes(
    windows: tuple[Path, dict[str, bytes], int], tmp_path: Path, mode: CrashMode
) -> None:
    crash_and_finish(windows, tmp_path, mode, range(windows[2]))


def crash_and_finish(
    windows: tuple[Path, dict[str, bytes], int], folder: Path, mode: CrashMode, numbers: Iterable[int]
) -> None:
    before, after, _ = windows
    for n in numbers:
        root = folder / str(n)
        shutil.copytree(before, root)
        crashing = CrashingStore(open_store(str(root)), n, mode, writes_only=True)
        with suppress(Crash, ShardpipeError):
            remove_root(crashing.url, Wish(keys=GONE), store=crashing)
        remove_root(str(root), Wish() if (root / "removed.parquet").exists() else Wish(keys=GONE))
        assert snapshot(open_store(str(root))) == after, n
