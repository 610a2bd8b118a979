"""Lossless cuts at any frame: packets are copied from the keyframe before, and an edit list hides what is too much.

Right in players that honour edit lists (FFmpeg, PyAV, OpenCV, browsers); decord and others show the hidden frames too.
"""

import numpy as np

from shardpipe.media.access import Access
from shardpipe.media.packets import PacketIndex
from shardpipe.media.smartcut import Plan

EDITLIST_CODECS = frozenset({"h264", "hevc", "vp9"})
"""MPEG-4 part 2 is not among them, as decoders drop its frames around the hidden ones; nor AV1, as FFmpeg 5's decoder
shows the hidden ones."""

MAX_HIDDEN = 600
"""Frames that may be hidden before a clip's first: players decode them all."""


def plan_editlist(index: PacketIndex, start: int, end: int) -> Plan | None:
    """The packets to copy for a span whose frames are known: from the last clean start at or before it to the last one
    that is needed to decode it. None where there is no such start within MAX_HIDDEN frames, where there are keyframes of
    open GOPs (players break when they seek to one), or times are not each packet's own.
    """
    before = np.flatnonzero(index.at[index.starts] <= start)
    if not len(before) or not index.timed:
        return None
    first = int(index.starts[before[-1]])
    stop = index.last_needed(end)
    if (index.access[first:stop] == Access.KEY).any() or (index.at[first:stop] < start).sum() > MAX_HIDDEN:
        return None
    if not index.shown[first:stop].all() or len(np.unique(index.at[first:stop])) != stop - first:
        return None
    return Plan(start, start, end, end, first, stop, 0, 0)
