"""A step that several stages of a pass share, such as one image encoder for an aesthetic head, a text match and an embedding.

    aes    shares ImageEncoder(ViT-L-14, frames at 0.1 0.5 0.9) ─┐ joined: one step, before the first of them,
    embed  shares ImageEncoder(ViT-L-14, 8 frames)              ─┘ on the union of their frames, each encoded once

Its result is a pass-local column, which no row holds: a mapping from each frame request to what it made of those frames.
"""

from collections.abc import Mapping
from typing import Any, Self

from shardpipe.core.columns import Writes, string
from shardpipe.core.fingerprint import fingerprint
from shardpipe.core.frames import FrameRequest
from shardpipe.core.stage import ClipView, Stage
from shardpipe.core.weights import Weights, url_fields


def named_loads(stage: Stage) -> dict[str, Weights]:
    """All weights that a stage's results depend on: its own by role, those of the steps that it shares as `shares.0.ROLE`."""
    own = {weights.role: weights for weights in stage.loads}
    shared = {f"shares.{i}.{weights.role}": weights for i, each in enumerate(stage.shares) for weights in each.loads}
    return {**own, **shared}


class SharedStage(Stage):
    """What stages name in `shares`; it is in no config. Fields but `requests` say what it computes: where they are equal,
    the engine joins the steps of several stages to one. `process` gives `{column: {request: value, ...}}` for each clip, or
    a ClipError, which becomes the error of each stage that shares it, as that stage's `on_error` says.
    """

    requests: tuple[FrameRequest, ...]

    @property
    def column(self) -> str:
        """The pass-local column that it writes: the same whatever is requested, another one for weights of another url."""
        return f"_{self.type}_{fingerprint(self._fields())[:12]}"

    @property
    def frames(self) -> tuple[FrameRequest, ...]:
        """All that is requested of it."""
        return self.requests

    @property
    def writes(self) -> Writes:
        """One pass-local column, of any kind."""
        return {self.column: string}

    def joined(self, other: "SharedStage") -> Self:
        """The same for the requests of both."""
        both = tuple(dict.fromkeys([*self.requests, *other.requests]))
        return self.model_copy(update={"requests": both})

    def made_for(self, view: ClipView) -> Mapping[FrameRequest, Any]:
        """What a joined step made for this clip, by request."""
        made: Mapping[FrameRequest, Any] = view.row[self.column]
        return made

    @property
    def identity(self) -> dict[str, Any]:
        """What determines its results: less `requests`, which follow from the stages that share it."""
        return {"type": self.type, "version": self.version, **self._fields(**url_fields(self))}

    def _fields(self, **without: Any) -> dict[str, Any]:  # noqa: ANN401  as pydantic takes it
        excluded = {"type": True, "on_error": True, "requests": True, **without}
        return self.model_dump(mode="json", exclude=excluded)
