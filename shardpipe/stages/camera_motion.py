"""Camera motion: what the camera did in a clip."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from shardpipe.core.columns import Columns, float32, list_of, string
from shardpipe.core.frames import FrameRequest, Frames, Rate
from shardpipe.core.stage import ClipView, Result, Stage
from shardpipe.stages import _camera_path as paths
from shardpipe.stages._global_motion import global_motion
from shardpipe.stages._one_thread import one_thread

FRAMES_PER_S = 9.0


class CameraMotion(Stage):
    """c"""

    type: Literal["camera_motion"] = "camera_motion"

    @property
    def frames(self) -> FrameRequest:
        return FrameRequest(Rate(FRAMES_PER_S, min_frames=8), long_side=256, pixels="gray")

    @property
    def writes(self) -> Columns:
        return {"cmotion": list_of(string)}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        with one_thread():
            return [self._label(view.frames) for view in batch]

    def _label(self, frames: Frames) -> Result:
        return {"cmotion": labels(frames)[0]}


def labels(frames: Frames):
    if len(frames) < 3:
        return None, None
    steps, side = global_motion(frames)
    h, w = frames.data.shape[1:]
    s = side / max(h, w)
    path = paths.camera_path(steps, frames.times_s, (w * s, h * s))
    smooth = paths.smoothed(path)
    D = path.known_s
    info = dict(known=path.known_s / path.length_s, net=np.round(path.at[-1], 4), shake=round(paths.shakiness(path), 5))
    if path.known_s < 0.5 * path.length_s:
        return None, info
    out = label(path, smooth, D, info)
    if {"zoom_in", "zoom_out", "roll"} & set(out):
        for at in paths.other_axes(steps, path):
            alt = label(at, paths.smoothed(at), D, info)
            if len(alt) < len(out):
                out = alt
    return out or ["static"], info


def label(path, smooth, D, info):
    sh = info["shake"] if info["shake"] > 0.002 else 0
    still = np.maximum(
        [0.006, 0.006 / path.aspect**0.5, 0.008, np.deg2rad(0.8)], 1.5 * sh / np.array([1, path.aspect, 0.33, 0.33])
    )
    need = np.array(
        [np.clip(0.005 * D, 0.008, 0.04)] * 2 + [np.clip(0.008 * D, 0.012, 0.06), np.deg2rad(np.clip(0.6 * D, 1.2, 5))]
    )
    need = np.maximum(need, 2.5 * sh / np.array([1, path.aspect, 0.33, 0.33]))
    trav = [paths.travel(smooth[:, k], still[k]) for k in range(4)]
    arms = [1.0, path.aspect, 0.33, 0.33]
    size = [max(t.forth, t.back) * a for t, a in zip(trav, arms)]
    top = max(size)
    names = [("pan_left", "pan_right"), ("tilt_up", "tilt_down"), ("zoom_in", "zoom_out"), ("roll", "roll")]
    ratio = np.array([[0, 0.15, 0.25, 0.25], [0.15, 0, 0.25, 0.25], [0.08, 0.08, 0, 0.1], [0.08, 0.08, 0.1, 0]])
    out = []
    for k in range(4):
        if any(size[k] < ratio[k][j] * size[j] for j in range(4) if size[j] >= need[j] * arms[j]):
            continue
        most = max(trav[k].forth, trav[k].back)
        for name, amount in zip(names[k], (trav[k].forth, trav[k].back)):
            if amount >= need[k] and amount > 0.3 * most and name not in out:
                out.append(name)
    if sh:
        out.append("shake")
    info["trav"] = [(round(t.forth, 4), round(t.back, 4)) for t in trav]
    return out
