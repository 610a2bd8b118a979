"""Cut clips out of one video, exactly, each by the cheapest way that serves it.

`cut` gives any span at any time: it seeks, copies, and decodes only what must be encoded. While the video is decoded
for other reasons, `see` and `mark` let pieces be encoded from frames in hand; the bytes are the same either way.
"""

from contextlib import ExitStack, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shardpipe.core.cutting import CutClip, CutMethod, Span, WriteSpec
from shardpipe.core.errors import MediaError
from shardpipe.core.video import VideoFacts
from shardpipe.media.audio import SpanSound, audio_stream
from shardpipe.media.editlist import EDITLIST_CODECS, plan_editlist
from shardpipe.media.encode import Recoder, encoding_base
from shardpipe.media.inhand import LAG, Parts, Run, Runs, Seen
from shardpipe.media.packets import index_packets
from shardpipe.media.proof import encoded_clip, is_cut_short, kept_clip
from shardpipe.media.reading import PacketReader
from shardpipe.media.remux import MP4_VIDEO, Mp4, add_sound
from shardpipe.media.smartcut import PIX_FMTS, Part, PartEncoder, PartSettings, Plan, encode_part, plan_copy, write_plan
from shardpipe.media.source import MediaInput, open_media, video_stream

MAX_PART_FRAMES = 6000
"""Longer parts are not kept in memory: such a clip is encoded whole, straight into its file."""


class Cutter:
    """Cuts clips out of one video (or a window of it, seconds) into the folder `scratch`.

    frame_pts: int64, when the window's frames are shown, sorted, ticks of the stream's time base.
    Raises MediaError if the video cannot be read, ConfigError if the encoder does not exist.
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
        self.facts, self.spec, self.base = facts, spec, facts.time_base
        self._scratch = scratch
        self._open = ExitStack()
        with ExitStack() as undo:
            undo.callback(self._open.close)
            container = self._open.enter_context(open_media(inp))
            stream = video_stream(container)
            self._audio = audio_stream(container) if spec.audio else None
            self._know(container, stream, window_s)
            self._temp = Path(self._open.enter_context(TemporaryDirectory(dir=scratch, prefix=".cut-")))
            undo.pop_all()
        self._max_trim = self._ticks(spec.max_trim_s)
        self._seen = Seen()
        self._parts, self._runs = self._in_hand()

    def _know(self, container: InputContainer, stream: VideoStream, window_s: tuple[float, float] | None) -> None:
        """Read the packets of a window."""
        window = None if window_s is None else (int(window_s[0] / self.base), int(window_s[1] / self.base) + 1)
        self.index = index_packets(container, stream, window=window)
        self._reader = PacketReader(container, stream, self.index)
        low, high = (0, None) if window is None else np.searchsorted(self.index.frame_pts, window)
        self.frame_pts: NDArray[np.int64] = self.index.frame_pts[low:high]
        exact = self.index.steady and self.index.timed
        plain = (
            not self.facts.interlaced and not self.facts.mirrored
        )  # the usual readers turn pictures, but mirror none
        self._copies = self.facts.codec in MP4_VIDEO and exact and plain
        self._settings = self._part_settings()

    def widen(self, window_s: tuple[float, float]) -> None:
        """Know a wider window than until now; what was made of the frames seen stays, where it would be made the same way."""
        before = self._settings
        self._know(self._reader.container, self._reader.stream, window_s)
        if self._settings != before:
            self._parts = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the video. Clips that were cut stay."""
        if self._runs is not None:
            self._runs.close()
        self._open.close()

    def see(self, frame: VideoFrame) -> None:
        """A frame of the sequential decode, in order. Its picture must not be changed afterwards."""
        self._seen.add(frame.pts or 0)
        if self._parts is not None:
            self._parts.see(frame)
        if self._runs is not None:
            self._runs.see(frame)

    def mark(self, pts: int) -> None:
        """A clip may start or end at the frame shown at `pts`, which was seen at most 16 frames ago."""
        if self._parts is not None:
            self._parts.mark(pts, self.index.frame_pts)
        if self._runs is not None:
            self._runs.mark(pts, self.index.frame_pts)

    def cut(self, span: Span, name: str, *, max_trim_s: float | None = None) -> CutClip:
        """Write the clip of a span to `NAME.mp4`. `max_trim_s`: give up no more of it than that, even where the spec
        allows more. Raises MediaError if the span has no frame or cannot be cut.
        """
        frames = self._frames(span.start, span.end)
        if not len(frames):
            raise MediaError(f"there is no frame from {self._s(span.start):.3f} to {self._s(span.end):.3f} s")
        start, end = int(frames[0]), min(span.end, self.index.frame_end(int(frames[-1])))
        path = self._scratch / f"{name}.mp4"
        if self._parts is not None:
            self._parts.drop_before(start)
        trim = self._max_trim if max_trim_s is None else min(self._max_trim, self._ticks(max_trim_s))
        plan = self._plan(start, end, trim)
        if plan is not None:
            with suppress(MediaError):  # what was written is not right: encoding is the answer to all of that
                return self._keep(plan, path)
            path.unlink(missing_ok=True)
        return self._encode(start, end, path)

    def _plan(self, start: int, end: int, trim: int) -> Plan | None:
        """How to cut a span, giving up `trim` ticks at most, without encoding it whole by the book; None if it must be."""
        frames = self._frames(start, end)
        if self.spec.method == "editlist":
            return plan_editlist(self.index, start, end) if self._edits and self._as_promised(start, end) else None
        if self.spec.method == "encode":
            return None
        plan = plan_copy(self.index, start, end) if self._copies and self._as_promised(start, end) else None
        if plan is not None:
            if plan.copy_start - start + end - plan.copy_end <= trim:
                return replace(plan, start=plan.copy_start, end=plan.copy_end, num_head=0, num_tail=0)
            if plan.copy_start - start <= trim:
                plan = replace(plan, start=plan.copy_start, num_head=0)
        elif self.spec.codec == "h264" and self.spec.encoder == "software":
            plan = Plan(start, end, end, end, 0, 0, len(frames), 0)
        small = plan is not None and plan.num_head + plan.num_tail <= MAX_PART_FRAMES
        return plan if self._settings is not None and small else None

    @property
    def _edits(self) -> bool:
        mp4 = self.facts.container.startswith("mov")
        return mp4 and self._copies and self.facts.codec in EDITLIST_CODECS

    def _keep(self, plan: Plan, path: Path) -> CutClip:
        """Write a plan: what can be copied is."""
        frames = self._frames(plan.start, plan.end)
        sound = self._sound(plan.start, plan.end)
        head, tail = self._part(plan.start, plan.copy_start), self._part(plan.copy_end, plan.end)
        with Mp4(path, self.base, sound=sound) as out:
            write_plan(self._reader, plan, out, head=head, tail=tail)
        method: CutMethod = (
            "encode" if plan.first == plan.stop else "smart" if plan.num_head + plan.num_tail else "copy"
        )
        if self.spec.method == "editlist":
            method = "editlist"
        return kept_clip(path, self.facts, plan, frames, method=method, has_audio=sound is not None)

    def _part(self, start: int, end: int) -> Part:
        """The frames with start <= pts < end, encoded: as made in hand, else now."""
        expected = self._frames(start, end)
        if not len(expected) or self._settings is None:
            return Part()
        made = self._parts.take(expected) if self._parts is not None else None
        return made or encode_part(self._reader.frames(start, end, expected=expected), self._settings)

    def _encode(self, start: int, end: int, path: Path) -> CutClip:
        """Encode a whole span by the book: upright, square pixels, progressive."""
        expected = self._frames(start, end)
        run = self._runs.take(start, end) if self._runs is not None else None
        if run is None or run.recoder.num_seen != len(expected):
            run = self._encoded(start, end, expected)
        if is_cut_short(run.out.path):
            run = self._encoded(start, end, expected, in_order=True)
        duration = round((end - start) * self.base / run.out.base)
        sound = self._sound(start, end)
        if sound is not None:
            with Mp4(path, run.out.base, sound=sound) as out:
                add_sound(run.out.path, out, duration)
        else:
            run.out.path.replace(path)
        span, has_audio = Span(start, end), sound is not None
        return encoded_clip(path, self.facts, span, run.recoder, expected, has_audio=has_audio)

    def _encoded(self, start: int, end: int, expected: NDArray[np.int64], *, in_order: bool = False) -> Run:
        run = self._begin_run(start, in_order=in_order)
        with run.out:
            for frame in self._reader.frames(start, end, expected=expected):
                run.recoder.add(frame)
            run.recoder.finish(end)
        return run

    def _begin_run(self, start: int, *, in_order: bool = False) -> Run:
        out = Mp4(self._temp / f"{start}.mp4", encoding_base(self.spec, self.base))
        recoder = Recoder(out, start, base=self.base, spec=self.spec, facts=self.facts, in_order=in_order)
        return Run(start, recoder, out)

    def _sound(self, start: int, end: int) -> SpanSound | None:
        """The audio of a span; None if there is none, or none is wanted."""
        if self._audio is None:
            return None
        sound = SpanSound(self._reader.container, self._audio, start * self.base, end * self.base)
        self._reader.forget_place()
        return sound if sound.packets else None

    def _part_settings(self) -> PartSettings | None:
        """How heads and tails are encoded; None if this video cannot have any."""
        facts, spec = self.facts, self.spec
        if spec.method != "auto" or facts.codec != "h264" or facts.pix_fmt not in PIX_FMTS or not self._copies:
            return None
        if self.index.lossless:  # FFmpeg's decoder goes wrong where a clip changes from lossy to lossless coding
            return None
        with suppress(ValueError):
            own = spec.codec == "h264" and spec.encoder == "software"
            preset, crf = (spec.speed, spec.crf) if own else ("superfast", 18)
            return PartSettings(self.base, facts.fps, self.index.sets.free_id(), preset, crf, spec.gop_s)
        return None

    def _in_hand(self) -> tuple[Parts | None, Runs | None]:
        settings = self._settings
        if settings is None:
            return None, Runs(begin=self._begin_if_needed)
        parts = Parts(
            head_end=self._head_end,
            tail_start=self._tail_start,
            encoder=lambda frame: PartEncoder(frame, settings),
            num_frames=LAG + self.index.longest_tail,
        )
        return parts, None

    def _head_end(self, start: int) -> int | None:
        first = self.index.start_after(start)
        end = self.index.end if first is None else int(self.index.at[first])
        return None if end - start <= self._max_trim else end

    def _tail_start(self, start: int, end: int) -> int | None:
        plan = self._plan(start, end, self._max_trim)
        return plan.copy_end if plan is not None and plan.num_tail and plan.copy_end > plan.start else None

    def _begin_if_needed(self, start: int) -> Run | None:
        """A run, unless a clip that starts there is likely to be copied."""
        first = self.index.start_after(start)
        near = first is not None and self.index.at[first] - start <= self._max_trim
        if self.spec.method == "auto" and self._copies and near:
            return None
        if self.spec.method == "editlist" and plan_editlist(self.index, start, start + 1) and self._edits:
            return None
        with suppress(MediaError):
            return self._begin_run(start)
        return None

    def _frames(self, start: int, end: int) -> NDArray[np.int64]:
        """The frames of a span: as decoded where that was seen, else as the packets promise."""
        return self._seen.between(start, end, self.index.frames_between(start, end))

    def _as_promised(self, start: int, end: int) -> bool:
        return np.array_equal(self._frames(start, end), self.index.frames_between(start, end))

    def _ticks(self, seconds: float) -> int:
        return int(Fraction(seconds).limit_denominator(10**6) / self.base)

    def _s(self, pts: int) -> float:
        return float(pts * self.base)
