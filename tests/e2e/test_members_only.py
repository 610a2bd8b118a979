"""`frames_from: members_only`: cached frames or an error, before anything runs where that is known, and never a decode."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from support.runs import make_config, rows_of, run_inline
from support.seeing import Seen

from shardpipe.cli.plan import show_plan
from shardpipe.core.columns import Columns, float64
from shardpipe.core.errors import ConfigError
from shardpipe.core.frames import Fractions, FrameRequest, Numbers
from shardpipe.core.shared import SharedStage
from shardpipe.core.stage import ClipView, Result, Stage
from shardpipe.core.stills import in_words
from shardpipe.engine.views.report import funnel
from shardpipe.executors import retry as retrying
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.plan import plan_config
from shardpipe.executors.retry import retry_root
from shardpipe.stages.flow import Flow
from shardpipe.stages.phash import Phash
from shardpipe.storage.store import Store, open_store

LOOSE = Seen(tolerance_s=0.3)
TIGHT = Seen(column="tight", tolerance_s=0.001)
KEPT = {"name": "kept", "stages": [{"type": "frames", "num_frames": 4, "short_side": 64}]}


class Means(SharedStage):
    """The mean of each frame."""

    type: Literal["means"] = "means"

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [
            {self.column: {r: s.data.mean() for r, s in zip(self.requests, view.frame_sets, strict=True)}}
            for view in batch
        ]


class Mean(Stage):
    """One number out of the shared step."""

    type: Literal["mean"] = "mean"
    column: str = "mean"
    tolerance_s: float = 0.3

    @property
    def shares(self) -> Sequence[SharedStage]:
        request = FrameRequest(Fractions((0.1, 0.5)), short_side=64, tolerance_s=self.tolerance_s)
        return [Means(requests=(request,))]

    @property
    def writes(self) -> Columns:
        return {self.column: float64}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        (shared,) = self.shares
        assert isinstance(shared, Means)
        return [{self.column: float(shared.made_for(view)[shared.requests[0]])} for view in batch]


def score(*stages: Stage, name: str = "score", source: str = "kept", **more: Any) -> dict[str, Any]:
    return {"name": name, "from": source, "stages": list(stages), "frames_from": "members_only", **more}


def run(root: Path, videos: Path, *passes: dict[str, Any]) -> Store:
    report = run_inline(make_config(root, videos, passes))
    assert not report.failed_units
    return open_store(str(root))


def lose_clips(root: Path) -> None:
    for path in (root / "clips" / "shards").iterdir():
        path.unlink()


def test_it_gives_what_members_gives_and_reads_no_clip(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    members = score(LOOSE, name="members", frames_from="members")
    run(root, videos, KEPT, members)
    lose_clips(root)
    store = run(root, videos, KEPT, members, score(LOOSE))
    rows, before = rows_of(store, "score"), rows_of(store, "members")
    assert [row["seen_mean"] for row in rows.values()] == [before[key]["seen_mean"] for key in rows]
    with pytest.raises(ConfigError, match="frames_from: 'members_only' there, absent here"):
        run(root, videos, KEPT, score(LOOSE, frames_from="members"))


def test_it_takes_no_score_of_decoded_frames(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    members = score(TIGHT, name="members", frames_from="members")
    only = score(TIGHT.model_copy(update={"on_error": "keep"}), reuse=["members"], max_failed=1.0)
    run(root, videos, KEPT, members)
    store = run(root, videos, KEPT, members, only)
    assert all(row["tight"] for row in rows_of(store, "members").values())
    assert not any(row["tight"] for row in rows_of(store, "score").values())


@pytest.mark.parametrize(
    ("stages", "before", "message"),
    [
        (
            (LOOSE, Phash(num_frames=3)),
            KEPT,
            (
                r"passes\.score\.stages\.1 \(phash\) wants 3 frames at the middle of equal parts \(.*members_only, but the 4 cached frames of its "
                r"input can never be these: set its num_frames to 4 \(an odd part of 4\), keep 3 frames, .*let it decode with `frames_from: members`"
            ),
        ),
        ((Seen(),), KEPT, r"wants frames at 0\.1, 0\.5, 0\.9 of the clip .*: set its tolerance_s above 0, move it"),
        (
            (Flow(),),
            KEPT,
            r"\(flow\) wants 9 frames a second .* can never be these: move it to a pass before",
        ),
        ((Mean(tolerance_s=0),), KEPT, r"\(mean\) wants frames at 0\.1, 0\.5 of the clip"),
        (
            (LOOSE,),
            {"name": "kept", "stages": []},
            r"\(seen\) wants .*, but the input of its pass has no cached frames",
        ),
    ],
)
def test_what_can_never_be_served_is_told_before_anything_runs(
    stages: tuple[Stage, ...], before: dict[str, Any], message: str, videos: Path, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "root", videos, [before, score(*stages)])
    for check in (run_inline, plan_config):
        with pytest.raises(ConfigError, match=message):
            check(config)
    assert not (tmp_path / "root").exists()


def test_a_clip_whose_frames_do_not_serve_is_an_error_of_that_stage(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others get their frames, even where they share a step with it; and a retry decodes nothing either."""
    root = tmp_path / "root"
    far = Mean(column="far", tolerance_s=0.001)
    stages = [each.model_copy(update={"on_error": "keep"}) for each in (LOOSE, TIGHT, Mean(), far)]
    run(root, videos, KEPT, score(Mean(), name="alone"))
    lose_clips(root)
    store = run(root, videos, KEPT, score(Mean(), name="alone"), score(*stages, max_failed=1.0))
    for key, row in rows_of(store, "score").items():
        assert row["seen"]
        assert row["mean"] == rows_of(store, "alone")[key]["mean"]
        assert (row["tight"], row["far"]) == (None, None)
        tight, late = row["error"].split("; ")
        assert tight.startswith("seen: its cached frames cannot serve frames at 0.1, 0.5")
        assert "s away, and tolerance_s is 0.001 (frames_from: members_only)" in tight
        assert late.startswith("mean: its cached frames cannot serve frames at 0.1, 0.5 of the clip")
    usage = funnel(store, "score").passes[-1].usage
    assert usage is not None
    assert (usage.num_decoded, usage.num_from_stills) == (0, 5)
    monkeypatch.setattr(retrying, "stage_class", {"seen": Seen, "mean": Mean}.__getitem__)
    monkeypatch.setattr(retrying, "executor_for", lambda _, store, **__: InlineExecutor(store))
    assert not retry_root(str(root)).failed_units
    assert all("members_only" in row["error"] for row in rows_of(store, "score").values())


def test_too_small_pictures_name_both_sizes(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    small = {"name": "kept", "stages": [{"type": "frames", "num_frames": 4, "short_side": 32}]}
    run(root, videos, small)
    lose_clips(root)
    store = run(root, videos, small, score(LOOSE, max_failed=1.0))
    for row in rows_of(store, "score").values():
        assert (row["kept"], row["dropped_by"]) == (False, "error: seen")
        assert "they are of 57x32 pixels, and it wants 114x64" in row["error"]


def test_a_plan_says_which_stages_decode(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passes = [KEPT, score(LOOSE, Seen(column="b"), Phash(num_frames=4), frames_from="members")]
    config = make_config(tmp_path / "root", videos, passes)
    show_plan(config, as_json=False)
    lines = [line for line in capsys.readouterr().out.splitlines() if "will decode" in line]
    assert len(lines) == 1
    assert lines[0].startswith("score: seen will decode: the cached frames of its input can never serve all")
    show_plan(config, as_json=True)
    phases = json.loads(capsys.readouterr().out)["phases"]
    assert [each["decoding"] for each in phases] == [[], [], ["seen"]]


def test_requests_in_words() -> None:
    assert in_words(FrameRequest(Numbers(tuple(range(12))), long_side=9)) == (
        "frames number 0, 1, 2, 3, 4, 5, 6, 7 ... (long_side 9, tolerance_s 0)"
    )
