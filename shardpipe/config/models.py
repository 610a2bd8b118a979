"""The config as pydantic models: a root, how to cut, the passes in order, who works.

Config ─┬─ root
        ├─ cut: CutConfig ─┬─ sources  ├─ scenes: ScenesConfig (detector + policy)  └─ write: WriteSpec
        ├─ passes: PassConfig ─┬─ from, keep  ├─ stages: the stages' own fields  └─ emit: EmitConfig
        ├─ execute: ExecuteConfig
        └─ prices: Prices
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from shardpipe.config.parts import (
    STRICT,
    AnyStage,
    CaptionFiles,
    EmitConfig,
    ExecuteConfig,
    Prices,
    ScenesConfig,
    fault,
)
from shardpipe.config.registry import nearest
from shardpipe.config.sizes import NumBytes
from shardpipe.core.columns import NAME as COLUMN
from shardpipe.core.cutting import WriteSpec

CLIPS = "clips"
"""The name of the Dataset that `cut` makes."""

RESERVED = (CLIPS, "_run")
PASS_NAME = re.compile(r"[a-z0-9_-]{1,100}\Z")

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _some(value: object) -> object:
    if not isinstance(value, str | list):
        raise ValueError("give a name, or a list of names")  # noqa: TRY004  pydantic wants a ValueError
    if not value or (isinstance(value, list) and not all(isinstance(item, str) and item.strip() for item in value)):
        raise ValueError("every name needs at least one character, and a list at least one name")
    return value


def is_pass_name(value: str) -> bool:
    """Whether a pass may be called so."""
    return PASS_NAME.match(value) is not None and value not in RESERVED


def _pass_name(value: str) -> str:
    if not PASS_NAME.match(value):
        raise ValueError("must have only a-z, 0-9, _ and -, and at most 100 of them")
    if value in RESERVED:
        raise ValueError(f"must be another name: {' and '.join(RESERVED)} are shardpipe's own")
    return value


Names = Annotated[str | list[str], BeforeValidator(_some)]
"""One name or url, or a list of them."""


class CutConfig(BaseModel):
    """`cut`: raw videos to the Dataset `clips`."""

    model_config = STRICT

    sources: Names = Field(
        description="a folder, glob, prefix, list file, tars, csv or parquet with a url column; or a list of these"
    )
    captions: CaptionFiles = Field(
        default={},
        description=(
            "texts in files beside the videos, or in their tars, as columns: `{txt: text}` the whole file, `{json: {caption: text}}` keys"
        ),
    )
    scenes: ScenesConfig = Field(description="the detector, and which scenes become clips")
    write: WriteSpec = Field(default_factory=WriteSpec, description="how a clip's mp4 is made")
    shard_bytes: NumBytes = Field(default=512 * 2**20, description="target size of a clip shard")
    unit_s: float = Field(default=600.0, gt=0, description="seconds of video a unit: longer videos are split")
    max_failed: float = Field(
        default=0.05, ge=0, le=1, description="share of failed clips above which later passes do not start"
    )

    @property
    def source_list(self) -> tuple[str, ...]:
        """`sources` as a tuple."""
        return (self.sources,) if isinstance(self.sources, str) else tuple(self.sources)


class PassConfig(BaseModel):
    """One entry of `passes`: one read, one decode, several stages, one write."""

    model_config = STRICT

    name: Annotated[str, AfterValidator(_pass_name)] = Field(description="the Dataset it makes: a folder of the root")
    from_: Names = Field(alias="from", description="`clips`, an earlier pass, or a list of such over one base")
    keep: list[Text] = Field(
        default=[], description="rules: SQL boolean expressions over a clip's columns; a clip stays if all are true"
    )
    stages: list[AnyStage] = Field(default=[], description="what runs on the clips, in this order")
    emit: EmitConfig = Field(description="`rows`, `shards`, or a mapping of shard options; there is no default")
    shard_bytes: NumBytes = Field(default=512 * 2**20, description="target size of an emitted shard")
    unit_clips: int | None = Field(
        default=None, ge=1, description="slice the input's units to so many clips; not sliced if not given"
    )
    max_failed: float = Field(
        default=0.05, ge=0, le=1, description="share of failed clips above which nothing is emitted"
    )
    reuse: list[str] = Field(
        default=[], description="Datasets of this root whose finished columns are taken, not computed again"
    )
    frames_from: Literal["members", "members_only", "media"] = Field(
        default="members",
        description=(
            "`members`: a stage's frames are those that a stage `frames` before kept, where there are such that serve it, else decoded; "
            "`members_only`: those alone, nothing is decoded; `media`: always decoded"
        ),
    )
    batch_clips: int = Field(default=16, ge=1, description="clips that a stage sees at once; changes no result")
    rename: dict[str, str] = Field(default={}, description="columns that the stages write: their name in the rows")

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        errors = list(self._faults())
        if errors:
            raise ValidationError.from_exception_data("pass", errors)
        return self

    def _faults(self) -> Iterator[InitErrorDetails]:
        for i, name in enumerate(self.inputs):
            if name in self.inputs[:i]:
                yield fault(("from", i), name, "is named twice")
        for old, new in self.rename.items():
            for column in (old, new):
                if not COLUMN.match(column):
                    yield fault(("rename", old), column, "is no column name: a-z, 0-9 and _, a letter or _ first")

    @property
    def inputs(self) -> tuple[str, ...]:
        """`from` as a tuple: the Datasets whose layers this pass folds."""
        return (self.from_,) if isinstance(self.from_, str) else tuple(self.from_)


class Config(BaseModel):
    """A whole run."""

    model_config = STRICT

    root: Text = Field(description="where the Datasets lie: a local folder or an s3:// url")
    cut: CutConfig | None = Field(default=None, description="left out where `clips` is in the root already")
    passes: list[PassConfig] = Field(default=[], description="in the order in which they run")
    execute: ExecuteConfig = Field(default_factory=ExecuteConfig, description="who works")
    prices: Prices | None = Field(default=None, description="for `plan` and the funnel to print costs")

    @model_validator(mode="after")
    def _passes_fit(self) -> Self:
        errors = list(self._faults())
        if errors:
            raise ValidationError.from_exception_data("config", errors)
        return self

    def _faults(self) -> Iterator[InitErrorDetails]:
        if self.cut is None and not self.passes:
            yield fault((), self.root, "has nothing to do: give cut, passes or both", shown=False)
        yield from order_faults([(each.name, each.from_) for each in self.passes])

    def pass_named(self, name: str) -> PassConfig | None:
        """The pass called `name`, or None."""
        return next((each for each in self.passes if each.name == name), None)


def order_faults(passes: Sequence[tuple[str, str | list[str]]]) -> Iterator[InitErrorDetails]:
    """What is wrong with the names of `passes`, each (name, from): equal names, a `from` that no earlier pass makes."""
    earlier = [CLIPS]
    for i, (own, source) in enumerate(passes):
        if own in earlier[1:]:
            yield fault(("passes", i, "name"), own, "is the name of an earlier pass too")
        for j, name in enumerate([source] if isinstance(source, str) else source):
            if name not in earlier:
                at = ("passes", i, "from") if isinstance(source, str) else ("passes", i, "from", j)
                known = ", ".join(repr(each) for each in dict.fromkeys(earlier) if each == CLIPS or is_pass_name(each))
                yield fault(at, name, f"is no earlier pass{nearest(name, earlier)}; one of {known}, or a list of them")
        earlier.append(own)
