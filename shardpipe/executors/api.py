"""`shardpipe.run`: a run from Python, as `shardpipe run` does it from a shell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shardpipe.config.load import as_config
from shardpipe.config.models import Config
from shardpipe.core.errors import ConfigError
from shardpipe.core.report import RunReport
from shardpipe.core.work import Progress, Silent
from shardpipe.executors.run import run_config


def run(
    config: Config | str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    only: str | None = None,
    limit: int | None = None,
    partial: bool = False,
    add_sources: str | None = None,
    progress: Progress | None = None,
) -> RunReport:
    """Do what `config` says and is not done yet: a Config, a YAML file's path, or a mapping of the same shape.

    overrides: as `--set`: `root=demo/run`. only: the name of one pass, or `clips`. limit: at most so many units of each
    pass. partial: later passes work on what earlier ones have finished, and nothing is emitted. add_sources: a url whose
    videos are appended. Workers are spawned processes: a script must call this under `if __name__ == "__main__":`.
    Raises ConfigError before anything ran, PassFailed where too many clips failed; a unit that failed is in the report.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit}: at least 1, or None for all units")
    loaded = as_config(config, overrides)
    return run_config(
        loaded, only=only, limit=limit, partial=partial, add_sources=add_sources, progress=progress or Silent()
    )
