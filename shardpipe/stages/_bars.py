"""Bars around a picture (letterbox, pillarbox), found from grey frames. Pure.

The idea: a bar's rows keep one colour for the whole clip, and end in a straight edge over much of the width. A dark scene
has the first but not the second, and is seldom dark all the time: so what counts is the largest difference over time.
"""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Floats = NDArray[np.float64]
BarKind = Literal["none", "black", "colour", "blurred"]

MIN_SIDE = 16  # smaller pictures have no bars
MAX_BAR = 0.45  # of the side, at each end
BLACK = 32  # grey level up to which a bar is black: some encoders write 16 into full range video
FLAT = 3  # grey levels by which half of a bar's pixels may at most differ at any time; a dark scene differs by more
SUSTAINED = 0.05  # of the side: the picture must go on for that long, so that a subtitle in a bar is no picture
BLUR_STEP = 6  # grey levels at the edge of a blurred bar
BLUR_EDGE = 0.35  # share of the edge that must show them
BLUR_DETAIL = 0.4  # of the picture's detail, at most, is in a blurred bar


@dataclass(frozen=True)
class Box:
    """The picture inside the bars, in pixels of the full-size frames."""

    x: int
    y: int
    width: int
    height: int
    kind: BarKind


@dataclass(frozen=True)
class _Rule:
    """How sure an edge must be: the share of a bar's row that may differ (a logo), and the rise of it where the picture begins."""

    tolerance: int
    inside_bar: float
    rise: float


_BLACK_RULE = _Rule(tolerance=10, inside_bar=0.35, rise=0.25)
_COLOUR_RULE = _Rule(tolerance=8, inside_bar=0.1, rise=0.6)


@dataclass(frozen=True)
class _Extremes:
    """The lowest and highest grey level of each pixel over time, [h, w] of the small frames and [H, W] of the full-size ones."""

    low: Gray
    high: Gray
    native_low: Gray
    native_high: Gray

    @property
    def scale(self) -> float:
        """Full-size rows a small row."""
        return float(self.native_low.shape[0] / self.low.shape[0])

    def flipped(self) -> "_Extremes":
        """Last row first."""
        return _Extremes(self.low[::-1], self.high[::-1], self.native_low[::-1], self.native_high[::-1])

    def turned(self) -> "_Extremes":
        """Columns as rows."""
        return _Extremes(self.low.T, self.high.T, self.native_low.T, self.native_high.T)

    def rows(self, first: int, last: int) -> "_Extremes":
        """Without the first and last so many full-size rows (and the small ones that they touch)."""
        small = slice(int(np.ceil(first / self.scale)), self.low.shape[0] - int(np.ceil(last / self.scale)))
        native = slice(first, self.native_low.shape[0] - last)
        return _Extremes(self.low[small], self.high[small], self.native_low[native], self.native_high[native])


def find_box(small: Gray, native: Gray) -> Box:
    """The picture's box in pixels of `native`; all of it where no bar is certain.

    small: uint8 [T, h, w], many frames over the clip, say where bars are; native: uint8 [N, H, W], a few frames at full
    size, say it to the pixel (where they are too dark, the box may be a small-frame pixel too narrow, never too wide).
    """
    height, width = native.shape[1:]
    whole = Box(0, 0, width, height, "none")
    if min(small.shape[1:]) < MIN_SIDE:
        return whole
    seen = _Extremes(small.min(axis=0), small.max(axis=0), native.min(axis=0), native.max(axis=0))
    top, bottom, kind_y = _ends(seen)
    left, right, kind_x = _ends(seen.rows(top, bottom).turned())
    if kind_x != "none":  # bars at the sides thin out what the rows show: look again between them
        top, bottom, kind_y = _ends(seen.turned().rows(left, right).turned())
    inside = native[:, top : height - bottom, left : width - right]
    if kind_x == "none" and (bar := _blurred_bar(inside)):
        left, right, kind_x = bar, bar, "blurred"
    elif kind_y == "none" and (bar := _blurred_bar(inside.transpose(0, 2, 1))):
        top, bottom, kind_y = bar, bar, "blurred"
    kind = kind_y if kind_y != "none" else kind_x
    return replace(whole, x=left, y=top, width=width - left - right, height=height - top - bottom, kind=kind)


def _ends(seen: _Extremes) -> tuple[int, int, BarKind]:
    """The bars at the first and the last rows, in full-size rows: black ones each on its own, coloured ones only as an even pair."""
    first, last = seen, seen.flipped()
    colours = _outer_colour(first), _outer_colour(last)
    black = [
        _bar(end, colour, _BLACK_RULE) if colour <= BLACK else 0
        for end, colour in zip((first, last), colours, strict=True)
    ]
    if any(black):
        return black[0], black[1], "black"
    if min(colours) > BLACK and abs(colours[0] - colours[1]) <= _COLOUR_RULE.tolerance:
        pair = [_bar(end, colour, _COLOUR_RULE) for end, colour in zip((first, last), colours, strict=True)]
        if min(pair) > 0 and abs(pair[0] - pair[1]) <= 2 * seen.scale:
            return pair[0], pair[1], "colour"
    return 0, 0, "none"


def _outer_colour(seen: _Extremes) -> int:
    """The grey level of the outermost full-size row."""
    return int(np.median((seen.native_low[0].astype(np.int32) + seen.native_high[0]) // 2))


def _bar(seen: _Extremes, colour: int, rule: _Rule) -> int:
    """The height in full-size rows of the bar of `colour` at the first rows; 0 for none."""
    height, native_height = seen.low.shape[0], seen.native_low.shape[0]
    coarse = _edge(
        _covered(seen.low, seen.high, colour, rule),
        rule,
        gap=1,
        sustained=max(2, round(SUSTAINED * height)),
        limit=int(MAX_BAR * height),
    )
    if coarse and np.median(_deviation(seen.low[:coarse], seen.high[:coarse], colour)) > FLAT:
        return 0
    # the true edge is within a small row or two of the coarse one; a bar thinner than a small row shows at full size only
    start = max(0, int((coarse - 1) * seen.scale) - 1)
    stop = int((coarse + 2) * seen.scale) + 1
    sustained = max(2, round(SUSTAINED * native_height))
    strip = slice(start, stop + sustained + 2)
    covered = _covered(seen.native_low[strip], seen.native_high[strip], colour, rule)
    fine = _edge(covered, rule, gap=2, sustained=sustained, limit=stop - start)
    if fine:
        return start + fine + _half_rows(seen.native_low[strip][fine:], seen.native_high[strip][fine:], colour)
    return min(int(np.ceil((coarse + 1) * seen.scale)), native_height // 2) if coarse else 0


def _covered(low: Gray, high: Gray, colour: int, rule: _Rule) -> Floats:
    """The share of each row's pixels that at some time differ from `colour`."""
    below, above = max(0, colour - rule.tolerance), min(255, colour + rule.tolerance)
    return np.asarray(((low < below) | (high > above)).mean(axis=1), dtype=np.float64)


def _edge(covered: Floats, rule: _Rule, *, gap: int, sustained: int, limit: int) -> int:
    """The number of first rows that are bar: where the clearest rise of `covered` is, at most `limit`; 0 for none.

    The rows before the edge are covered by at most `inside_bar` on average, the last two of them at most so (a subtitle
    leaves a gap); after it, and `gap` rows of transition, all of the next `sustained` rows are covered by `rise` more.
    """
    last = min(limit, len(covered) - gap - sustained)
    if last < 1:
        return 0
    before = np.maximum(covered, np.r_[0.0, covered[:-1]])[:last]
    average = np.cumsum(covered)[:last] / np.arange(1, last + 1)
    windows = np.lib.stride_tricks.sliding_window_view(covered, sustained)
    after = windows[1 + gap : last + gap + 1].min(axis=1)
    rise = np.where(np.maximum(before, average) <= rule.inside_bar, after - before, -1.0)
    edge = last - int(np.argmax(rise[::-1]))  # of equal ones the last: all full bar rows
    return edge if rise[edge - 1] >= rule.rise else 0


def _deviation(low: Gray, high: Gray, colour: int) -> Gray:
    """The largest difference from `colour` of each pixel at any time."""
    level = np.full(low.shape, colour, dtype=np.uint8)
    return np.asarray(np.maximum(cv2.absdiff(low, level), cv2.absdiff(high, level)), dtype=np.uint8)


def _half_rows(low: Gray, high: Gray, colour: int) -> int:
    """How many of the first rows, at most 2, are less than half picture: coding noise and scaling smear a bar's edge."""
    deviation = _deviation(low, high, colour).mean(axis=1)
    half = float(np.median(deviation[2:])) / 2
    return int(deviation[0] < half) + int(deviation[0] < half and deviation[1] < half)


def _blurred_bar(native: Gray) -> int:
    """The width of each of two even side bars that are filled with a blurred picture, in columns of [N, H, W]; 0 for none.

    Such bars (a vertical video in a wide frame) have little detail, and end at straight edges at the same distance from both sides.
    """
    width = native.shape[2]
    limit = int(MAX_BAR * width)
    if native.shape[1] < MIN_SIDE or limit < MIN_SIDE:
        return 0
    lines, next_lines = native[:, :-1:4], native[:, 1::4]  # every 4th row tells enough
    edges = np.mean([(cv2.absdiff(rows[:, 1:], rows[:, :-1]) > BLUR_STEP).mean(axis=0) for rows in lines], axis=0)
    mirrored = np.maximum.reduce([np.roll(edges[::-1], shift) for shift in (-1, 0, 1)])
    both = np.minimum(edges, mirrored)[MIN_SIDE // 2 : limit]
    bar = int(np.argmax(both)) + MIN_SIDE // 2 + 1
    if both.max() < BLUR_EDGE:
        return 0
    detail = np.mean([cv2.absdiff(a, b).mean(axis=0) for a, b in zip(lines, next_lines, strict=False)], axis=0)
    margin = 3
    outside = float(np.r_[detail[: bar - margin], detail[width - bar + margin :]].mean())
    return bar if outside <= BLUR_DETAIL * float(detail[bar : width - bar].mean()) else 0
