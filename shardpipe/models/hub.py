"""A file on a model hub: `hf://org/repo/file[@revision]`, and `open_clip:NAME/TAG`, which names such a file.

They lie in the hub's own cache, where other tools find them: HF_HUB_CACHE, HF_HOME/hub, or its default. Where SHARDPIPE_CACHE is
set and neither of these is, that is its folder `hub`, so that one variable moves all weights.
"""

import contextlib
import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardpipe.core.errors import WeightsError
from shardpipe.models.architectures import published, unknown
from shardpipe.models.backbone import CHECKPOINTS
from shardpipe.models.cache import cache_folder, file_sha256
from shardpipe.models.imports import import_model_library
from shardpipe.models.places import Place, Report
from shardpipe.models.remote import RemotePlace

SHA256 = re.compile(r"[0-9a-f]{64}\Z")
SAFE = ".safetensors"


@dataclass(frozen=True)
class HubPlace:
    """A file of a repository. `names`: those that it may have, the first that is there counts."""

    repo: str
    names: tuple[str, ...]
    revision: str | None = None
    is_local: bool = False

    def find(self) -> Path | None:
        """The cached file of this revision, by what the hub said of it last; WeightsError where its bytes are damaged."""
        path = self.cached()
        if path is not None and not is_whole(path):
            raise WeightsError(f"{path.resolve()}, the copy of {self}, is damaged: pull it again")
        return path

    def fetch(self, report: Report) -> Path:
        """The file as the hub has it now; WeightsError where it cannot be had."""
        there = self.cached()
        if there is not None and not is_whole(there):
            self.forget(there)  # the hub would take it for whole
        path = self._download(hub_library(), report)
        if not is_whole(path):
            self.forget(path)
            raise WeightsError(f"{self}: the bytes that came are not those that the hub names; pull it again")
        return path

    def cached(self) -> Path | None:
        """The cached file of this revision, whole or damaged."""
        hub = hub_library()
        for name in self.names:
            with hub_errors(self):
                found = hub.try_to_load_from_cache(self.repo, name, cache_dir=hub_cache(), revision=self.revision)
            if isinstance(found, str):
                return Path(found)
        return None

    def _download(self, hub: Any, report: Report) -> Path:  # noqa: ANN401
        options: dict[str, Any] = {"cache_dir": hub_cache(), "revision": self.revision}
        if "tqdm_class" in inspect.signature(hub.hf_hub_download).parameters:  # not in older releases
            options["tqdm_class"] = _bar(hub, report)
        with hub_errors(self):
            for name in self.names[:-1]:
                with contextlib.suppress(hub.errors.EntryNotFoundError):
                    return Path(hub.hf_hub_download(self.repo, name, **options))
            return Path(hub.hf_hub_download(self.repo, self.names[-1], **options))

    def keep(self, path: Path) -> bool:  # noqa: ARG002  the hub's own cache has no limit
        """Nobody removes it."""
        return True

    def forget(self, path: Path) -> None:
        """Take the file, and its name in the snapshot, out of the hub's cache."""
        blob = path.resolve()
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)

    def files(self, path: Path) -> list[Path]:
        """The file itself."""
        return [path]

    def __str__(self) -> str:
        return f"hf://{self.repo}/{self.names[0]}" + (f"@{self.revision}" if self.revision else "")


def repository_and_file(url: str) -> tuple[str, str, str | None]:
    """Repository, file (empty for the whole of it) and revision of `hf://org/repo[/path/file][@revision]`.

    WeightsError for anything else.
    """
    path, mark, revision = url.removeprefix("hf://").partition("@")
    org, _, rest = path.partition("/")
    repo, _, file = rest.partition("/")
    if not (org and repo) or (mark and not revision):
        raise WeightsError(
            f"{url} names no repository: give hf://org/repo for all of it, hf://org/repo/file, or either with @revision"
        )
    return f"{org}/{repo}", file, revision or None


def open_clip_place(url: str) -> Place:
    """Where open_clip has the weights that it calls NAME/TAG; WeightsError if it knows none."""
    name, _, tag = url.removeprefix("open_clip:").partition("/")
    if not name or not tag:
        raise WeightsError(f"{url}: give open_clip:NAME/TAG, as in open_clip:ViT-L-14/openai")
    config = published(name, tag)
    if config is None:
        raise WeightsError(f"{url}: {unknown(name, tag) or 'open_clip has no weights of that name'}")
    hub, link = config.get("hf_hub", ""), config.get("url", "")
    if not hub:
        return RemotePlace.parse(link)
    repo, _, file = hub.rpartition("/")
    if not file:
        return HubPlace(repo, CHECKPOINTS)
    safe = str(Path(file).with_suffix(SAFE))
    return HubPlace(repo, tuple(dict.fromkeys((*(CHECKPOINTS[:1] if file == CHECKPOINTS[1] else ()), safe, file))))


def hub_library() -> Any:  # noqa: ANN401  a module
    """The hub's client; ConfigError where it is not installed."""
    import_model_library("huggingface_hub.errors")
    return import_model_library("huggingface_hub")


def hub_cache() -> Path | None:
    """The hub's cache where it is ours to say; None for its own."""
    own = any(os.environ.get(name) for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"))
    return cache_folder().parent / "hub" if os.environ.get("SHARDPIPE_CACHE") and not own else None


@contextlib.contextmanager
def hub_errors(place: object) -> Iterator[None]:
    """Errors of the hub, its client and the disk as one WeightsError."""
    try:
        yield
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise WeightsError(f"{place} cannot be fetched: {type(error).__name__}: {first}") from error


def is_whole(path: Path) -> bool:
    """Whether a file's bytes are those that the hub names: a large file's etag, and so its blob's name, is its sha256."""
    named = path.resolve().name
    return SHA256.match(named) is None or file_sha256(path) == named


def _bar(hub: Any, report: Report) -> type:  # noqa: ANN401
    """A progress bar class for the hub that shows nothing and tells `report`."""

    class Told(hub.utils.tqdm):  # type: ignore[misc]  # its base is known only here
        """Counts by itself: a bar that is switched off does not."""

        def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  tqdm's own
            self.came, self.all = int(options.get("initial") or 0), options.get("total")
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            """So many bytes more."""
            self.came += int(n or 0)
            report(self.came, self.all)
            return None

    return Told
