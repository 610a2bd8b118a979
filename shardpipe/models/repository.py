"""A whole repository of a model hub as one folder of weights: `hf://org/repo[@revision]`, what vision-language models are given as.

It lies as a snapshot in the hub's own cache. Of its files those count that count in a local folder, less copies of the same tensors
in another format (`chosen`). A snapshot counts once all of them are there:

    weights/repositories/<hash of repo and commit>.json    ours, written before the first byte is pulled: the files of that commit
    models--org--repo/refs/<revision>                      the hub's, moved by the last file of a pull: which commit counts

What another tool has pulled has no such note. There a snapshot is taken for whole if it has tensors and a config, and all files
that its indices name.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardpipe.core.errors import WeightsError
from shardpipe.core.fingerprint import fingerprint
from shardpipe.models.cache import cache_folder, read_json, weight_files, write_json
from shardpipe.models.chosen import chosen, kind_of
from shardpipe.models.hub import HubPlace, hub_cache, hub_errors, hub_library, is_whole, repository_and_file
from shardpipe.models.places import Place, Report, no_report
from shardpipe.models.statedict import INDEX


def hub_place(url: str) -> Place:
    """The file or the whole repository that `hf://org/repo[/file][@revision]` names; WeightsError for anything else."""
    repo, file, revision = repository_and_file(url)
    return HubPlace(repo, (file,), revision) if file else RepositoryPlace(repo, revision)


@dataclass(frozen=True)
class RepositoryPlace:
    """A repository at a revision; what is found is the folder of a snapshot."""

    repo: str
    revision: str | None = None
    is_local: bool = False

    def find(self) -> Path | None:
        """The snapshot of this revision, by what the hub said of it last; WeightsError where its bytes are damaged."""
        folder = self._snapshot()
        if folder is None or not self._has_all(folder):
            return None
        damaged = [path for path in self.files(folder) if not is_whole(path)]
        if damaged:
            raise WeightsError(f"{damaged[0].resolve()}, a file of the copy of {self}, is damaged: pull it again")
        return folder

    def fetch(self, report: Report) -> Path:
        """The snapshot of what the hub has now; what is here of it is not fetched again. WeightsError where it cannot be had."""
        commit, sizes = self._listing()
        write_json(self._note(commit), {"repo": self.repo, "commit": commit, "files": list(sizes)})
        places = [HubPlace(self.repo, (name,), commit) for name in sizes]
        to_come = [size for size, place in zip(sizes.values(), places, strict=True) if not _is_here(place)]
        total = None if None in to_come else sum(size or 0 for size in to_come)
        came = 0
        for place in places:
            came += _fetch(place, report, came, total)
        last = HubPlace(self.repo, (next(iter(sizes)),), self.revision)
        there = last.fetch(no_report)  # from here on this commit counts
        folder = self._snapshot()
        if folder is None or folder.name != commit or not there.is_relative_to(folder):
            raise WeightsError(f"{self} was changed at the hub while it was pulled: pull it again")
        return folder

    def keep(self, path: Path) -> bool:  # noqa: ARG002  the hub's own cache has no limit
        """Nobody removes it."""
        return True

    def forget(self, path: Path) -> None:
        """Take the snapshot's files out of the hub's cache."""
        for file in self.files(path):
            HubPlace(self.repo, (file.relative_to(path).as_posix(),)).forget(file)

    def files(self, path: Path) -> list[Path]:
        """The files of a snapshot that count, sorted by name: other tools may have put more there."""
        names = self._noted(path)
        if names is None:
            names = chosen(_names_in(path))
        return [path / name for name in sorted(names)]

    def __str__(self) -> str:
        return f"hf://{self.repo}" + (f"@{self.revision}" if self.revision else "")

    def _snapshot(self) -> Path | None:
        """The folder of the commit that this revision was last, whole or not."""
        hub = hub_library()
        with hub_errors(self), contextlib.suppress(hub.errors.LocalEntryNotFoundError):
            options = {"cache_dir": hub_cache(), "revision": self.revision}
            found = hub.snapshot_download(self.repo, **options, allow_patterns=[], local_files_only=True)
            return Path(found)
        return None

    def _has_all(self, folder: Path) -> bool:
        noted = self._noted(folder)
        return _seems_whole(folder) if noted is None else all((folder / name).is_file() for name in noted)

    def _noted(self, folder: Path) -> list[str] | None:
        known = read_json(self._note(folder.name))
        return None if known is None else [str(name) for name in known["files"]]

    def _note(self, commit: str) -> Path:
        return cache_folder() / "repositories" / f"{fingerprint([self.repo, commit])[:32]}.json"

    def _listing(self) -> tuple[str, dict[str, int | None]]:
        """The commit that the revision is now, and the chosen files of it with their sizes."""
        hub = hub_library()
        with hub_errors(self):
            info: Any = hub.HfApi().model_info(self.repo, revision=self.revision or "main", files_metadata=True)
            sizes = {each.rfilename: each.size for each in info.siblings or ()}
        names = chosen(sizes)
        if not names:
            raise WeightsError(f"{self} holds no weights: no tensors, configs or tokenizers")
        return str(info.sha), {name: sizes[name] for name in sorted(names)}


def _names_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in weight_files(folder)]


def _is_here(place: HubPlace) -> bool:
    path = place.cached()
    return path is not None and is_whole(path)


def _seems_whole(folder: Path) -> bool:
    names = chosen(_names_in(folder))
    indices = [folder / name for name in names if name.endswith(INDEX)]
    has_tensors = any(kind_of(name) is not None for name in names if not name.endswith(INDEX))
    return has_tensors and any(name.endswith("config.json") for name in names) and all(map(_has_shards, indices))


def _has_shards(index: Path) -> bool:
    try:
        shards = set((read_json(index) or {})["weight_map"].values())
        return all((index.parent / shard).is_file() for shard in shards)
    except (KeyError, AttributeError, TypeError, ValueError):
        return False


def _fetch(place: HubPlace, report: Report, before: int, total: int | None) -> int:
    """Fetch one file; its bytes as far as they were not here."""
    came = 0

    def told(done: int, _: int | None) -> None:
        nonlocal came
        came = max(came, done)
        report(before + done, total)

    place.fetch(told)
    return came
