"""The shared step: what is encoded once, what readers get, and what costs one clip alone."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from support.encoded import SIZE, ByOpenClip, noise
from support.runs import make_config, render_videos, rows_of, run_inline
from support.shots import shot
from support.tiny_clip import WIDTH, aesthetic_head, clip_folder

from shardpipe.core.errors import ConfigError, StageError
from shardpipe.core.frames import Fractions, FrameRequest, Frames, Uniform
from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.stages._image_encoder import Encoded, ImageEncoder
from shardpipe.stages.aes import Aes
from shardpipe.stages.embed import Embed
from shardpipe.storage.store import open_store
from shardpipe.testing import check_stage, make_clip, score_clip

FOUR, ENDS = FrameRequest(Uniform(4), short_side=SIZE), FrameRequest(Fractions((0.0, 1.0)), short_side=SIZE)
LARGE = FrameRequest(Uniform(2), short_side=2 * SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return clip_folder(tmp_path_factory.mktemp("clip"))


def encoder(folder: str, *requests: FrameRequest, **fields: Any) -> ImageEncoder:
    made = ImageEncoder(backbone=folder, precision="fp32", requests=requests or (FOUR,), **fields)
    made.setup("cpu")
    return made


def some(frames: Frames, *indices: int) -> Frames:
    return Frames(frames.data[list(indices)], frames.times_s[list(indices)])


def made_by(stage: ImageEncoder, result: Result) -> dict[FrameRequest, Encoded]:
    assert not isinstance(result, ClipError)
    made: dict[FrameRequest, Encoded] = result[stage.column]
    return made


def test_contract(folder: str) -> None:
    fresh = ImageEncoder(backbone=folder, precision="fp32", requests=(FOUR, ENDS, LARGE))
    results = check_stage(fresh, tolerance=1e-4)
    assert len(results) == 11


def test_readers_get_the_embeddings_and_times_of_their_own_frames(folder: str) -> None:
    stage = encoder(folder, FOUR, ENDS, LARGE)
    frames, large = noise(4), noise(2, seed=1, size=2 * SIZE)
    (result,) = stage.process([ClipView("a", {}, (frames, some(frames, 0, 3), large))])
    made = made_by(stage, result)
    model = ByOpenClip(folder)
    np.testing.assert_allclose(made[FOUR].embeddings, model.images(frames), atol=1e-5)
    np.testing.assert_array_equal(made[ENDS].embeddings, made[FOUR].embeddings[[0, 3]])
    assert made[ENDS].times_s.tolist() == [0.0, 3.0]
    assert (1 - (made[LARGE].embeddings * model.images(large)).sum(axis=1)).max() < 1e-3
    assert made[FOUR].embeddings.dtype == np.float32


def test_each_distinct_frame_is_encoded_once(folder: str) -> None:
    stage = encoder(folder, FOUR, ENDS, LARGE)
    assert stage._tower is not None
    seen: list[int] = []
    embed = stage._tower.embed
    stage._tower.embed = lambda groups: (seen.extend(map(len, groups)), embed(groups))[1]  # type: ignore[method-assign]
    frames, large = noise(4), noise(2, size=2 * SIZE)
    views = [ClipView(key, {}, (frames, some(frames, 1, 2), large)) for key in "abc"]
    stage.process(views)
    assert sum(seen) == 3 * (4 + 2)


def test_a_reader_gets_what_it_would_get_alone(folder: str, tmp_path: Path) -> None:
    head = str(aesthetic_head(tmp_path / "head.pth", num_in=WIDTH))
    clip = make_clip(tmp_path / "clip.mp4", pictures=shot("bikes", count=30))
    stage = Aes(backbone=folder, precision="fp32", weights=head)
    alone = score_clip(stage, clip)
    joined = stage.encoder.joined(Embed(backbone=folder, precision="fp32", num_frames=7).encoder)
    assert joined.requests == (FrameRequest(Uniform(4), short_side=SIZE), FrameRequest(Uniform(7), short_side=SIZE))
    assert joined.column == stage.encoder.column
    assert isinstance(alone, dict)
    assert len(alone["aes_times_s"]) == 4


def test_joined_ones_take_the_smaller_batch_and_are_compiled_if_one_is(folder: str) -> None:
    first = ImageEncoder(backbone=folder, max_images=8, requests=(FOUR,))
    second = ImageEncoder(backbone=folder, max_images=32, compile=True, requests=(ENDS,))
    assert first.column == second.column
    joined = first.joined(second)
    assert (joined.max_images, joined.compile, joined.requests) == (8, True, (FOUR, ENDS))
    assert ImageEncoder(backbone=f"{folder}/", requests=(FOUR,)).column == first.column  # the same folder
    assert ImageEncoder(backbone=folder, precision="bf16", requests=(FOUR,)).column != first.column


def test_nan_costs_one_clip_alone(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path)
    stage = encoder(folder)
    assert stage._tower is not None
    visual = stage._tower._visual

    def fails_on_white(images: Any) -> Any:
        made = visual(images).clone()
        made[images.mean(dim=(1, 2, 3)) > 1.5] = float("inf")
        return made

    stage._tower._visual = fails_on_white
    white = Frames(np.full((2, SIZE, SIZE, 3), 255, np.uint8), np.arange(2.0))
    mixed = Frames(np.concatenate([noise(1).data, white.data[:1]]), np.arange(2.0))
    results = stage.process(
        [
            ClipView(key, {}, (frames,))
            for key, frames in zip("abcd", (noise(3), white, mixed, noise(2, seed=9)), strict=True)
        ]
    )
    assert [isinstance(result, ClipError) for result in results] == [False, True, True, False]


def test_weights_of_nan_are_an_error_of_each_clip(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path)
    state = load_file(tmp_path / "open_clip_model.safetensors")
    state["visual.proj"][:] = float("nan")
    save_file(state, tmp_path / "open_clip_model.safetensors")
    (result,) = encoder(folder).process([ClipView("a", {}, (noise(1),))])
    assert isinstance(result, ClipError)


def test_a_clip_without_frames_is_an_error_of_its_own(folder: str) -> None:
    empty = Frames(np.zeros((0, SIZE, SIZE, 3), np.uint8), np.zeros(0))
    results = encoder(folder).process([ClipView("a", {}, (empty,)), ClipView("b", {}, (noise(1),))])
    assert isinstance(results[0], ClipError)
    assert not isinstance(results[1], ClipError)


def test_results_hold_no_memory_of_frames(folder: str) -> None:
    stage = encoder(folder)
    frames = noise(3)
    (result,) = stage.process([ClipView("a", {}, (frames,))])
    made = made_by(stage, result)[FOUR]
    assert not np.shares_memory(made.times_s, frames.times_s)
    assert made.times_s.tolist() == [0.0, 1.0, 2.0]


def test_frames_too_small_for_the_model_are_refused_not_enlarged(folder: str) -> None:
    with pytest.raises(ConfigError, match="set frame_side: 48"):
        encoder(folder, FrameRequest(Uniform(1), short_side=32))
    assert Embed(backbone=folder).request.short_side == 48
    assert Embed(backbone=folder, frame_side=200).request.short_side == 200
    assert Embed().request.short_side == 224


def test_process_before_setup_is_an_error(folder: str) -> None:
    with pytest.raises(StageError, match="before setup"):
        ImageEncoder(backbone=folder, requests=(FOUR,)).process([])


def test_a_pass_of_all_readers_encodes_each_clip_once(folder: str, tmp_path: Path) -> None:
    """Through the engine: rows have the columns, the embedding is a member, and a clip's frames go through the model once."""
    common = {"backbone": folder, "precision": "fp32"}
    stages = [
        {"type": "aes", "weights": str(aesthetic_head(tmp_path / "head.pth", num_in=WIDTH)), **common},
        {"type": "embed", **common},
        {"type": "match", "column": "source", **common},
        {
            "type": "classify",
            "name": "watermark",
            "prompts": {"watermark": ["a watermark"], "clean": ["a photo"]},
            **common,
        },
    ]
    config = make_config(tmp_path / "run", render_videos(tmp_path / "videos"), [{"name": "score", "stages": stages}])
    run_inline(config)
    rows = rows_of(open_store(config.root), "score").values()
    assert len(rows) == 5
    for row in rows:
        assert row["error"] is None
        assert len(row["aes_times_s"]) == len(row["embed_times_s"]) == len(row["match_times_s"]) == 4
        assert 0 <= row["watermark_mean"] <= row["watermark"] <= 1
        assert row["aes_min"] <= row["aes"]
        assert not any(name.startswith("_") for name in row)


def test_a_plan_needs_neither_torch_nor_open_clip() -> None:
    code = (
        "import sys\nsys.modules.update(torch=None, open_clip=None, transformers=None)\n"
        "from shardpipe.stages.aes import Aes\nfrom shardpipe.stages.classify import Classify\n"
        "from shardpipe.stages.embed import Embed\nfrom shardpipe.stages.match import Match\n"
        "prompts = {'a': ['a'], 'b': ['b']}\n"
        "for stage in (Aes(), Match(), Embed(), Classify(name='x', prompts=prompts), Match(backbone='ViT-B-16-SigLIP/webli')):\n"
        "    loads = [*stage.loads, *(weights for shared in stage.shares for weights in shared.loads)]\n"
        "    assert stage.writes and stage.identity and loads and stage.shares[0].frames[0].short_side == 224\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
