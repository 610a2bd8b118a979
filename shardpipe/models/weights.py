"""The one place that resolves weights: a local path, `hf://org/repo[/file]`, `open_clip:NAME/TAG` or any fsspec URL to a file.

    state     is it here? asks no network                       a plan, `shardpipe models`
    sha256_of what is here, as the fingerprint names it          a plan, a worker before it loads
    pull      ask the remote, bring what is not here             `shardpipe models --pull`
    resolve   the file; pulled first where it is not here        a stage's `setup`

What the cache has counts until `pull` brings something newer, so that all of a run sees the same file. Each checks the sha256
that the stage knows (`Weights.sha256`) or that the url is pinned to (`URL#sha256=HEX`).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from shardpipe.core.errors import ConfigError, WeightsError
from shardpipe.core.weights import Weights, pinned
from shardpipe.models.cache import offline_by, sha256_at
from shardpipe.models.places import Place, Report, no_report, place_of
from shardpipe.models.statedict import load_state

__all__ = ["State", "load_state", "pull", "resolve", "sha256_of", "state"]

Where = Literal["local", "cached", "to pull", "missing"]


@dataclass(frozen=True)
class State:
    """Where weights are.

    path: where they are here. num_bytes, sha256: of what is here; else as published, or None. reason: why they are
    missing. can_be_pulled: whether `pull` might bring them, here or where there is a network.
    """

    where: Where
    path: Path | None = None
    num_bytes: int | None = None
    sha256: str | None = None
    reason: str | None = None
    can_be_pulled: bool = False

    @property
    def is_here(self) -> bool:
        """Whether they can be loaded now."""
        return self.path is not None


def state(weights: Weights) -> State:
    """Where weights are; asks no network, hashes what is here (once), raises nothing."""
    try:
        weights = _unpinned(weights)
        place = place_of(weights.url)
    except ConfigError as error:
        return _missing(weights, str(error), can_be_pulled=False)
    try:
        path = place.find()
        if path is not None:
            files = place.files(path)
            sha256 = sha256_at(path, files)
            _check(weights, path, sha256)
            num_bytes = sum(file.stat().st_size for file in files)
            return State("local" if place.is_local else "cached", path, num_bytes, sha256)
    except (ConfigError, OSError) as error:
        return _missing(weights, str(error), can_be_pulled=not place.is_local)
    if place.is_local:
        return _missing(weights, "there is no such file or folder", can_be_pulled=False)
    offline = offline_by()
    if offline is not None:
        return _missing(weights, f"not in the cache, and {offline} forbids to fetch it", can_be_pulled=True)
    return State("to pull", None, weights.num_bytes, weights.sha256, can_be_pulled=True)


def _missing(weights: Weights, reason: str, *, can_be_pulled: bool) -> State:
    return State("missing", None, weights.num_bytes, weights.sha256, reason, can_be_pulled)


def sha256_of(weights: Weights) -> str:
    """The sha256 of the file that is here (of a folder: see `folder_sha256`); WeightsError where it is not here."""
    found = state(weights)
    if found.path is None or found.sha256 is None:
        raise WeightsError(
            found.reason or f"{weights.url} is not here yet: pull it with `shardpipe models CONFIG --pull`"
        )
    return found.sha256


def resolve(weights: Weights) -> Path:
    """The local file (or folder), which stays as long as this process lives; pulled into the cache first where it is not here.
    WeightsError where it cannot be had.
    """
    weights = _unpinned(weights)
    place = place_of(weights.url)
    while True:
        found = place.find()
        path = _fetched(place, weights, no_report) if found is None else _checked(place, weights, found)
        if place.keep(path):
            return path


def pull(weights: Weights, report: Report = no_report) -> Path:
    """The local file as the remote has it now: fetched where it is not here, or has changed there. WeightsError as `resolve`."""
    weights = _unpinned(weights)
    return _fetched(place_of(weights.url), weights, report)


def _unpinned(weights: Weights) -> Weights:
    """The same with the sha256 that its url is pinned to beside the url; WeightsError for a pin that cannot hold."""
    try:
        url, pin = pinned(weights.url)
    except ValueError as error:
        raise WeightsError(str(error)) from error
    if pin is not None and weights.sha256 not in (None, pin):
        raise WeightsError(f"{url} is pinned to sha256 {pin}, and its authors publish {weights.sha256}")
    return replace(weights, url=url, sha256=pin or weights.sha256)


def _fetched(place: Place, weights: Weights, report: Report) -> Path:
    offline = offline_by()
    if offline is not None and not place.is_local:
        path = place.find()
        if path is None:
            raise WeightsError(f"{weights.url} is not in the cache, and {offline} forbids to fetch it")
        return _checked(place, weights, path)
    return _checked(place, weights, place.fetch(report))


def _checked(place: Place, weights: Weights, path: Path) -> Path:
    """`path`, if it has the sha256 that it must have; else it is taken out of the cache and WeightsError raised."""
    if weights.sha256 is not None:
        try:
            _check(weights, path, sha256_at(path, place.files(path)))
        except WeightsError:
            place.forget(path)
            raise
    return path


def _check(weights: Weights, path: Path, sha256: str) -> None:
    if weights.sha256 not in (None, sha256):
        raise WeightsError(
            f"{weights.url} is another file than it must be: it has sha256 {sha256} ({path}), and {weights.sha256} is wanted"
        )
