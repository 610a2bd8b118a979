"""HDR to SDR: the formulas against their sources' own numbers."""

import numpy as np
import pytest

from shardpipe.media.color import HLG, PQ, compressed, hlg_light, luma, pq_light, pq_signal, tone_mapped


@pytest.mark.parametrize(
    ("signal", "light"), [(0.0, 0.0), (0.508078, 100.0), (0.580690, 203.0), (0.751827, 1000.0), (1.0, 10000.0)]
)
def test_pq_as_in_bt2408(signal: float, light: float) -> None:
    assert float(pq_light(np.array(signal))) == pytest.approx(light, rel=1e-4, abs=1e-9)
    assert float(pq_signal(np.array(light))) == pytest.approx(signal, abs=3e-6)


@pytest.mark.parametrize(("signal", "light"), [(0.0, 0.0), (0.75, 203.0), (1.0, 1000.0)])
def test_hlg_as_in_bt2408(signal: float, light: float) -> None:
    assert hlg_light(np.full((1, 3), signal))[0] == pytest.approx([light] * 3, rel=0.005, abs=0.01)


def test_highlights_are_compressed_smoothly() -> None:
    light = np.linspace(0, 1000, 2001)
    out = compressed(light)
    assert np.all(np.diff(out) > 0)
    assert out[-1] == pytest.approx(203, rel=1e-6)
    assert np.all(out <= light + 1e-9)
    assert float(compressed(np.array(5000.0))) == pytest.approx(203, rel=1e-6)
    assert float(compressed(np.array(10.0))) == pytest.approx(10.0)  # shadows stay


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_tone_mapping_keeps_gray_and_order(transfer: int) -> None:
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[None, :, None], 3, axis=2)
    out = tone_mapped(ramp, transfer)
    assert np.ptp(out.astype(int), axis=2).max() <= 1
    assert np.all(np.diff(out[0, :, 0].astype(int)) >= 0)
    assert out[0, 0].tolist() == [0, 0, 0]
    assert out[0, -1].tolist() == [255, 255, 255]
    reference_white = int((0.580690 if transfer == PQ else 0.75) * 255)
    assert 200 < out[0, reference_white, 0] < 240
    assert np.abs(luma(out).astype(int) - out[..., 0]).max() <= 1


def test_hue_is_kept() -> None:
    red = np.array([[[60000, 20000, 20000]]], np.uint16)
    out = tone_mapped(red, PQ)[0, 0].astype(int)
    assert out[0] > 200
    assert abs(out[1] - out[2]) < 30
