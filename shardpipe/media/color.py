"""Colour: FFmpeg's names for what a frame's numbers mean, and HDR brought down to what an ordinary screen shows.

Tone mapping works on non-linear R'G'B' with BT.2020 primaries, 0 to 1, and gives BT.709 pictures:
signal -> light (ST 2084 or BT.2100's HLG) -> highlights compressed (BT.2390's EETF) -> BT.709 primaries -> BT.1886.
"""

import numpy as np
from numpy.typing import NDArray

TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
"""AVColorTransferCharacteristic (ITU-T H.273 table 3) by number; what is absent is "unknown"."""

PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
    11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
"""AVColorPrimaries (H.273 table 2) by number."""

MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
"""AVColorSpace (H.273 table 4) by number."""

RANGES = {1: "tv", 2: "pc"}
"""AVColorRange by number."""

PQ, HLG = 16, 18  # AVColorTransferCharacteristic

SDR_WHITE = 203.0
"""cd/m2 that becomes white (BT.2408's reference white). Brighter light is compressed below it, not clipped."""
HDR_PEAK = 1000.0
"""cd/m2 of the brightest light that keeps its place: BT.2100's nominal peak for HLG, the usual mastering for PQ."""

M1, M2 = 2610 / 16384, 2523 / 4096 * 128
C1, C2, C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
"""SMPTE ST 2084:2014, 5.2."""

Light = NDArray[np.float64]

TO_709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
)
"""Linear BT.2020 to linear BT.709 (ITU-R BT.2407, 2.2)."""
LUMA_709 = np.array([0.2126, 0.7152, 0.0722])
LUMA_2020 = np.array([0.2627, 0.6780, 0.0593])


def pq_light(signal: Light) -> Light:
    """cd/m2 of a PQ signal 0 to 1: the EOTF of SMPTE ST 2084."""
    power = signal ** (1 / M2)
    return 10000 * (np.maximum(power - C1, 0) / (C2 - C3 * power)) ** (1 / M1)


def pq_signal(light: Light) -> Light:
    """The inverse of `pq_light`."""
    power = (np.maximum(light, 0) / 10000) ** M1
    return ((C1 + C2 * power) / (1 + C3 * power)) ** M2


def hlg_light(signal: Light) -> Light:
    """cd/m2 of an HLG signal [..., 3] on a 1000 cd/m2 screen: inverse OETF and OOTF of ITU-R BT.2100 table 5."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)  # noqa: PLR2004  table 5
    luma = np.maximum(scene @ LUMA_2020, 1e-6)[..., None]
    light: Light = HDR_PEAK * luma**0.2 * scene  # gamma 1.2 at this peak
    return light


def compressed(light: Light) -> Light:
    """cd/m2 up to HDR_PEAK brought to at most SDR_WHITE: the EETF of ITU-R BT.2390-8, 5.4.1 (black level 0)."""
    peak = float(pq_signal(np.array(HDR_PEAK)))
    top = float(pq_signal(np.array(SDR_WHITE))) / peak
    knee = 1.5 * top - 0.5
    e = np.minimum(pq_signal(light) / peak, 1)
    t = np.maximum(e - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * top
    return pq_light(np.where(e < knee, e, spline) * peak)


def tone_mapped(rgb: NDArray[np.uint16], transfer: int) -> NDArray[np.uint8]:
    """An HDR picture (uint16 [H, W, 3], R'G'B' full range, BT.2020) as uint8 [H, W, 3] BT.709, full range.

    The brightest of a pixel's three lights is compressed, and the other two with it, so that hue is kept.
    """
    signal = rgb / 65535.0
    light = pq_light(signal) if transfer == PQ else hlg_light(signal)
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    linear = light * (compressed(brightest) / brightest) / SDR_WHITE
    screen: Light = np.clip(linear @ TO_709.T, 0, 1) ** (1 / 2.4)  # ITU-R BT.1886 annex 1
    return rounded(screen * 255)


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BT.709 luma of a full-range BT.709 picture: uint8 [H, W, 3] to uint8 [H, W]."""
    return rounded(rgb @ LUMA_709)


def rounded(values: Light) -> NDArray[np.uint8]:
    """0 to 255, to the nearest whole number."""
    whole: NDArray[np.uint8] = np.rint(values).astype(np.uint8)
    return whole
