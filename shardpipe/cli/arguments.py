"""The arguments and options that several commands take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from shardpipe.storage.scratch import ScratchSettings

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="The config, a YAML file.")]
Root = Annotated[str, typer.Argument(metavar="ROOT", help="The root of a run: a folder or an s3:// URL.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help='Replace one value of the config; may be given again. --set passes.train.keep.0="aes >= 5"',
    ),
]
Scratch = Annotated[
    str | None,
    typer.Option("--scratch", metavar="DIR", help="Where files are built, as execute.scratch of a config says it."),
]
ScratchBytes = Annotated[
    str | None, typer.Option("--scratch-bytes", metavar="SIZE", help="As execute.scratch_bytes of a config: 200GB.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, for a program to read.")]


def scratch_settings(scratch: str | None, scratch_bytes: str | None) -> "ScratchSettings":
    """What --scratch and --scratch-bytes ask for; raises ConfigError."""
    from shardpipe.config.sizes import parse_size  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.core.errors import ConfigError  # noqa: PLC0415
    from shardpipe.storage.scratch import ScratchSettings  # noqa: PLC0415

    num_bytes = None if scratch_bytes is None else parse_size(scratch_bytes)
    if num_bytes is not None and num_bytes < 1:
        raise ConfigError(f"--scratch-bytes {scratch_bytes}: give at least 1 byte")
    return ScratchSettings(None if scratch is None else Path(scratch).expanduser().absolute(), num_bytes)
