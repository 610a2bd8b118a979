"""Borders: bars around the picture, and the box to crop to."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from shardpipe.core.columns import Writes, float32, int64, list_of, string
from shardpipe.core.frames import FrameRequest, Rate, Uniform
from shardpipe.core.stage import ClipView, Result, Stage
from shardpipe.stages._bars import find_box


class Borders(Stage):
    """Finds letterbox and pillarbox bars that stay for the whole clip.

    They may be black, of one colour, or a blurred copy of the picture.

    `letterbox`   float32, 0 to below 1: share of the height that the bars at the top and the bottom take.
    `pillarbox`   float32, 0 to below 1: share of the width that the bars at the left and the right take.
    `crop_box`    list of 4 int64, [x, y, width, height]: the picture inside, in pixels of the clip as displayed; the whole
                  picture where there are no bars.
    `border_kind` string: `none`, `black`, `colour` (an even pair of one colour) or `blurred` (an even pair, as around a vertical video).

    A bar is what stays one colour at all sampled times, up to a logo or subtitle, and ends in a straight edge: dark scenes
    and coding noise are no bars. Small grey frames (long side 256, `per_s` a second) find it, `num_native` full-size ones
    give its edge to the pixel.

    Nobody publishes a limit for bars; 0.1 is ours: what a crop to `crop_box` would throw away then hardly matters.

    Cost: 3 ms of CPU a clip.

    Example rules: `letterbox + pillarbox < 0.1`, `border_kind IN ('none', 'black')`.
    """

    version: ClassVar[int] = 1

    type: Literal["borders"] = "borders"
    per_s: float = Field(
        default=3.0,
        gt=0,
        description="small grey frames a second; a third of those that `flow` takes, which are converted once",
    )
    num_native: int = Field(default=3, ge=1, description="frames at the clip's own size")

    @property
    def frames(self) -> tuple[FrameRequest, ...]:
        """The grey frames that `quality` also asks for."""
        return (
            FrameRequest(sampling=Rate(per_s=self.per_s), long_side=256, pixels="gray"),
            FrameRequest(sampling=Uniform(n=self.num_native), pixels="gray"),
        )

    @property
    def writes(self) -> Writes:
        """Two shares, the box and the kind."""
        return {"letterbox": float32, "pillarbox": float32, "crop_box": list_of(int64), "border_kind": string}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._find(view) for view in batch]

    def _find(self, view: ClipView) -> Mapping[str, Any]:
        small, native = view.frame_sets
        box = find_box(small.data, native.data)
        height, width = native.data.shape[1:]
        return {
            "letterbox": 1 - box.height / height,
            "pillarbox": 1 - box.width / width,
            "crop_box": [box.x, box.y, box.width, box.height],
            "border_kind": box.kind,
        }
