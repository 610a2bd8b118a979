"""The cache folder, and the sha256 of files and folders in it or anywhere, so that a file of 15 GB is hashed once.

    $SHARDPIPE_CACHE, else $XDG_CACHE_HOME/shardpipe, else ~/.cache/shardpipe
      weights/
        sha256/<hash of a path>.json    size, mtime and sha256 of the file there
        urls/<hash of a url>.json       which entry that url means now, and what it must be
        files/<hash of url and version>/model.safetensors
      repositories/<hash>.json        which files of a hub's repository count (see `repository`)

Nothing is at its final name before it is whole: files are written beside, then renamed.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from shardpipe.core.errors import ConfigError, WeightsError
from shardpipe.core.fingerprint import fingerprint, sha256_hex
from shardpipe.core.sizes import parse_size

CHUNK_BYTES = 8 << 20
SETTLED_NS = 2_000_000_000
"""A file that changed so lately may change again within one tick of its clock: its hash is not kept."""

SUFFIXES = frozenset(
    {
        *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".npy", ".npz", ".json", ".yaml", ".yml"),
        *(".txt", ".model", ".vocab", ".merges", ".tiktoken", ".jinja", ".gz"),
    }
)
"""What counts in a folder of weights: tensors, configs, tokenizers."""

PROSE = frozenset({"readme", "license", "licence", "notice", "requirements"})


def cache_folder(kind: str = "weights") -> Path:
    """Where pulled weights lie, or copies of another kind; not made here."""
    named = os.environ.get("SHARDPIPE_CACHE")
    if named:
        return Path(named).expanduser() / kind
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "shardpipe" / kind


def cache_limit() -> int | None:
    """How many bytes of fetched weights are kept, by SHARDPIPE_CACHE_BYTES; None: all. ConfigError where it is no size."""
    named = os.environ.get("SHARDPIPE_CACHE_BYTES", "").strip()
    try:
        return parse_size(named) if named else None
    except ConfigError as error:
        raise ConfigError(f"SHARDPIPE_CACHE_BYTES: {error}") from error


def offline_by() -> str | None:
    """The setting that forbids every fetch, as `NAME=VALUE`; None where fetching is allowed."""
    for name in ("SHARDPIPE_OFFLINE", "HF_HUB_OFFLINE"):
        value = os.environ.get(name, "")
        if value.lower() in ("1", "true", "yes", "on"):
            return f"{name}={value}"
    return None


def sha256_at(path: Path, files: Sequence[Path]) -> str:
    """The identity of a file, or of these files of a folder of weights; WeightsError where it cannot be read or holds none."""
    try:
        return folder_sha256(path, files) if path.is_dir() else file_sha256(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def file_sha256(path: Path) -> str:
    """The sha256 of a file, out of the memo where size and mtime are those that were hashed."""
    memo = _memo(path)
    stat = path.stat()
    known = read_json(memo)
    if known is not None and (known.get("size"), known.get("mtime_ns")) == (stat.st_size, stat.st_mtime_ns):
        return str(known["sha256"])
    sha256 = hash_file(path)
    if time.time_ns() - stat.st_mtime_ns > SETTLED_NS:
        _remember(memo, path, stat, sha256)
    return sha256


def keep_hash(path: Path, sha256: str) -> None:
    """Note the hash of a file that nobody changes any more, such as one just pulled."""
    _remember(_memo(path), path, path.stat(), sha256)


def hash_file(path: Path) -> str:
    """The sha256 of the bytes that a file has now."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def folder_sha256(folder: Path, files: Sequence[Path] | None = None) -> str:
    """The hash over the names and hashes of these files of a folder, which are sorted; of all that count where none are given."""
    files = weight_files(folder) if files is None else files
    if not files:
        raise WeightsError(f"{folder} holds no weights: no file of {', '.join(sorted(SUFFIXES))}")
    return fingerprint([[path.relative_to(folder).as_posix(), file_sha256(path)] for path in files])


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder that count as its weights, sorted by name."""
    found = [path for path in folder.rglob("*") if counts(path.relative_to(folder)) and path.is_file()]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def files_at(path: Path) -> list[Path]:
    """A file itself, or the files of a folder that count as its weights."""
    return weight_files(path) if path.is_dir() else [path]


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a small file of ours; None where it is not there or is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put a mapping at `path` in one step; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temp = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        Path(temp).replace(path)
    except BaseException:
        Path(temp).unlink(missing_ok=True)
        raise


def counts(name: PurePath) -> bool:
    """Whether a file of a folder of weights is of its identity, by its path there: a tensor file, config or tokenizer."""
    hidden = any(part.startswith(".") for part in name.parts)
    return not hidden and name.suffix.lower() in SUFFIXES and name.stem.lower() not in PROSE


def _memo(path: Path) -> Path:
    return cache_folder() / "sha256" / f"{sha256_hex(os.fsencode(path.resolve()))[:32]}.json"


def _remember(memo: Path, path: Path, stat: os.stat_result, sha256: str) -> None:
    """Keep a hash, unless the cache cannot be written (it may be another's, mounted to be read): then it costs time alone."""
    fields = {"path": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}
    try:
        write_json(memo, fields)
    except OSError:
        return
