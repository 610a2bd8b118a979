"""shardpipe: raw videos in, training-ready WebDataset shards out.

Names are imported when they are first used, so `import shardpipe` itself takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardpipe.config.load import load_config, parse_config
    from shardpipe.config.models import Config
    from shardpipe.core.asyncstage import AsyncStage
    from shardpipe.core.columns import (
        Columns,
        ColumnType,
        Member,
        Writes,
        bool_,
        float32,
        float64,
        int64,
        list_of,
        string,
    )
    from shardpipe.core.datasetstage import DatasetStage
    from shardpipe.core.detector import Detector, DetectorRun, Transition
    from shardpipe.core.errors import (
        ConfigError,
        IncompleteError,
        IntegrityError,
        MediaError,
        PassFailed,
        ShardpipeError,
        StageError,
        StoreError,
        UnitError,
    )
    from shardpipe.core.frames import Fractions, FrameRequest, Frames, Numbers, Pairs, Rate, Uniform
    from shardpipe.core.report import RunReport
    from shardpipe.core.stage import ClipError, ClipView, Result, Stage
    from shardpipe.engine.views.opened import OpenDataset, open_dataset
    from shardpipe.executors.api import run

_HOMES = {
    "shardpipe.config.load": ("load_config", "parse_config"),
    "shardpipe.config.models": ("Config",),
    "shardpipe.core.asyncstage": ("AsyncStage",),
    "shardpipe.core.columns": (
        *("ColumnType", "Columns", "Member", "Writes"),
        *("bool_", "float32", "float64", "int64", "list_of", "string"),
    ),
    "shardpipe.core.datasetstage": ("DatasetStage",),
    "shardpipe.core.detector": ("Detector", "DetectorRun", "Transition"),
    "shardpipe.core.errors": (
        *("ConfigError", "IncompleteError", "IntegrityError", "MediaError", "PassFailed"),
        *("ShardpipeError", "StageError", "StoreError", "UnitError"),
    ),
    "shardpipe.core.frames": ("Fractions", "FrameRequest", "Frames", "Numbers", "Pairs", "Rate", "Uniform"),
    "shardpipe.core.report": ("RunReport",),
    "shardpipe.core.stage": ("ClipError", "ClipView", "Result", "Stage"),
    "shardpipe.engine.views.opened": ("OpenDataset", "open_dataset"),
    "shardpipe.executors.api": ("run",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncStage",
    "ClipError",
    "ClipView",
    "ColumnType",
    "Columns",
    "Config",
    "ConfigError",
    "DatasetStage",
    "Detector",
    "DetectorRun",
    "Fractions",
    "FrameRequest",
    "Frames",
    "IncompleteError",
    "IntegrityError",
    "MediaError",
    "Member",
    "Numbers",
    "OpenDataset",
    "Pairs",
    "PassFailed",
    "Rate",
    "Result",
    "RunReport",
    "ShardpipeError",
    "Stage",
    "StageError",
    "StoreError",
    "Transition",
    "Uniform",
    "UnitError",
    "Writes",
    "bool_",
    "float32",
    "float64",
    "int64",
    "list_of",
    "load_config",
    "open_dataset",
    "parse_config",
    "run",
    "string",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  whatever the name stands for
    if name not in _HOME_OF:
        raise AttributeError(f"module 'shardpipe' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
