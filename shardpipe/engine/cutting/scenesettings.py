"""What the settings of scenes mean, before any video is opened."""

from typing import Any

from shardpipe.core.detector import Detector
from shardpipe.core.scene import ScenePolicy
from shardpipe.scenes.gradual import Gradual


def looks_for_gradual(detector: Detector, policy: ScenePolicy) -> bool:
    """Whether the engine looks for fades and dissolves on the detector's frames (or on its own, if it has none)."""
    if detector.finds_gradual:
        return False
    return detector.size is not None if policy.transitions is None else policy.transitions


def needs_frames(detector: Detector, policy: ScenePolicy) -> bool:
    """Whether scenes can only be found by decoding."""
    return detector.size is not None or looks_for_gradual(detector, policy)


def scenes_identity(detector: Detector, policy: ScenePolicy) -> dict[str, Any]:
    """All that determines the spans of a video: for fingerprints."""
    found = {"detector": detector.identity, "policy": policy.model_dump(mode="json")}
    if looks_for_gradual(detector, policy):
        found["gradual"] = Gradual().identity
    return found
