"""Frames as they are displayed: progressive, square pixels, turned upright, without alpha, in a size codecs can take."""

from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from shardpipe.core.errors import MediaError
from shardpipe.core.video import VideoFacts

SCALING = "bicubic+accurate_rnd+full_chroma_int+bitexact"
TURNS = {90: "transpose=clock", 180: "hflip,vflip", 270: "transpose=cclock"}


@dataclass(frozen=True)
class Shape:
    """What frames are brought to. width, height: before turning, both even. turn: degrees clockwise, after mirroring."""

    width: int
    height: int
    turn: int
    mirror: bool
    crop: bool
    pix_fmt: str
    deinterlace: bool
    flatten: bool

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) after turning."""
        return (self.height, self.width) if self.turn in TURNS and self.turn != 180 else (self.width, self.height)  # noqa: PLR2004


def shape_of(facts: VideoFacts, *, short_side: int | None, pix_fmt: str) -> Shape:
    """The shape in which a video is encoded: never larger than it is displayed.

    An odd width or height loses its last column or row where nothing else is scaled, else it is rounded to even.
    """
    width, height = max(1, round(facts.width * facts.sar)), facts.height
    factor = min(Fraction(1), Fraction(short_side, min(width, height))) if short_side else Fraction(1)
    scaled = factor != 1 or width != facts.width
    if scaled:
        width, height = (max(2, 2 * round(side * factor / 2)) for side in (width, height))
    crop = not scaled and min(width, height) > 1 and bool(width % 2 or height % 2)
    return Shape(
        width=max(2, width - width % 2),
        height=max(2, height - height % 2),
        turn=facts.rotation,
        mirror=facts.mirrored,
        crop=crop,
        pix_fmt=pix_fmt,
        deinterlace=facts.interlaced,
        flatten=facts.has_alpha,
    )


class Upright:
    """Brings frames to a shape; those that have it already pass untouched."""

    def __init__(self, shape: Shape, base: Fraction) -> None:
        self.shape, self.base = shape, base
        self._graph: Graph | None = None
        self._of: tuple[int, int, str] | None = None

    def one(self, frame: VideoFrame) -> list[VideoFrame]:
        """Frames that are ready after `frame` was given: with deinterlacing one later. Raises MediaError."""
        ready: list[VideoFrame] = []
        now = (frame.width, frame.height, frame.format.name)
        begins = frame.interlaced_frame and not self.shape.deinterlace  # the video's first frame was not
        if begins:
            self.shape = replace(self.shape, deinterlace=True)
        if self._of is not None and (now != self._of or begins):
            ready = self.rest()
        self._of = now
        if self._graph is None and self._passes(frame):
            return [*ready, frame]
        try:
            self._graph = self._graph or self._build(frame)
            self._graph.vpush(frame)
            return [*ready, *self._pull()]
        except av.FFmpegError as error:
            raise MediaError(
                f"a frame of {now[0]}x{now[1]} {now[2]} cannot be brought to {self.shape}: {error}"
            ) from error

    def rest(self) -> list[VideoFrame]:
        """What is left after the last frame. Raises MediaError."""
        graph, self._graph, self._of = self._graph, None, None
        if graph is None:
            return []
        self._graph = graph
        try:
            graph.vpush(None)
            return self._pull()
        except av.FFmpegError as error:
            raise MediaError(f"the last frames cannot be brought to {self.shape}: {error}") from error
        finally:
            self._graph = None

    def _passes(self, frame: VideoFrame) -> bool:
        shape = self.shape
        plain = not (shape.turn or shape.mirror or shape.deinterlace or shape.flatten)
        return plain and (frame.width, frame.height, frame.format.name) == (shape.width, shape.height, shape.pix_fmt)

    def _pull(self) -> list[VideoFrame]:
        ready: list[VideoFrame] = []
        while self._graph is not None:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                break
            if isinstance(frame, VideoFrame):
                frame.pts = round(
                    (frame.pts or 0) * (frame.time_base or self.base) / self.base
                )  # bwdif counts in half ticks
                frame.time_base = self.base
                ready.append(frame)
        return ready

    def _build(self, frame: VideoFrame) -> Graph:
        shape, steps = self.shape, []
        if shape.deinterlace:
            steps.append("bwdif=mode=send_frame:deint=interlaced")
        if any(part.is_alpha for part in frame.format.components):
            deep = frame.format.components[0].bits > 8  # noqa: PLR2004
            steps += [
                f"scale=flags={SCALING}",
                f"format={'yuva444p10le' if deep else 'yuva444p'}",
                "premultiply=inplace=1",
            ]
        if shape.crop and (frame.width - shape.width, frame.height - shape.height) in ((0, 1), (1, 0), (1, 1)):
            steps.append(f"crop={shape.width}:{shape.height}:0:0:exact=1")
        steps += [f"scale={shape.width}:{shape.height}:flags={SCALING}", f"format={shape.pix_fmt}"]
        if shape.mirror:
            steps.append("hflip")
        if shape.turn in TURNS:
            steps.append(TURNS[shape.turn])
        graph = Graph()
        graph.threads = 1
        last = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self.base, name="in"
        )
        for step in ",".join(steps).split(","):
            name, _, args = step.partition("=")
            following = graph.add(name, args or None)
            last.link_to(following)
            last = following
        last.link_to(graph.add("buffersink"))
        graph.configure()
        return graph
