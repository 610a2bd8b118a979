"""Static: clips, stretches and parts of the picture in which nothing moves."""

from collections.abc import Sequence
from typing import Literal

from shardpipe.core.columns import Columns, float32
from shardpipe.core.frames import FrameRequest
from shardpipe.core.stage import ClipView, Result, Stage
from shardpipe.stages._motion_frames import MOTION_FRAMES
from shardpipe.stages._one_thread import one_thread
from shardpipe.stages._stillness import stillness


class Static(Stage):
    """Finds clips that are one still, that freeze for a while, or of which only a part moves, whatever the grain.

    All columns are float32.

    `static_share`  0 to 1: share of the clip's time in stretches that stand still. In a stretch every frame is the same as
                    its first one, and it lasts at least a second, or the whole clip: what moves or fades too slowly to
                    see from one frame to the next does not stand still.
    `static_run_s`  seconds, 0 and up: the longest such stretch; a freeze in the middle of a clip.
    `static_area`   0 to 1: share of the picture inside black bars that is the same at all times: the wall behind
                    a talking head in a small window, the ground under a moving logo, and also what a camera on a tripod sees
                    behind the actors. A plain sky counts, since nothing is seen to move in it.

    All are null for a clip of one frame that is not shown for over a second.

    Rules: `static_share < 0.9` drops stills; `static_run_s < 2` drops clips that freeze; `static_area < 0.95` drops clips
    in which next to nothing moves (a logo, a clock, a small window).

    `quality` has `frozen_share`: the time in which neighbouring frames, a third of a second apart, are equal to within 1.5 gray
    levels. It is cheaper and takes grain for motion, and a slow fade or zoom for none. Here a frame is compared with the first one of
    its stretch, in blocks of 8 pixels of a picture of 128: a block may differ as much as noise over the whole picture says. A thing
    of 0.5 % of the picture that moves, a slow fade, and a zoom of 1 % a second are seen; film grain and codec noise are not.

    Cost: 2 to 5 ms of CPU for each second of clip, about that of `flow`.
    """

    type: Literal["static"] = "static"

    @property
    def frames(self) -> FrameRequest:
        """Those of all stages that look at motion."""
        return MOTION_FRAMES

    @property
    def writes(self) -> Columns:
        """Share, longest stretch, area."""
        return dict.fromkeys(("static_share", "static_run_s", "static_area"), float32)

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """One result a clip."""
        with one_thread():
            return [self._score(view) for view in batch]

    def _score(self, view: ClipView) -> Result:
        found = stillness(view.frames, duration_s=view.row.get("duration_s"))
        if found is None:
            return dict.fromkeys(self.writes)
        return {"static_share": found.share, "static_run_s": found.run_s, "static_area": found.area}
