"""The log: stdlib logging to stderr, through the live display while there is one."""

import logging
import sys
from typing import TYPE_CHECKING

from shardpipe.core.errors import told

if TYPE_CHECKING:
    from rich.console import Console

LOGGER = "shardpipe"


class _Stderr(logging.Handler):
    """Writes to whatever sys.stderr is at the moment, or above the live display that has the terminal."""

    console: "Console | None" = None

    def emit(self, record: logging.LogRecord) -> None:
        line = told(self.format(record))
        if self.console is not None:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr)  # noqa: T201  the log is here


def start_log(*, verbose: bool) -> None:
    """Send shardpipe's log to stderr: warnings, or with `verbose` a line a unit too."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.propagate = False


def log_above(console: "Console | None") -> None:
    """From now on write log lines above the live display on `console`; None: to stderr again."""
    for handler in logging.getLogger(LOGGER).handlers:
        if isinstance(handler, _Stderr):
            handler.console = console
