"""Slideshow: slow zooms and pans over a still picture (the Ken Burns effect) in place of video."""

from collections.abc import Sequence
from typing import Literal

from shardpipe.core.columns import Writes, float32, int64
from shardpipe.core.frames import FrameRequest
from shardpipe.core.stage import ClipView, Result, Stage
from shardpipe.stages._motion_frames import MOTION_FRAMES
from shardpipe.stages._one_thread import one_thread
from shardpipe.stages._still_picture import still_picture_score
from shardpipe.stages._zoom_steps import zoom_steps


class Slideshow(Stage):
    """Finds slow zooms and pans over a still picture, and stills, that pose as video.

    `slideshow`            float32, 0 to 1: how well one still picture under a slow, smooth shift, turn and growth explains
                           the clip. Near 1: a photo under a moving frame, or one that stands still. Near 0: something moves
                           in it, near and far part, the view bends as before a turning camera, or a hand shakes. Null for
                           fewer than three frames, pictures of under 16 pixels, and where most of the clip has nothing to see
                           (black, one colour).
    `slideshow_zoom_share` float32, 0 to 1: share of the steps that are zooms by the test of Open-Sora 1.3; null if none was
                           judged.
    `slideshow_num_steps`  int64, 0 to 5: steps that the test could judge; fewer than 3 are too few, as in a short clip.

    Rules: `slideshow < 0.4 OR slideshow IS NULL` drops slide shows; `slideshow >= 0.4` finds them. Open-Sora's own decision,
    zooms only, is `slideshow_zoom_share >= 0.4 AND slideshow_num_steps >= 3`; to keep what it keeps:
    `slideshow_num_steps < 3 OR slideshow_zoom_share < 0.4`.

    `slideshow`: three times a second the frame is laid over a key picture of the clip, of 128 pixels, and compared in blocks
    of 8. Grain, coding noise, changes of the light of the whole picture, black bars and a logo that stays are allowed for; heavy
    coding of dark or grainy pictures, and large logos, pull the score down. A picture must last 1.5 s, or the clip, to count;
    several pictures one after the other count as a slide show too. What a still picture cannot be told from: a still scene, far
    away, through a long lens on a smooth mount; that is why speeds of above 0.25 widths a second, which slide shows seldom
    have, count less and those of above 0.5 not at all.

    `slideshow_zoom_share`: the middle two thirds of the picture, 100 corners followed for five steps; a step is a zoom if
    Kendall's tau says of each axis and way that what lies further out moves more. A step is a third of a second, which is
    Open-Sora's ten frames at 30 fps, so that the score does not depend on fps; the picture comes from the 256 pixels
    that all stages share, not from the full size. As there, a picture that stands exactly still passes the test.

    Cost: 4 to 6 ms of CPU for each second of clip, between `flow` (3 to 4 ms) and `camera_motion` (7 to 10 ms).
    """

    type: Literal["slideshow"] = "slideshow"

    @property
    def frames(self) -> FrameRequest:
        """Those of all stages that look at motion."""
        return MOTION_FRAMES

    @property
    def writes(self) -> Writes:
        """A score of our own, and the two numbers behind Open-Sora's decision."""
        return {"slideshow": float32, "slideshow_zoom_share": float32, "slideshow_num_steps": int64}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """One result a clip."""
        with one_thread():
            return [self._score(view) for view in batch]

    def _score(self, view: ClipView) -> Result:
        steps = zoom_steps(view.frames)
        return {
            "slideshow": still_picture_score(view.frames),
            "slideshow_zoom_share": steps.share,
            "slideshow_num_steps": steps.judged,
        }
