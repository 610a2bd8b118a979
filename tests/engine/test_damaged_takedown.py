"""Takedowns where something is lost or damaged: the media goes all the same, and what could not be looked into is told."""

import shutil
from pathlib import Path

import pytest
from support.tiny_dataset import fake_mp4, keys_of
from support.tiny_root import SETTINGS, make_root, objects, problems

from shardpipe.core.errors import ConfigError
from shardpipe.engine.upkeep.wish import Wish
from shardpipe.executors.remove import RemovalReport, remove_root
from shardpipe.storage.rows import decode_table

KEYS = ("v0_00000001", "v2_00000003")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("finished"), keys_of(3, 5), SETTINGS)


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "root")
    return tmp_path / "root"


def holders(root: Path) -> list[str]:
    """The objects that have media of the removed clips."""
    chunks = [data for key in KEYS for data in (fake_mp4(key)[:64], key.encode() * 9)]
    return [str(path.relative_to(root)) for path in objects(root) if any(each in path.read_bytes() for each in chunks)]


def listed(root: Path) -> set[str]:
    return {row["key"] for row in decode_table((root / "removed.parquet").read_bytes())[0].to_pylist()}


def spoil(root: Path, path: str) -> tuple[Path, bytes]:
    """Cut an object in half; where it is, and what it was."""
    file = root / path
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    return file, data


def remove(root: Path) -> RemovalReport:
    assert holders(root)
    report = remove_root(str(root), Wish(keys=KEYS))
    assert listed(root) == set(KEYS)
    assert holders(root) == []
    return report


@pytest.mark.parametrize(
    "path",
    [
        "clips/dataset.json",
        "clips/sources/0000.parquet",
        "clips/rows/000000.parquet",
        "clips/rows/000001.parquet",
        "score/dataset.json",
        "score/rows/000000-00.parquet",
        "train/dataset.json",
        "train/plan/0000.parquet",
        "train/plan/0001.parquet",
        "train/emit/000000.parquet",
        "train/emit/000001.parquet",
    ],
)
def test_damage_is_told_and_the_media_goes_all_the_same(root: Path, path: str) -> None:
    file, data = spoil(root, path)
    assert any(path in problem for problem in remove(root).problems)
    file.write_bytes(data)
    assert remove_root(str(root), Wish()).problems == ()
    assert not problems(root)


@pytest.mark.parametrize("path", ["clips/dataset.json", "train/dataset.json", "train/plan/0001.parquet"])
def test_what_belongs_to_no_dataset_any_more_is_cleaned_too(root: Path, path: str) -> None:
    data = (root / path).read_bytes()
    (root / path).unlink()
    assert {each.name for each in remove(root).datasets} == {"clips", "score", "train"}
    (root / path).write_bytes(data)
    assert remove_root(str(root), Wish()).problems == ()
    assert not problems(root)


def test_damage_elsewhere_leaves_a_rule_with_what_it_could_read(root: Path) -> None:
    spoil(root, "clips/rows/000001.parquet")
    report = remove_root(str(root), Wish(where="key LIKE '%_00000001'", keys=("v2_00000003",)))
    assert listed(root) == {"v0_00000001", "v2_00000001", "v2_00000003"}
    assert any("clips, unit 000001" in problem for problem in report.problems)


def test_a_root_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a/shards").mkdir(parents=True)
    (tmp_path / "a/shards/b.tar").write_bytes(bytes(1024))
    with pytest.raises(ConfigError, match="there is no Dataset here"):
        remove_root(str(tmp_path), Wish(keys=KEYS))
    assert not (tmp_path / "removed.parquet").exists()


def test_a_video_that_is_not_known_yet_is_noted_with_its_whole_path_too(root: Path) -> None:
    remove_root(str(root), Wish(sources=("later/b.mp4",)))
    rows = decode_table((root / "removed.parquet").read_bytes())[0].to_pylist()
    assert {row["source"] for row in rows} == {"later/b.mp4", str(Path("later/b.mp4").absolute())}
