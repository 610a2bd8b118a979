"""The one class that authors of scorers extend: a stage sees clips' frames and rows, and returns columns.

A stage's fields are its config. It sees no tar, no storage, no other stage and no threshold.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from shardpipe.core.columns import Writes
from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.core.weights import Weights, url_fields

if TYPE_CHECKING:
    from shardpipe.core.shared import SharedStage

OnError = Literal["drop", "keep", "fail"]


@dataclass(frozen=True)
class ClipError:
    """A stage's answer for a clip that it cannot score; `message` goes to the row's `error`."""

    message: str


@dataclass(frozen=True)
class ClipView:
    """What a stage sees of one clip.

    row: the folded columns so far (those that the stage `reads`, and the clip's own facts), missing ones as None.
    frame_sets: one Frames for each FrameRequest of the stage, in its order.
    place: of a DatasetStage, the clip's number among those that it looked through, from 0.
    """

    key: str
    row: Mapping[str, Any]
    frame_sets: tuple[Frames, ...] = field(default=(), repr=False)
    place: int | None = None

    @property
    def frames(self) -> Frames:
        """The frames of the stage's first (mostly only) request."""
        return self.frame_sets[0]


Result = Mapping[str, Any] | ClipError
"""Column values by name (all that the stage `writes`; None for a missing value; bytes for a Member), or a ClipError."""


class Stage(BaseModel, ABC):
    """A scorer, tagger or captioner. Subclasses are pydantic models: fields are config, frozen, unknown ones refused.

    `version` is part of the fingerprint: raise it when the same input would give another result.
    `on_error`: `drop` the clip (its row has the error), `keep` it with null columns and the error, or `fail` its unit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    version: ClassVar[int] = 1

    type: str
    on_error: OnError = "drop"

    @property
    def frames(self) -> FrameRequest | tuple[FrameRequest, ...] | None:
        """The frames it wants of each clip; None for a stage that reads only columns."""
        return None

    @property
    def reads(self) -> Sequence[str]:
        """Columns that must exist before it runs."""
        return ()

    @property
    def shares(self) -> "Sequence[SharedStage]":
        """Steps that it shares with other stages of the pass (an image encoder): run before it, once for all of them."""
        return ()

    @property
    def loads(self) -> Sequence[Weights]:
        """The files of weights that `setup` loads. They are found before anything runs; their sha256 is in the fingerprint.

        A field that says where one lies is a `WeightsUrl`.
        """
        return ()

    @property
    @abstractmethod
    def writes(self) -> Writes:
        """The columns (and members) that it gives for each clip."""

    @property
    def uses_device(self) -> bool:
        """Whether it computes on the device that `setup` gets, so that its workers are placed one a GPU: by default where it has a
        `setup` of its own, or shares a step. A stage that only loads tables there answers False, and gets a worker a core.
        """
        return type(self).setup is not Stage.setup or bool(self.shares)

    def setup(self, device: str) -> None:
        """Load what `process` needs, once a worker. `device` is a torch device string: `cpu`, `cuda:0`."""

    @abstractmethod
    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """One result a clip, in the order of `batch`. Must not depend on the other clips of the batch."""

    @property
    def frame_requests(self) -> tuple[FrameRequest, ...]:
        """`frames` as a tuple, empty for None."""
        wanted = self.frames
        if wanted is None:
            return ()
        return wanted if isinstance(wanted, tuple) else (wanted,)

    @property
    def identity(self) -> dict[str, Any]:
        """What determines its results: type, version and fields; not `on_error`, nor where its weights lie.

        What lies there does: the sha256 of each of its `loads` stands beside this in the fingerprint.
        """
        fields = self.model_dump(mode="json", exclude={"type": True, "on_error": True, **url_fields(self)})
        return {"type": self.type, "version": self.version, **fields}
