"""Where weights may be: a local path, a file or a repository of a model hub, any fsspec URL; each knows how to look and how to fetch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shardpipe.core.errors import WeightsError
from shardpipe.core.secrets import INSTEAD, secret_in
from shardpipe.models.cache import files_at

Report = Callable[[int, int | None], None]
"""Told (bytes so far, bytes in all or None) while something is fetched."""


def no_report(done: int, total: int | None) -> None:
    """A Report that tells nobody."""


class Place(Protocol):
    """Where the weights of one url are. What `find` gives counts, until `fetch` brings something newer."""

    @property
    def is_local(self) -> bool:
        """Whether the user put the file there; else it is in a cache."""

    def find(self) -> Path | None:
        """The file or folder, None while it is not here. Asks no network. WeightsError where it can never be there."""

    def fetch(self, report: Report) -> Path:
        """Ask the remote, and bring what is not here; the file is whole, or WeightsError is raised and nothing counts."""

    def files(self, path: Path) -> list[Path]:
        """The files that count of what `find` gave: itself, or those of a folder, sorted by name."""

    def keep(self, path: Path) -> bool:
        """Let nobody make room by removing what `find` or `fetch` gave, as long as this process lives; false where it is gone."""

    def forget(self, path: Path) -> None:
        """Take what `find` gave out of the cache."""


@dataclass(frozen=True)
class LocalPlace:
    """A path of the user's own: never fetched, never removed."""

    path: Path
    is_local: bool = True

    def find(self) -> Path | None:
        """The path, if something is there."""
        return self.path if self.path.exists() else None

    def fetch(self, report: Report) -> Path:  # noqa: ARG002  nothing to tell
        """The path; WeightsError if nothing is there."""
        if not self.path.exists():
            raise WeightsError(f"{self.path}: there is no such file or folder")
        return self.path

    def files(self, path: Path) -> list[Path]:
        """The file, or those of a folder that count."""
        return files_at(path)

    def keep(self, path: Path) -> bool:  # noqa: ARG002  nobody removes it
        """It is the user's."""
        return True

    def forget(self, path: Path) -> None:
        """It is the user's: left as it is."""


def place_of(url: str) -> Place:
    """The place that a url of weights names; WeightsError for one that is none."""
    from shardpipe.models.hub import open_clip_place  # noqa: PLC0415  they import this module
    from shardpipe.models.remote import RemotePlace  # noqa: PLC0415
    from shardpipe.models.repository import hub_place  # noqa: PLC0415

    if not url.strip():
        raise WeightsError(
            "an empty url of weights: give a path, hf://org/repo, hf://org/repo/file, open_clip:NAME/TAG or a URL"
        )
    if secret := secret_in(url):
        raise WeightsError(f"{url} carries {secret}, which would lie open in every Dataset: leave it out; {INSTEAD}")
    if url.startswith("open_clip:"):
        return open_clip_place(url)
    if url.startswith("hf://"):
        return hub_place(url)
    if url.startswith("file://") or ("://" not in url and "::" not in url):
        return LocalPlace(Path(url.removeprefix("file://")).expanduser().absolute())
    return RemotePlace.parse(url)
