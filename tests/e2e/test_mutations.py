"""`verify` finds every single mutation of a root that has all that there is."""

import random
import shutil
from pathlib import Path

import pytest
from support.mutations import Change, missed, mutations, objects
from support.runs import rows_of
from support.whole_root import later_video, make_whole

from shardpipe.engine.upkeep.wish import Wish
from shardpipe.engine.verifying.verify import verify
from shardpipe.executors.remove import remove_root
from shardpipe.storage.store import open_store

NUM_SAMPLED = 50
PARTS = 8
KINDS = (
    "clips/sources/0001.parquet",
    "clips/rows/*.1.parquet",
    "clips/shards/*.1-*.tar",
    "score/rows/*-01.parquet",
    "score/members/*-00.1-*.tar",
    "train/plan/0001.parquet",
    "train/index.0001.parquet",
    "train/shards/*.idx",
)


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "root"
    make_whole(root, videos, later_video(tmp_path_factory.mktemp("later")))
    shutil.rmtree(root / ".tmp", ignore_errors=True)
    return root


def test_the_root_has_all_that_there_is(whole: Path) -> None:
    report = verify(str(whole))
    assert (report.problems, report.notes) == ((), ())
    assert [kind for kind in KINDS if not list(whole.glob(kind))] == []
    assert report.num_objects == len(objects(whole)) > 45


@pytest.mark.parametrize("seed", range(2))
def test_sampled_mutations_are_found(whole: Path, seed: int) -> None:
    every = list(mutations(objects(whole)))
    assert not missed(whole, random.Random(seed).sample(every, NUM_SAMPLED // 2))


@pytest.fixture(scope="module")
def lessened(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same root, from which one clip was removed and then another."""
    root = Path(shutil.copytree(whole, tmp_path_factory.mktemp("lessened") / "root"))
    keys = sorted(key for key, row in rows_of(open_store(str(root)), "train").items() if row["kept"])
    for key in (keys[0], keys[-1]):
        assert not remove_root(str(root), Wish(keys=(key,))).problems
    shutil.rmtree(root / ".tmp", ignore_errors=True)
    assert (root / "removed.0001.parquet").is_file()
    return root


def of_removals(root: Path) -> list[tuple[str, Change]]:
    """The mutations of what only a root with removed clips has, and of the tars that these were in."""
    return [each for each in mutations(objects(root)) if any("removed" in path for path in each[1])]


def test_mutations_of_the_list_of_removed_clips_are_found(lessened: Path) -> None:
    assert verify(str(lessened)).problems == ()
    every = of_removals(lessened)
    assert not missed(lessened, random.Random(1).sample(every, 12))


@pytest.mark.slow
def test_every_mutation_of_a_root_with_removed_clips_is_found(lessened: Path) -> None:
    others = random.Random(2).sample(list(mutations(objects(lessened))), 200)
    assert not missed(lessened, [*of_removals(lessened), *others])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_mutation_is_found(whole: Path, part: int) -> None:
    assert not missed(whole, list(mutations(objects(whole)))[part::PARTS])
