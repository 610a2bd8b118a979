"""Global motion: how the whole picture moves, turns and grows from frame to frame, whatever moves inside it.

Corners spread over a key frame are followed into the frames after it; the similarity that most of them agree on is the
camera. A key frame serves as long as enough of its corners are found, so slow moves add up over seconds instead of
drowning in the noise of single steps, and things that move slowly part from the background.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shardpipe.stages._corners import MIN_CORNERS, Key, Picture, follow, jump, key_frame, prepare
from shardpipe.stages._similarity import NONE, STILL, Fit, Similarity, area

MIN_SHARE = 0.3
POOR_SHARE = 0.5
CLEAR_SHARE = 0.85
WORN = 0.5  # a key frame is replaced when fewer than this share of its corners are left
JUMP_GAIN = 0.15  # a picture that repeats itself looks right after many jumps
FRESH_GAIN = 0.05
MOVING_PX = 1.0
OTHER_WAY_PX = 2.0
OTHER_PACE = 0.5
AS_WELL = 0.02
UNCHANGED_SHARE = 0.2
REST_LOOKS = 11
REST_PX = 0.35
REST_SHARE = 0.2
NEARLY_ALWAYS = 12  # percentile
OUT_ON_A_SIDE = 0.25
REST_SIDES = 3


@dataclass(frozen=True)
class GlobalMotion:
    """What the whole picture did.

    steps: the similarity from each frame to the next, in pixels of a picture of `size` (width, height); None where it
    could not be told. reaches: of each known step, the share of the picture that the box around the corners that speak
    for it takes. pictures: the frames as they were compared.
    """

    steps: list[Similarity | None]
    size: tuple[int, int]
    reaches: list[float] = field(repr=False)
    pictures: list[Picture] = field(repr=False)


def global_motion(data: NDArray[np.uint8]) -> GlobalMotion:
    """Follows the picture through at least two frames, uint8 [T, H, W] without black bars. The same frames always give the same answer."""
    rng = np.random.default_rng(0)
    pictures = prepare(data)
    height, width = pictures[0].even.shape
    steps: list[Similarity | None] = []
    reaches: list[float] = []
    key, to_last, step = key_frame(pictures[0]), STILL, STILL
    for last, picture in pairwise(pictures):
        guess = step.after(to_last)
        fit = follow(key, picture, guess, rng)
        if fit.share < CLEAR_SHARE and guess.size_px > MOVING_PX and key.unchanged_share(picture) > UNCHANGED_SHARE:
            fit = max(fit, follow(key, picture, STILL, rng), key=_share)
        if abs(fit.similarity.after(to_last.inverse()).b - step.b) > OTHER_WAY_PX + OTHER_PACE * abs(step.b):
            fit = _shorter(fit, follow(key, picture, to_last, rng), to_last)
        if fit.share < CLEAR_SHARE:
            key, to_last, fit = _second_try(key, to_last, fit, pictures=(last, picture), step=step, rng=rng)
        if fit.share < MIN_SHARE or len(fit.agreeing) < MIN_CORNERS:
            steps.append(None)
            key, to_last, step = key_frame(picture), STILL, STILL
            continue
        step = fit.similarity.after(to_last.inverse())
        steps.append(step)
        reaches.append(area(fit.similarity.of(key.corners[fit.agreeing])) / (width * height))
        to_last = fit.similarity
        key.learn(fit)
        if len(fit.agreeing) < WORN * key.first:
            key, to_last = key_frame(picture), STILL
    return GlobalMotion(steps, (width, height), reaches, pictures)


def _share(fit: Fit) -> float:
    return fit.share


def _shorter(fit: Fit, near: Fit, to_last: Similarity) -> Fit:
    """After a change of pace: of two ways that explain what is seen as well, as in a pattern that repeats itself, the shorter."""
    way, short = (each.similarity.after(to_last.inverse()).b for each in (fit, near))
    return near if near.share > fit.share - AS_WELL and abs(short) < abs(way) - OTHER_WAY_PX else fit


def _second_try(
    key: Key,
    to_last: Similarity,
    fit: Fit,
    *,
    pictures: tuple[Picture, Picture],
    step: Similarity,
    rng: np.random.Generator,
) -> tuple[Key, Similarity, Fit]:
    """Looks again after a jump of the whole picture, and from a new key frame, where the old one no longer explains
    what is seen: the key frame to go on with, the way from it to the last picture, and the best fit.
    """
    last, picture = pictures
    jumped = jump(last, picture)
    if abs(jumped.b - fit.similarity.after(to_last.inverse()).b) > OTHER_WAY_PX:
        far = follow(key, picture, jumped.after(to_last), rng)
        fit = far if far.share > fit.share + JUMP_GAIN else fit
    if fit.share >= POOR_SHARE or key.picture is last:
        return key, to_last, fit
    fresh = key_frame(last)
    near = max((follow(fresh, picture, each, rng) for each in (step, jumped)), key=_share)
    return (fresh, STILL, near) if near.share > fit.share + FRESH_GAIN else (key, to_last, fit)


def at_rest(pictures: list[Picture]) -> bool:
    """Whether enough corners of what is mostly seen stay exactly where they are, on several sides of the picture: a
    camera at rest behind things that move, however rich in corners those are.
    """
    some = [pictures[i] for i in np.unique(np.linspace(0, len(pictures) - 1, REST_LOOKS).round().astype(int))]
    usual = np.median(np.stack([each.even for each in some]), axis=0).astype(np.uint8)
    key = key_frame(Picture(usual, some[0].half)).distinct()
    if np.percentile([key.unchanged_share(each) for each in some], NEARLY_ALWAYS) < REST_SHARE / 2:
        return False
    height, width = usual.shape
    resting: list[float] = []
    seen = np.zeros(4)
    for picture in some:
        fit = follow(key, picture, STILL, np.random.default_rng(0))
        rests = fit.agreeing if fit.similarity.size_px < REST_PX else NONE
        resting.append(key.share(rests))
        x, y = key.corners.real[rests] / width, key.corners.imag[rests] / height
        seen += [(side > OUT_ON_A_SIDE).any() for side in (-x, x, -y, y)]
    sides = int((seen > len(some) / 2).sum())
    return float(np.percentile(resting, NEARLY_ALWAYS)) > REST_SHARE and sides >= REST_SIDES
