"""The frames on which stages see motion: the same for all of them, so that a pass converts them once."""

from shardpipe.core.frames import FrameRequest, Rate

FRAMES_PER_S = 9.0  # none of 24, 25, 30 and 60 fps is a multiple: a regular shake cannot hide between the frames
MOTION_FRAMES = FrameRequest(Rate(FRAMES_PER_S, min_frames=8), long_side=256, pixels="gray")
"""Nine gray frames a second, long side 256; at least eight where the clip has them. `flow` asks for the same by default."""
