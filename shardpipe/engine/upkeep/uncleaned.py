"""What `remove` could not look into, or not clean: told at the end, so that none of it keeps the rest from being cleaned."""

from collections.abc import Iterator
from contextlib import contextmanager

from shardpipe.core.errors import ShardpipeError


class Uncleaned:
    """Problems so far, each once."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    @property
    def problems(self) -> list[str]:
        """Path and reason of each, in the order in which they were met."""
        return list(self._found)

    def add(self, path: str, error: Exception) -> None:
        """One object more."""
        self._found[f"{path}: {error}"] = None

    @contextmanager
    def guard(self, path: str) -> Iterator[None]:
        """What goes wrong inside is a problem of `path`, and no more than that."""
        try:
            yield
        except FileNotFoundError:
            return  # gone since it was listed, or lost: `verify` tells
        except ShardpipeError as error:
            self.add(path, error)
