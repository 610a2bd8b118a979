"""adaptive and content find PySceneDetect's cuts, whatever the frame rate, and from any lead-in."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode, SceneManager, VideoStream
from scenedetect.common import Timecode
from support.motion_clips import BIKES_CUTS, real

from shardpipe.scenes.adaptive import Adaptive
from shardpipe.scenes.content import Content
from shardpipe.scenes.fixed import Fixed
from shardpipe.scenes.none import NoCuts

BASE = Fraction(1, 90000)


class Frames(VideoStream):
    """Frames in memory as a video of PySceneDetect's."""

    BACKEND_NAME = "memory"

    def __init__(self, frames: Any, times: Any, rate: Any) -> None:
        self._frames, self._times, self._rate, self._at = frames, times, rate, -1

    path = name = "memory"
    is_seekable = False
    aspect_ratio = 1.0
    duration = None

    @property
    def frame_rate(self) -> Any:
        return self._rate

    @property
    def base_timecode(self) -> Any:
        return FrameTimecode(0, self._rate)

    @property
    def frame_size(self) -> Any:
        return self._frames.shape[2], self._frames.shape[1]

    @property
    def position(self) -> Any:
        return FrameTimecode(
            Timecode(round(self._times[min(max(0, self._at), len(self._times) - 1)] / BASE), BASE), fps=self._rate
        )

    @property
    def position_ms(self) -> Any:
        return self.position.seconds * 1000

    @property
    def frame_number(self) -> Any:
        return self._at + 1

    def read(self, decode: Any = True) -> Any:  # noqa: FBT002  its base has it
        self._at += 1
        if self._at >= len(self._frames):
            return False
        return self._frames[self._at]

    def reset(self) -> None:
        self._at = -1

    def seek(self, target: Any) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def montage() -> Any:
    """Slow shots and a burst of shots of 2 to 25 frames."""
    rng = np.random.default_rng(0)
    bikes, bunny = real("bikes.mp4"), real("bigbuckbunny.mp4")
    burst = []
    for i in range(30):
        source, start = (bikes, (7 * i) % 200) if i % 2 else (bunny, (5 * i) % 100)
        burst.append(source[start : start + int(rng.integers(2, 25))])
    return np.concatenate([bikes, bunny, *burst, real("carphone_pristine.mp4")])


def cuts_of(detector: Any, frames: Any, times: Any, fps: Any) -> Any:
    run = detector.start(fps)
    found = [each for frame, time_s in zip(frames, times, strict=True) for each in run.process(time_s, frame)]
    assert all(each.start_s == each.end_s for each in found)
    return [each.start_s for each in [*found, *run.finish()]]


def scene_manager_cuts(detector: Any, frames: Any, times: Any, rate: Any) -> Any:
    manager = SceneManager()
    manager.auto_downscale = False
    manager.add_detector(detector)
    manager.detect_scenes(Frames(frames, [Fraction(time).limit_denominator(90000) for time in times], rate))
    return [scene[0].seconds for scene in manager.get_scene_list(start_in_scene=True)[1:]]


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(60), "vfr"], ids=str)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Adaptive(), AdaptiveDetector),
        (Content(), ContentDetector),
        (Content(filter_mode="suppress"), lambda: ContentDetector(filter_mode=_suppress())),
        (Adaptive(min_scene_len=0.6, luma_only=True), lambda: AdaptiveDetector(min_scene_len=0.6, luma_only=True)),
    ],
    ids=["adaptive", "content", "suppress", "seconds"],
)
def test_the_cuts_are_those_of_the_scene_manager(montage: Any, ours: Any, theirs: Any, rate: Any) -> None:
    rng = np.random.default_rng(1)
    if rate == "vfr":
        ticks, rate = np.cumsum(rng.integers(900, 9000, len(montage))), Fraction(90000 * 2, 9900)
        times = [float(tick * BASE) for tick in ticks - ticks[0]]
    else:
        times = [float(i / rate) for i in range(len(montage))]
    expected = scene_manager_cuts(theirs(), montage, times, rate)
    assert len(expected) > 5
    assert cuts_of(ours, montage, times, float(rate)) == pytest.approx(expected, abs=1e-5)


def _suppress() -> Any:
    from scenedetect.detector import FlashFilter

    return FlashFilter.Mode.SUPPRESS


def test_edges_count_where_they_are_asked_for() -> None:
    frames = real("bikes.mp4")[:90]
    times = [i / 25 for i in range(90)]
    weights = {"delta_hue": 1, "delta_sat": 1, "delta_lum": 1, "delta_edges": 2}
    theirs = ContentDetector(weights=ContentDetector.Components(1, 1, 1, 2), kernel_size=5)
    expected = scene_manager_cuts(theirs, frames, times, Fraction(25))
    assert cuts_of(Content(weights=weights, kernel_size=5), frames, times, 25.0) == pytest.approx(expected)


def test_times_are_the_frames_own() -> None:
    frames, start = real("bikes.mp4"), 1000.4
    found = cuts_of(Adaptive(), frames, [start + i / 25 for i in range(len(frames))], 25.0)
    assert found == [start + at / 25 for at in BIKES_CUTS]


@pytest.mark.parametrize("detector", [Adaptive(), Content(), Content(filter_mode="suppress")])
def test_a_settled_run_finds_the_cuts_of_a_run_from_the_start(montage: Any, detector: Any) -> None:
    times = [i / 25 for i in range(len(montage))]
    whole = cuts_of(detector, montage, times, 25.0)
    num_settled = 0
    for start in range(60, len(montage) - 60, 40):
        run = detector.start(25.0)
        found, settled_s = [], None
        for i in range(start, len(montage)):
            if settled_s is None and run.settled:
                settled_s = times[i]
            found += [each.start_s for each in run.process(times[i], montage[i])]
        if settled_s is not None:
            num_settled += 1
            assert [at for at in found if at >= settled_s] == [at for at in whole if at >= settled_s]
    assert num_settled > 5


def test_cuts_are_certain_in_time(montage: Any) -> None:
    times = [i / 25 for i in range(len(montage))]
    for detector in (Adaptive(), Content()):
        run = detector.start(25.0)
        certain_s = -1.0
        for time_s, frame in zip(times, montage, strict=True):
            assert all(each.start_s >= certain_s for each in run.process(time_s, frame))
            certain_s = max(certain_s, run.certain_until(time_s))
        assert certain_s > times[-1] - 2


def test_fixed_cuts_at_its_interval_and_none_nowhere() -> None:
    assert Fixed(every_s=2.5).boundaries(1.0, 8.5) == (3.5, 6.0)
    assert Fixed(every_s=2.5).boundaries(0.0, 2.5) == ()
    assert Fixed(every_s=2.5).boundaries(3.0, 3.0) == ()
    assert NoCuts().boundaries(0.0, 100.0) == ()
    assert Fixed().size is None
    with pytest.raises(NotImplementedError):
        NoCuts().start(25.0)


@pytest.mark.parametrize(
    ("detector", "fields"),
    [
        (Adaptive, {"threshold": 0}),
        (Adaptive, {"window_width": 0}),
        (Content, {"kernel_size": 4}),
        (Content, {"weights": {"delta_hue": 0, "delta_sat": 0, "delta_lum": 0}}),
        (Content, {"treshold": 20}),
        (Fixed, {"every_s": 0}),
        (Fixed, {"every_s": float("inf")}),
    ],
)
def test_impossible_fields_are_refused(detector: Any, fields: Any) -> None:
    with pytest.raises(ValidationError):
        detector(**fields)
