"""Weights being pulled, as it goes, on stderr."""

import sys
from collections.abc import Sequence

from shardpipe.cli.progress import showing_bytes
from shardpipe.core.errors import ConfigError
from shardpipe.core.weights import Weights
from shardpipe.models.weights import pull


def pull_all(wanted: Sequence[Weights]) -> dict[Weights, str]:
    """Pull each that is not a local path; those that could not be had, with the reason. Told on stderr."""
    failed = {}
    for each in wanted:
        try:
            with showing_bytes(each.url, "pulled") as report:
                pull(each, report)
        except (ConfigError, OSError) as error:
            failed[each] = str(error)
            print(f"{each.url}: not pulled: {error}", file=sys.stderr)  # noqa: T201  progress goes to stderr
    return failed
