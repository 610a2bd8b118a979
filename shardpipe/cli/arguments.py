"""The arguments and options that several commands take."""

from typing import Annotated

import typer

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="The config, a YAML file.")]
Root = Annotated[str, typer.Argument(metavar="ROOT", help="The root of a run: a folder or any fsspec URL.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help='Replace one value of the config; may be given again. --set passes.train.keep.0="aes >= 5"',
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, for a program to read.")]
