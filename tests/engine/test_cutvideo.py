"""Cutting one video: every frame of a span and no other, rows whole, units of any size, damaged files."""

import itertools
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from support.motion_clips import VIDEOS, camera, dissolve, loop, real_shots, texture
from support.numbered import make_numbered, numbers_pyav, vfr_times

from shardpipe.core.clip import CLIP_COLUMNS, clip_key, video_id
from shardpipe.core.cutting import WriteSpec
from shardpipe.core.errors import MediaError
from shardpipe.core.scene import ScenePolicy
from shardpipe.engine.cutting.cutvideo import Part, cut_part
from shardpipe.engine.cutting.detect import detect
from shardpipe.engine.cutting.scenesettings import looks_for_gradual, needs_frames, scenes_identity
from shardpipe.media.probe import probe
from shardpipe.scenes.adaptive import Adaptive
from shardpipe.scenes.content import Content
from shardpipe.scenes.fixed import Fixed
from shardpipe.scenes.none import NoCuts

URL = "s3://bucket/raw/a.mp4"
CUTS = (40, 70, 130, 155, 200, 236)
NUM = 260


def cut(
    path: Any, scratch: Any, detector: Any, policy: Any = None, *, spec: Any = None, part: Any = None, facts: Any = None
) -> Any:
    """Rows, and the frame numbers of each clip."""
    scratch.mkdir(exist_ok=True)
    found = []
    scenes = (detector, policy or ScenePolicy(min_s=0.3))
    for row, file in cut_part(path, URL, facts or probe(path), part or Part(), scenes, spec or WriteSpec(), scratch):
        assert set(row) == {*CLIP_COLUMNS, "kept", "dropped_by", "error"}
        numbers = None
        if file is not None:
            numbers = numbers_pyav(file)
            file.unlink()
        found.append((row, numbers))
    assert not list(scratch.iterdir())
    return found


def in_units(path: Any, scratch: Any, detector: Any, policy: Any, unit_s: Any, *, spec: Any = None) -> Any:
    facts = probe(path)
    edges = [float(edge) for edge in np.arange(facts.start_s + unit_s, facts.end_s, unit_s)]
    pairs = zip([None, *edges], [*edges, None], strict=True)
    parts = [Part(i, first, last) for i, (first, last) in enumerate(pairs)]
    return [each for part in parts for each in cut(path, scratch, detector, policy, part=part, spec=spec)]


def spans(found: Any) -> Any:
    return [(row["key"], row["scene"], row["start_s"], row["end_s"]) for row, _ in found]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: Any) -> Any:
    path = tmp_path_factory.mktemp("numbered") / "a.mp4"
    return make_numbered(path, num_frames=NUM, scenes=CUTS, options={"g": "50", "preset": "veryfast"}).path


@pytest.mark.parametrize("method", ["auto", "encode"])
@pytest.mark.parametrize("detector", [Adaptive(), Content()], ids=lambda d: d.type)
def test_clips_hold_the_frames_of_their_scenes(numbered: Any, tmp_path: Any, detector: Any, method: Any) -> None:
    found = cut(numbered, tmp_path / "s", detector, spec=WriteSpec(method=method, max_trim_s=0))
    ends = (0, *CUTS, NUM)
    assert [numbers for _, numbers in found] == [list(range(a, b)) for a, b in itertools.pairwise(ends)]
    for (row, _), start, end in zip(found, ends, ends[1:], strict=False):
        assert row["key"] == clip_key(video_id(URL), start / 25)
        assert row["path"] == f"{row['key']}.mp4"
        assert (row["scene"], row["start_s"], row["end_s"]) == (start * 40, start / 25, end / 25)
        assert row["num_frames"] == end - start
        assert (row["kept"], row["dropped_by"], row["error"]) == (True, None, None)
        assert (row["width"], row["height"], row["resolution"], row["sar"]) == (320, 180, 57600, "1:1")


def test_no_clip_is_trimmed_to_less_than_min_s(tmp_path: Any) -> None:
    """Scenes begin 8 frames before a keyframe: those that are long enough give them up, the others are encoded there."""
    options = {"x264-params": "keyint=50:min-keyint=50:scenecut=0:bframes=0"}
    path = make_numbered(tmp_path / "a.mp4", num_frames=150, scenes=(42, 92), options=options).path
    for min_s, lengths in ((1.5, [42, 42, 50]), (1.68, [42, 42, 50]), (1.7, [50, 50]), (2.0, [50, 50]), (2.1, [58])):
        policy, spec = ScenePolicy(min_s=min_s), WriteSpec(max_trim_s=0.4)
        found = cut(path, tmp_path / "s", Adaptive(), policy, spec=spec)
        assert all(row["duration_s"] >= min_s - 1e-6 for row, _ in found)
        assert [row["num_frames"] for row, _ in found] == lengths


@pytest.mark.parametrize("unit_s", [0.7, 1.9, 4.0])
def test_any_unit_size_gives_the_same_clips(numbered: Any, tmp_path: Any, unit_s: Any) -> None:
    policy = ScenePolicy(min_s=0.3, max_s=3.0)
    whole = cut(numbered, tmp_path / "a", Adaptive(), policy)
    assert spans(in_units(numbered, tmp_path / "b", Adaptive(), policy, unit_s)) == spans(whole)


MONTAGE_CASES = {
    "adaptive": (Adaptive(), 5.0),
    "adaptive, short scenes": (Adaptive(min_scene_len=5), 5.0),
    "content, short scenes": (Content(min_scene_len=5), 5.0),
    "content, merged to the end": (Content(), 12.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("unit_s", [1.0, 2.3, 5.0, 9.0, 17.0])
@pytest.mark.parametrize("case", MONTAGE_CASES)
def test_any_unit_size_gives_the_same_clips_of_a_montage(tmp_path: Any, montage: Any, case: str, unit_s: Any) -> None:
    detector, max_s = MONTAGE_CASES[case]
    for long in ("split", "drop", "truncate"):
        policy = ScenePolicy(min_s=0.2, max_s=max_s, long=long, trim_s=0.04)
        whole = cut(montage, tmp_path / "a", detector, policy)
        assert len({row["scene"] for row, _ in whole}) == len(whole), "a scene is too long: nothing is promised"
        assert len(whole) > 5
        assert spans(in_units(montage, tmp_path / "b", detector, policy, unit_s)) == spans(whole)


@pytest.fixture(scope="module")
def montage(tmp_path_factory: Any) -> Any:
    """40 s of real shots and moving textures: hard cuts, dissolves, and a burst of short shots."""
    shots = [*real_shots(), *(camera(texture(i), 80, pan=20 * i) for i in range(4))]
    rng = np.random.default_rng(2)
    frames = loop(shots[0], 60)
    for i in range(14):
        shot = loop(shots[int(rng.integers(len(shots)))], int(rng.integers(30, 90)))
        frames = dissolve(frames, shot, 18)[0] if i % 3 == 0 else np.concatenate([frames, shot])
    for i in range(24):
        frames = np.concatenate([frames, shots[i % len(shots)][: int(rng.integers(6, 14))]])
    path = tmp_path_factory.mktemp("montage") / "m.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "veryfast", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = 256, 144, "yuv420p"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "bgr24")))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("detector", [Fixed(every_s=1.5), NoCuts()], ids=lambda d: d.type)
@pytest.mark.parametrize("method", ["auto", "encode"])
def test_fixed_and_none_are_the_same_in_any_units(numbered: Any, tmp_path: Any, detector: Any, method: Any) -> None:
    policy, spec = ScenePolicy(max_s=4.0), WriteSpec(method=method, max_trim_s=0)
    whole = cut(numbered, tmp_path / "a", detector, policy, spec=spec)
    shown = [number for _, numbers in whole for number in numbers]
    assert shown == list(range(len(shown)))
    assert len(shown) >= 250
    assert spans(in_units(numbered, tmp_path / "b", detector, policy, 2.2, spec=spec)) == spans(whole)


def test_fixed_decodes_nothing_up_front(numbered: Any, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("shardpipe.engine.cutting.cutvideo.decode", None)
    monkeypatch.setattr("shardpipe.engine.cutting.detect.decode", None)
    assert len(cut(numbered, tmp_path / "s", Fixed(every_s=2))) == 6
    assert not needs_frames(NoCuts(), ScenePolicy())
    assert needs_frames(NoCuts(), ScenePolicy(transitions=True))


def test_variable_rate_and_late_start(tmp_path: Any) -> None:
    times = vfr_times(200, seed=3)
    video = make_numbered(tmp_path / "v.mkv", times_s=times, num_frames=200, scenes=(50, 120), start=Fraction(7, 5))
    found = cut(video.path, tmp_path / "s", Adaptive(), ScenePolicy(max_s=2.0), spec=WriteSpec(max_trim_s=0))
    scenes = {row["scene"] for row, _ in found}
    at = [float(video.times_s[i]) for i in (0, 50, 120)]
    assert sorted(scenes) == pytest.approx([1000 * time for time in at], abs=1.1)
    for row, numbers in found:
        assert row["duration_s"] <= 2.0 + 1e-6
        assert row["start_s"] == pytest.approx(float(video.times_s[numbers[0]]), abs=1e-3)
    shown = [number for _, numbers in found for number in numbers]
    assert shown == sorted(set(shown))


def test_a_window_and_a_trim(numbered: Any, tmp_path: Any) -> None:
    policy = ScenePolicy(min_s=0.3, start_s=2.0, end_s=7.0, trim_s=0.08)
    found = cut(numbered, tmp_path / "s", Adaptive(), policy, spec=WriteSpec(max_trim_s=0))
    assert [(numbers[0], numbers[-1] + 1) for _, numbers in found] == [(52, 68), (72, 128), (132, 153), (157, 173)]
    nominal = cut(numbered, tmp_path / "s", NoCuts(), policy, spec=WriteSpec(max_trim_s=0))
    assert [(numbers[0], numbers[-1] + 1) for _, numbers in nominal] == [(52, 173)]


@pytest.mark.parametrize("detector", [Fixed(every_s=2), NoCuts()])
def test_a_trim_of_scenes_that_no_frame_was_looked_at_for(numbered: Any, tmp_path: Any, detector: Any) -> None:
    """It takes off at least `trim_s` at both ends, and the windows of a long scene still touch."""
    policy = ScenePolicy(min_s=0.1, max_s=0.8, trim_s=0.11)
    found = cut(numbered, tmp_path / "s", detector, policy, spec=WriteSpec(max_trim_s=0))
    rows = [row for row, _ in found]
    for _, group in itertools.groupby(rows, key=lambda row: row["scene"]):
        scene = list(group)
        assert 0.11 <= scene[0]["start_s"] - scene[0]["scene"] / 1000 < 0.151
        assert all(a["end_s"] == b["start_s"] for a, b in itertools.pairwise(scene))
    assert len(rows) > len({row["scene"] for row in rows})


def test_the_rate_of_clips_is_that_of_the_video(tmp_path: Any) -> None:
    """Though mkv rounds times to milliseconds; and that asked for where the length is no whole number of its frames."""
    source = make_numbered(tmp_path / "v.mkv", num_frames=70, fps=Fraction(30000, 1001), size=(96, 64)).path
    policy = ScenePolicy(min_s=0.1, max_s=0.45)
    for spec, fps in ((WriteSpec(max_trim_s=0), 30000 / 1001), (WriteSpec(method="encode", fps=24), 24)):
        found = cut(source, tmp_path / "s", NoCuts(), policy, spec=spec)
        assert {row["fps"] for row, _ in found} == {fps}
        assert len(found) > 4


def test_gradual_transitions_are_left_out_by_default(montage: Any, tmp_path: Any) -> None:
    facts = probe(montage)
    with_them = detect(montage, facts, Part(), detector=Adaptive(), policy=ScenePolicy()).transitions
    without = detect(montage, facts, Part(), detector=Adaptive(), policy=ScenePolicy(transitions=False)).transitions
    assert sum(each.is_gradual for each in with_them) >= 4
    assert not any(each.is_gradual for each in without)
    found = cut(montage, tmp_path / "s", NoCuts(), ScenePolicy(transitions=True, max_s=None))
    assert 5 <= len(found) <= 8
    for row, _ in found:
        assert not any(each.start_s < row["end_s"] - 1e-6 and each.end_s > row["start_s"] + 1e-6
                       for each in with_them if each.is_gradual)  # fmt: skip


def test_identity_names_all_that_determines_spans() -> None:
    one = scenes_identity(Adaptive(), ScenePolicy())
    assert one["gradual"]
    assert "gradual" not in scenes_identity(Fixed(), ScenePolicy())
    assert looks_for_gradual(NoCuts(), ScenePolicy(transitions=True))
    assert one != scenes_identity(Adaptive(threshold=2), ScenePolicy())


def test_a_damaged_middle_costs_only_what_it_touches(numbered: Any, tmp_path: Any) -> None:
    data = bytearray(numbered.read_bytes())
    with av.open(str(numbered)) as container:
        hit = [p for p in container.demux(video=0) if p.size and 70 <= (p.pts * p.time_base) * 25 < 130][10]
        data[hit.pos + 4 : hit.pos + hit.size] = bytes(hit.size - 4)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    found = cut(broken, tmp_path / "s", Adaptive(), spec=WriteSpec(max_trim_s=0))
    good = [numbers for row, numbers in found if row["error"] is None]
    assert list(range(40)) in good
    assert list(range(40, 70)) in good
    assert list(range(200, 236)) in good
    keys = [row["key"] for row, _ in found]
    assert len(keys) == len(set(keys))


def test_a_file_that_ends_early_says_so(tmp_path: Any) -> None:
    whole = make_numbered(
        tmp_path / "w.mp4", num_frames=NUM, scenes=CUTS, container_options={"movflags": "faststart"}
    ).path
    short = tmp_path / "short.mp4"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    found = cut(short, tmp_path / "s", Adaptive(), facts=probe(whole))
    assert [row["error"] is None for row, _ in found].count(True) >= 2
    assert found[-1][0]["error"]
    assert not found[-1][0]["kept"]
    assert found[-1][0]["dropped_by"] == "error: cut"


def test_a_new_size_ends_a_scene(tmp_path: Any, monkeypatch: Any) -> None:
    path = VIDEOS / "carphone_pristine.mp4"
    from shardpipe.engine.cutting import detect as module

    def changing(inp: Any, **window: Any) -> Any:
        for i, frame in enumerate(decode(inp, **window)):
            yield frame if i < 60 else _resized(frame)

    decode = module.decode
    monkeypatch.setattr(module, "decode", changing)
    found = module.detect(path, probe(path), Part(), detector=Adaptive(), policy=ScenePolicy())
    base = float(probe(path).time_base)
    assert [each.start_s for each in found.transitions if not each.is_gradual] == [found.pts[60] * base]


def _resized(frame: Any) -> Any:
    smaller = frame.reformat(width=frame.width // 2, height=frame.height)
    smaller.pts, smaller.time_base = frame.pts, frame.time_base
    return smaller


def test_nothing_that_decodes_is_one_error_row(numbered: Any, tmp_path: Any, monkeypatch: Any) -> None:
    def refused(inp: Any, **window: Any) -> Any:
        raise MediaError("the frame at 0.000 s cannot be decoded")
        yield

    facts = probe(numbered)
    monkeypatch.setattr("shardpipe.engine.cutting.detect.decode", refused)
    ((row, numbers),) = cut(numbered, tmp_path / "s", Adaptive(), facts=facts)
    assert (row["key"], numbers, row["kept"]) == (video_id(URL), None, False)
    assert "cannot be decoded" in row["error"]
    ((row, _),) = cut(numbered, tmp_path / "s", Adaptive(), facts=facts, part=Part(2, 6.0, None))
    assert row["key"] == f"{video_id(URL)}_p2"


def test_a_part_past_the_end_gives_nothing(numbered: Any, tmp_path: Any) -> None:
    facts = probe(numbered)
    assert cut(numbered, tmp_path / "s", Adaptive(), part=Part(9, facts.end_s + 5, None)) == []
    assert cut(numbered, tmp_path / "s", Fixed(), part=Part(9, facts.end_s + 5, None)) == []
    assert cut(numbered, tmp_path / "s", Adaptive(), ScenePolicy(start_s=99.0)) == []
    longer = replace(facts, duration_s=facts.duration_s + 0.2)  # a header that is a little wrong
    assert len(cut(numbered, tmp_path / "s", Adaptive(), facts=longer)) == len(CUTS) + 1
