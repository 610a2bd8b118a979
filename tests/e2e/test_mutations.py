"""`verify` finds every single mutation of a root that has all that there is."""

import random
import shutil
from pathlib import Path

import pytest
from support.mutations import missed, mutations, objects
from support.whole_root import later_video, make_whole

from shardpipe.engine.verify import verify

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


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_mutation_is_found(whole: Path, part: int) -> None:
    assert not missed(whole, list(mutations(objects(whole)))[part::PARTS])
