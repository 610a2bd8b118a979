"""What shardpipe.testing offers: a stage that breaks the contract in any one way is caught, and made clips are real."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
import webdataset
from pydantic import ConfigDict

from shardpipe.core.columns import ColumnType, Member, Writes, float32, list_of, string
from shardpipe.core.errors import ConfigError, MediaError, StageError
from shardpipe.core.frames import FrameRequest, Rate, Uniform
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.testing import check_stage, make_clip, make_shard, score_clip, synthetic_clips


class Good(Stage):
    """Mean luma."""

    type: Literal["good"] = "good"
    num_frames: int = 2

    @property
    def frames(self) -> FrameRequest:
        return FrameRequest(Uniform(self.num_frames), long_side=64, pixels="gray")

    @property
    def writes(self) -> Writes:
        return {"good": float32}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{"good": float(view.frames.data.mean())} for view in batch]


class TooFew(Good):
    """Forgets a clip."""

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return super().process(batch[1:])


class WrongType(Good):
    """Text in a number's column."""

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{"good": "bright"} for _ in batch]


class NotANumber(Good):
    """NaN for a score."""

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{"good": float("nan")} for _ in batch]


class Missing(Good):
    """Leaves a column out."""

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{} for _ in batch]


class Unknown(Good):
    """A column that nobody was told of."""

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{"good": 1.0, "extra": 1.0} for _ in batch]


class ByBatch(Good):
    """Depends on the batch."""

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{"good": float(len(batch))} for _ in batch]


class ByOrder(Good):
    """Gives the right results in the wrong order."""

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return sorted(super().process(batch), key=lambda result: result["good"])  # type: ignore[index]


class Writer(Good):
    """Writes to its frames."""

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        results = super().process(batch)
        batch[0].frames.data.fill(0)
        return results


class Keeper(Good):
    """Gives a view of the frames' memory."""

    @property
    def writes(self) -> Writes:
        return {"good": list_of(ColumnType("int64"))}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{"good": view.frames.data[0, 0, :4]} for view in batch]


class Loose(Good):
    """Takes any field."""

    model_config = ConfigDict(frozen=True, extra="allow")


class BadName(Good):
    """A column that no rule could name."""

    @property
    def writes(self) -> Writes:
        return {"Good Score": float32}


class Reserved(Good):
    """A column of the engine's own."""

    @property
    def writes(self) -> Writes:
        return {"kept": float32}


class Empty(Good):
    """Writes nothing."""

    @property
    def writes(self) -> Writes:
        return {}


class PlainType(Good):
    """A Python type for a column type."""

    @property
    def writes(self) -> Writes:
        return {"good": float}  # type: ignore[dict-item]


class OneText(Good):
    """`reads` as one text in place of a list."""

    @property
    def reads(self) -> Sequence[str]:
        return "aes"


class NoMessage(Good):
    """An error that says nothing."""

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [ClipError("") for _ in batch]


class WrongMember(Good):
    """A member that is no bytes."""

    @property
    def writes(self) -> Writes:
        return {"good": Member("txt")}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{"good": "text"} for _ in batch]


BROKEN: dict[Callable[[], Stage], str] = {
    TooFew: "one each",
    WrongType: "expected float32, got str",
    NotANumber: "nan",
    Missing: "writes",
    Unknown: "extra",
    ByBatch: "another result alone",
    ByOrder: "another result",
    Writer: "changed its inputs",
    Keeper: "memory was used again",
    Loose: "forbids unknown fields",
    BadName: "no column name",
    Reserved: "reserved",
    Empty: "empty",
    PlainType: "needs a type",
    OneText: "list of column names",
    NoMessage: "without a message",
    WrongMember: "must be bytes",
}


@pytest.mark.parametrize("stage", BROKEN, ids=lambda stage: stage.__name__)
def test_a_broken_contract_is_caught(stage: Callable[[], Stage]) -> None:
    with pytest.raises(StageError, match=BROKEN[stage]):
        check_stage(stage())


def test_a_good_stage_gives_its_results() -> None:
    results = check_stage(Good())
    assert results["black"] == {"good": 0.0}
    assert results["white"] == {"good": 255.0}


class Sums(Stage):
    """Reads columns only; says so where one is missing."""

    type: Literal["sums"] = "sums"

    @property
    def reads(self) -> Sequence[str]:
        return ["aes"]

    @property
    def writes(self) -> Writes:
        return {"words": string}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [
            ClipError("aes is missing") if view.row["aes"] is None else {"words": f"{view.row['aes']:.1f}"}
            for view in batch
        ]


def test_rows_have_values_and_nulls() -> None:
    results = check_stage(Sums(), row={"aes": 5.25})
    assert results["landscape"] == {"words": "5.2"}
    assert results["black"] == ClipError("aes is missing")


def test_an_unknown_type_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="qualty"):
        check_stage({"type": "qualty"})


def test_made_up_clips_have_the_frames_that_were_asked_for() -> None:
    class Two(Good):
        @property
        def frames(self) -> Any:
            return FrameRequest(Rate(5), long_side=64), FrameRequest(Uniform(3), pixels="gray")

    clips = {view.key: view for view in synthetic_clips(Two())}
    small, native = clips["landscape"].frame_sets
    assert small.data.shape == (10, 36, 64, 3)
    assert native.data.shape == (3, 180, 320)
    np.testing.assert_allclose(small.times_s, np.arange(10) / 5, atol=0.04)
    assert clips["one_frame"].frame_sets[1].data.shape == (1, 180, 320)
    assert clips["landscape"].row["duration_s"] == 2.0


def test_make_clip_pans_or_stands_still(tmp_path: Path) -> None:
    moving = make_clip(tmp_path / "a.mp4", duration_s=1.2, fps=10, size=(160, 96))
    still = make_clip(tmp_path / "b.mp4", duration_s=1.2, motion="still")
    with av.open(str(moving)) as container:
        pictures = [frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)]
    assert len(pictures) == 12
    assert pictures[0].shape == (96, 160)
    later = np.roll(pictures[0], round(5 * 160 / 5 / 10), axis=1)
    assert np.abs(pictures[5] - later).mean() < 0.3 * np.abs(pictures[5] - pictures[0]).mean()
    result = score_clip({"type": "quality"}, still)
    assert isinstance(result, dict)
    assert result["frozen_share"] == 1.0


def test_make_clip_is_the_same_each_time(tmp_path: Path) -> None:
    first, second = (make_clip(tmp_path / f"{i}.mp4", duration_s=0.4).read_bytes() for i in range(2))
    assert first == second
    assert make_clip(tmp_path / "c.mp4", duration_s=0.4, seed=1).read_bytes() != first


def test_score_clip_takes_bytes_and_a_row(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", duration_s=0.4)
    assert score_clip(Good(), clip.read_bytes()) == score_clip(Good(), clip)
    assert score_clip(Sums(), clip, row={"aes": 4.0}) == {"words": "4.0"}
    with pytest.raises(MediaError):
        score_clip(Good(), b"no video")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_make_shard_is_read_by_webdataset(tmp_path: Path) -> None:
    clips = {f"clip-{i}": make_clip(tmp_path / f"{i}.mp4", duration_s=0.4, seed=i) for i in range(3)}
    shard = make_shard(tmp_path / "shards", clips, rows={"clip-1": {"aes": 5.5}})
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == list(clips)
    assert samples[1]["mp4"] == clips["clip-1"].read_bytes()
    sidecar = json.loads(samples[1]["json"])
    assert sidecar["aes"] == 5.5
    assert sidecar["path"] == "clip-1.mp4"
    assert (sidecar["width"], sidecar["height"], sidecar["num_frames"]) == (320, 180, 10)
    with tarfile.open(fileobj=io.BytesIO(shard.read_bytes())) as tar:
        assert tar.getnames()[:2] == ["clip-0.json", "clip-0.mp4"]


def test_make_shard_refuses_keys_that_readers_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad key"):
        make_shard(tmp_path, {"a.b": b""})
