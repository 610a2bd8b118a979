"""Every built-in stage keeps the contract of stages."""

import pytest

from shardpipe.config.registry import stage_class, stage_names
from shardpipe.testing import check_stage


@pytest.mark.parametrize("name", stage_names())
def test_stage_passes_check_stage(name: str) -> None:
    check_stage(stage_class(name).model_validate({}))
