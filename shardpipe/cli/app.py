"""The command line: one file a command, and one place where errors become a line on stderr and an exit code.

exit 0    done
exit 1    some units or clips failed, or a Dataset is not what its rows say
exit 2    the config or the command line is at fault; nothing ran
exit 130  stopped with Ctrl-C, SIGTERM or SIGHUP
"""

import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, TextIO, cast

import typer

from shardpipe.cli.log import start_log
from shardpipe.cli.output import flush, nowhere
from shardpipe.core.errors import ConfigError, ShardpipeError
from shardpipe.core.secrets import Redacting
from shardpipe.executors.interrupts import stop_on_signals

COMMANDS = (
    "run",
    "plan",
    "emit",
    "status",
    "inspect",
    "query",
    "captions",
    "verify",
    "copy",
    "doctor",
    "gc",
    "retry",
    "remove",
    "stages",
    "models",
)
"""In the order of the help page; each is a module of shardpipe.cli that has a function `command`."""

INTERRUPTED = 130


class _UsageError(Protocol):
    """What typer raises for a bad command line, by shape: its class has moved between releases."""

    exit_code: int

    def show(self) -> None:
        """Print it to stderr."""


def build_app() -> typer.Typer:
    """The typer application with all commands."""
    app = typer.Typer(
        name="shardpipe",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Raw videos in, training-ready WebDataset shards out.",
    )
    app.callback()(_options)
    for name in COMMANDS:
        app.command(name)(import_module(f"shardpipe.cli.{name}").command)
    return app


def _version(value: bool) -> None:  # noqa: FBT001  typer's callback
    if value:
        from importlib.metadata import version  # noqa: PLC0415  only here

        typer.echo(version("shardpipe"))
        raise typer.Exit


def _options(
    *,
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log a line a unit to stderr, not warnings alone."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),  # noqa: ARG001
) -> None:
    """Raw videos in, training-ready WebDataset shards out."""
    start_log(verbose=verbose)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    # None where a shell closed them (`>&-`); what goes out is told as it is, and to people without secrets of any form
    sys.stdout = cast("TextIO", Redacting(sys.stdout or nowhere(), forms=False))
    sys.stderr = cast("TextIO", Redacting(sys.stderr or nowhere()))
    stop_on_signals()
    sys.exit(run_app(list(sys.argv[1:] if arguments is None else arguments)))


def run_app(arguments: Sequence[str]) -> int:
    """Run a command line; its exit code."""
    try:
        code = build_app()(list(arguments), prog_name="shardpipe", standalone_mode=False)
        flush()
    except ShardpipeError as error:
        print(f"shardpipe: {error}", file=sys.stderr)  # noqa: T201  the one place where errors are told
        return 2 if isinstance(error, ConfigError) else 1
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        return 1  # the reader of our stdout has gone (`| head`): nothing is left to say
    except Exception as error:
        if not hasattr(error, "show"):
            raise
        usage = cast("_UsageError", error)
        usage.show()
        return usage.exit_code
    if code == INTERRUPTED:  # newer releases of typer give the code, older ones raise
        again = shlex.join(["shardpipe", *arguments])
        print(f"\nstopped; what was committed stays. To go on from there: {again}", file=sys.stderr)  # noqa: T201
    return int(code or 0)
