"""check_stage on stages that look through the Dataset: what depends on later clips, or on units, is caught."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pytest
from pydantic import PrivateAttr

from shardpipe.core.columns import Writes, int64, string
from shardpipe.core.datasetstage import DatasetStage, KeyOf, Part
from shardpipe.core.errors import StageError
from shardpipe.core.stage import ClipView, Result
from shardpipe.testing import check_stage


class Before(DatasetStage):
    """The key of the clip before, and how many have a width above 300 up to this one."""

    type: Literal["before"] = "before"

    _found: list[Any] = PrivateAttr(default_factory=list)

    @property
    def reads(self) -> Sequence[str]:
        return ("width",)

    @property
    def writes(self) -> Writes:
        return {"before": string, "num_wide": int64}

    def look_through(self, parts: Iterable[Part], key_of: KeyOf) -> None:
        wide = [width > 300 for part in parts for width in part["width"]]
        self._found = [
            {"before": key_of(i - 1) if i else None, "num_wide": sum(wide[: i + 1])} for i in range(len(wide))
        ]

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [self._found[view.place or 0] for view in batch]


class After(Before):
    """Looks at what comes after a clip."""

    def look_through(self, parts: Iterable[Part], key_of: KeyOf) -> None:
        super().look_through(parts, key_of)
        self._found = [{**each, "num_wide": len(self._found) - i} for i, each in enumerate(self._found)]


class ByPart(Before):
    """Depends on which clips are of one unit."""

    def look_through(self, parts: Iterable[Part], key_of: KeyOf) -> None:
        sizes = [len(part["width"]) for part in parts]
        self._found = [{"before": None, "num_wide": size} for size in sizes for _ in range(size)]


def test_a_stage_that_keeps_the_contract() -> None:
    results = check_stage(Before())
    assert results["landscape"] == {"before": None, "num_wide": 1}
    assert results["portrait"] == {"before": "black", "num_wide": 2}


@pytest.mark.parametrize("kind", [After, ByPart])
def test_what_breaks_it(kind: type[Before]) -> None:
    with pytest.raises(StageError, match="another result without the clips that come after it"):
        check_stage(kind())
