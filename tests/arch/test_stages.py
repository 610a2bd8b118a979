"""Every built-in stage keeps the contract of stages."""

from pathlib import Path

import pytest
from support.tiny_stages import tiny_config

from shardpipe.config.registry import stage_class, stage_names
from shardpipe.testing import check_stage


@pytest.mark.parametrize("name", stage_names())
def test_stage_passes_check_stage(name: str, tmp_path: Path) -> None:
    config = tiny_config(name, tmp_path)
    check_stage(stage_class(name).model_validate(config), tolerance=1e-4 if config else 1e-6)
