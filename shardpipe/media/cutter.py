"""Cut clips out of one video, exactly, each by the cheapest way that serves it; see docs on `cut.write`.

`cut` gives any span at any time: it seeks, copies, and decodes only what must be encoded. While the video is decoded
for other reasons, `see` and `mark` let pieces be encoded from frames in hand; the bytes are the same either way.
"""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from shardpipe.core.cutting import CutClip, CutMethod, Span, WriteSpec
from shardpipe.core.errors import MediaError
from shardpipe.core.video import VideoFacts
from shardpipe.media.encode import Recoder, encoding_base
from shardpipe.media.mp4box import Track, video_track
from shardpipe.media.packets import index_packets
from shardpipe.media.reading import PacketReader
from shardpipe.media.remux import MP4_VIDEO, Mp4
from shardpipe.media.smartcut import (
    MAX_ENCODED,
    PIX_FMTS,
    Part,
    Plan,
    encode_part,
    plan_copy,
    write_copy,
    write_smart,
)
from shardpipe.media.source import MediaInput, open_media, video_stream


class Cutter:
    """Cuts clips out of one video (or a window of it, seconds) into the folder `scratch`.

    frame_pts: int64, when the window's frames are shown, sorted, ticks of the stream's time base.
    Raises MediaError if the video cannot be read.
    """

    def __init__(
        self,
        inp: MediaInput,
        facts: VideoFacts,
        spec: WriteSpec,
        scratch: Path,
        *,
        window_s: tuple[float, float] | None = None,
    ) -> None:
        self.facts, self.spec, self.scratch = facts, spec, scratch
        self.base = facts.time_base
        self._inp = inp
        self._open = ExitStack()
        try:
            container = self._open.enter_context(open_media(inp))
            stream = video_stream(container)
            window = None
            if window_s is not None:
                window = (int(window_s[0] / self.base), int(window_s[1] / self.base) + 1)
            self.index = index_packets(container, stream, window=window)
            self.reader = PacketReader(container, stream, self.index)
        except BaseException:
            self._open.close()
            raise
        self.frame_pts: NDArray[np.int64] = self.index.frame_pts
        if window is not None:
            low, high = np.searchsorted(self.frame_pts, window)
            self.frame_pts = self.frame_pts[low:high]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the video. Clips that were cut stay."""
        self._open.close()

    def see(self, frame: VideoFrame) -> None:
        """A frame of the sequential decode, in order."""

    def mark(self, pts: int) -> None:
        """A scene ends before the frame shown at `pts`, and another begins with it."""

    def cut(self, span: Span, name: str) -> CutClip:
        """Write the clip of a span to `NAME.mp4`. Raises MediaError if the span has no frame or cannot be cut."""
        frames = self.index.frames_between(span.start, span.end)
        if not len(frames):
            raise MediaError(f"there is no frame from {self._s(span.start):.3f} to {self._s(span.end):.3f} s")
        start = int(frames[0])
        end = min(span.end, self.index.frame_end(int(frames[-1])))
        path = self.scratch / f"{name}.mp4"
        if self.spec.method == "auto":
            clip = self._auto(start, end, path)
            if clip is not None:
                return clip
        return self._encode(start, end, path)

    def _auto(self, start: int, end: int, path: Path) -> CutClip | None:
        """By copying all or some of it; None if that cannot be, or did not give what it should."""
        if not self._may_copy():
            return None
        plan = plan_copy(self.index, start, end)
        if plan is None:
            return None
        max_trim = int(Fraction(self.spec.max_trim_s).limit_denominator(10**6) / self.base)
        try:
            if plan.copy_start - start + end - plan.copy_end <= max_trim:
                return self._copy(plan, path)
            if plan.copy_start - start <= max_trim:
                plan = Plan(**{**vars(plan), "start": plan.copy_start, "num_head": 0})
            return self._smart(plan, path)
        except MediaError:
            path.unlink(missing_ok=True)
            return None

    def _may_copy(self) -> bool:
        facts = self.facts
        return facts.codec in MP4_VIDEO and self.index.steady and self.index.timed and not facts.interlaced

    def _copy(self, plan: Plan, path: Path) -> CutClip:
        with Mp4(path, self.base) as out:
            write_copy(self.reader, plan, out, sar=self.facts.sar)
        return self._proved(path, "copy", plan.copy_start, plan.copy_end, num_encoded=0)

    def _smart(self, plan: Plan, path: Path) -> CutClip | None:
        total = len(self.index.frames_between(plan.start, plan.end))
        num_encoded = plan.num_head + plan.num_tail
        if self.facts.codec != "h264" or self.facts.pix_fmt not in PIX_FMTS or num_encoded > MAX_ENCODED * total:
            return None
        sets_id = self.index.sets.free_id()
        head = self._part(plan.start, plan.copy_start, sets_id)
        tail = self._part(plan.copy_end, plan.end, sets_id)
        with Mp4(path, self.base) as out:
            write_smart(self.reader, plan, out, sar=self.facts.sar, head=head, tail=tail)
        return self._proved(path, "smart", plan.start, plan.end, num_encoded=num_encoded)

    def _part(self, start: int, end: int, sets_id: int) -> Part:
        expected = self.index.frames_between(start, end)
        if not len(expected):
            return Part()
        frames = self.reader.frames(start, end, expected=expected)
        return encode_part(frames, base=self.base, fps=self.facts.fps, sets_id=sets_id)

    def _encode(self, start: int, end: int, path: Path) -> CutClip:
        expected = self.index.frames_between(start, end)
        with Mp4(path, encoding_base(self.spec, self.base)) as out:
            recoder = Recoder(out, start, base=self.base, spec=self.spec, facts=self.facts)
            for frame in self.reader.frames(start, end, expected=expected):
                recoder.add(frame)
            recoder.finish(end)
        if recoder.num_seen != len(expected):
            raise MediaError(f"{recoder.num_seen} frames were decoded where {len(expected)} should be")
        track = self._check(
            path, np.array(recoder.pts, np.int64), out.base, round((end - start) * self.base / out.base)
        )
        width, height = recoder.size
        return self._clip(
            path, track, "encode", start, end,
            num_frames=len(recoder.pts), num_encoded=len(recoder.pts), codec=self.spec.codec, width=width, height=height,
            pix_fmt=recoder.pix_fmt, bit_depth=10 if recoder.pix_fmt.endswith("10le") else 8,
            interlaced=False, rotation=0, sar=Fraction(1),
        )  # fmt: skip

    def _proved(self, path: Path, method: CutMethod, start: int, end: int, *, num_encoded: int) -> CutClip:
        facts = self.facts
        frames = self.index.frames_between(start, end)
        track = self._check(path, frames - start, self.base, end - start)
        width, height = facts.display_size
        return self._clip(
            path, track, method, start, end,
            num_frames=len(frames), num_encoded=num_encoded, codec=facts.codec, width=width, height=height,
            pix_fmt=facts.pix_fmt, bit_depth=facts.bit_depth,
            interlaced=facts.interlaced, rotation=facts.rotation, sar=facts.sar,
        )  # fmt: skip

    def _check(self, path: Path, pts: NDArray[np.int64], base: Fraction, duration: int) -> Track:
        """The written file's own timeline, which must be `pts` (ticks of `base`). Raises MediaError."""
        track = video_track(path)
        ticks = base * track.timescale
        if ticks.denominator != 1 or not np.array_equal(track.pts, pts * ticks.numerator):
            path.unlink(missing_ok=True)
            raise MediaError(f"the clip that was written shows {len(track.pts)} frames, or other ones than {len(pts)}")
        if not track.is_sync[0] or track.duration != duration * ticks.numerator:
            path.unlink(missing_ok=True)
            raise MediaError("the clip that was written does not begin with a keyframe, or lasts too long")
        return track

    def _clip(
        self, path: Path, track: Track, method: CutMethod, start: int, end: int,
        *, num_frames: int, num_encoded: int, codec: str, width: int, height: int, pix_fmt: str, bit_depth: int,
        interlaced: bool, rotation: int, sar: Fraction,
    ) -> CutClip:  # fmt: skip
        duration = float((end - start) * self.base)
        return CutClip(
            file=path,
            method=method,
            span=Span(start, end),
            start_s=self._s(start),
            end_s=self._s(end),
            num_frames=num_frames,
            num_encoded=num_encoded,
            codec=codec,
            width=width,
            height=height,
            fps=num_frames / duration,
            pix_fmt=pix_fmt,
            bit_depth=bit_depth,
            color_transfer=self.facts.color_transfer,
            interlaced=interlaced,
            rotation=rotation,
            sar=sar,
            bit_rate=round(track.num_bytes * 8 / duration),
            has_audio=False,
        )

    def _s(self, pts: int) -> float:
        return float(pts * self.base)
