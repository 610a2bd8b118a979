"""Weights on a model hub: `hf://org/repo/file[@revision]`, and `open_clip:NAME/TAG`, which names such a file.

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
    """A file of a repository. `files`: the names that it may have, the first that is there counts."""

    repo: str
    files: tuple[str, ...]
    revision: str | None = None
    is_local: bool = False

    @staticmethod
    def parse(url: str) -> "HubPlace":
        """`hf://org/repo/path/file[@revision]`; WeightsError for anything else."""
        path, _, revision = url.removeprefix("hf://").partition("@")
        org, repo, *names = path.split("/")[:2] + path.split("/", 2)[2:]
        if not (org and repo and names and names[0]) or ("@" in url and not revision):
            raise WeightsError(f"{url} names no file: give hf://org/repo/file, or hf://org/repo/file@revision")
        return HubPlace(f"{org}/{repo}", (names[0],), revision or None)

    def find(self) -> Path | None:
        """The cached file of this revision, by what the hub said of it last; WeightsError where its bytes are damaged."""
        path = self._cached(_hub())
        if path is not None and not _is_whole(path):
            raise WeightsError(f"{path.resolve()}, the copy of {self}, is damaged: pull it again")
        return path

    def fetch(self, report: Report) -> Path:
        """The file as the hub has it now; WeightsError where it cannot be had."""
        hub = _hub()
        there = self._cached(hub)
        if there is not None and not _is_whole(there):
            self.forget(there)  # the hub would take it for whole
        path = self._download(hub, report)
        if not _is_whole(path):
            self.forget(path)
            raise WeightsError(f"{self}: the bytes that came are not those that the hub names; pull it again")
        return path

    def _cached(self, hub: Any) -> Path | None:  # noqa: ANN401  a module
        for name in self.files:
            with self._errors():
                found = hub.try_to_load_from_cache(self.repo, name, cache_dir=_cache_dir(), revision=self.revision)
            if isinstance(found, str):
                return Path(found)
        return None

    def _download(self, hub: Any, report: Report) -> Path:  # noqa: ANN401
        options: dict[str, Any] = {"cache_dir": _cache_dir(), "revision": self.revision}
        if "tqdm_class" in inspect.signature(hub.hf_hub_download).parameters:  # not in older releases
            options["tqdm_class"] = _bar(hub, report)
        with self._errors():
            for name in self.files[:-1]:
                with contextlib.suppress(hub.errors.EntryNotFoundError):
                    return Path(hub.hf_hub_download(self.repo, name, **options))
            return Path(hub.hf_hub_download(self.repo, self.files[-1], **options))

    def forget(self, path: Path) -> None:
        """Take the file, and its name in the snapshot, out of the hub's cache."""
        blob = path.resolve()
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)

    def __str__(self) -> str:
        return f"hf://{self.repo}/{self.files[0]}" + (f"@{self.revision}" if self.revision else "")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the hub's own, its client's, the disk's
            first = (str(error).strip().splitlines() or [""])[0]
            raise WeightsError(f"{self} cannot be fetched: {type(error).__name__}: {first}") from error


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


def _hub() -> Any:  # noqa: ANN401  a module
    return import_model_library("huggingface_hub")


def _cache_dir() -> Path | None:
    """The hub's cache where it is ours to say; None for its own."""
    own = any(os.environ.get(name) for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"))
    return cache_folder().parent / "hub" if os.environ.get("SHARDPIPE_CACHE") and not own else None


def _is_whole(path: Path) -> bool:
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
