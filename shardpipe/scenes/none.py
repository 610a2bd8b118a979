"""No cuts: a video is one scene. For footage that is cut already. Needs no frames."""

from typing import Literal

from shardpipe.core.detector import Detector


class NoCuts(Detector):
    """The whole video is one scene; `long` and `max_s` still say what becomes of it when it is long."""

    type: Literal["none"] = "none"
