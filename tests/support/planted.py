"""Clips that show which they are: each frame of all videos has a number of its own, so that a caption tells its clip.

The server of `support.openai_server` says the numbers that it was sent; a clip's captions may name those of its own frames alone.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from support.fakes import start_of
from support.numbered import make_numbered
from support.openai_server import MODEL
from support.runs import SIZE, make_config, rows_of, run_inline

from shardpipe.storage.commit import RowsLog
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store, open_store

FPS = 6
CLIPS_A_VIDEO = 8
NUMBER = re.compile(r"#(\d+)")


def planted_videos(folder: Path, num_videos: int) -> Path:
    """Videos of `CLIPS_A_VIDEO` seconds, `v000.mp4` on, whose frames are numbered through."""
    folder.mkdir(parents=True, exist_ok=True)
    num = FPS * CLIPS_A_VIDEO
    options = {"g": str(FPS), "bf": "0", "preset": "ultrafast"}
    for i in range(num_videos):
        numbers = range(i * num, (i + 1) * num)
        path = folder / f"v{i:03}.mp4"
        make_numbered(path, num_frames=num, fps=Fraction(FPS), size=SIZE, options=options, numbers=numbers)
    return folder


def cut_root(folder: Path, num_videos: int) -> Path:
    """A root in which such videos are cut to clips of a second, and nothing else is done. They lie beside it."""
    root = folder / "cut"
    run_inline(make_config(root, planted_videos(folder / "videos", num_videos)))
    return root


def copy_of(root: Path, other: Path) -> Path:
    """The same once more, for a test of its own."""
    shutil.copytree(root, other)
    return other


def numbers_of(row: Mapping[str, Any]) -> range:
    """The numbers of a clip's frames."""
    video = int(Path(row["source"]).stem.removeprefix("v"))
    first = FPS * (video * CLIPS_A_VIDEO + start_of(row["key"]) // 1000)
    return range(first, first + FPS)


def asking(url: str, **settings: Any) -> dict[str, Any]:
    """The fields of a stage that asks a server."""
    return {"engine": "openai", "model": MODEL, "base_url": url, **settings}


def captioning(url: str, **settings: Any) -> dict[str, Any]:
    """A captioner that sees two frames."""
    return asking(url, type="caption", num_frames=2, **settings)


def check_pairing(
    store: Store, name: str, log: Sequence[Mapping[str, Any]], *, column: str = "text"
) -> dict[str, dict[str, Any]]:
    """Each clip is there once, with a text of its own numbers that the server gave to a request of this clip, or with an error.

    No request shows another clip's frames. The rows by key.
    """
    rows = rows_of(store, name)
    assert set(rows) == set(rows_of(store, "clips"))
    said: dict[str, set[str]] = {}
    for entry in log:
        shown = entry["seen"] or NUMBER.findall(entry["prompt"])
        assert shown, entry
        assert_own(shown, rows[entry["user"]])
        if entry["text"]:
            said.setdefault(entry["user"], set()).add(entry["text"])
    for key, row in rows.items():
        if row["error"] is None and row["kept"]:
            assert row[column] in said[key]
            assert_own(NUMBER.findall(row[column]), row)
        elif row["error"] is not None:
            assert row[column] is None
    return rows


def assert_own(shown: Iterable[str], row: Mapping[str, Any]) -> None:
    """All of these numbers are of this clip."""
    found = {int(number.removeprefix("#")) for number in shown}
    assert found, row["key"]
    assert found <= set(numbers_of(row)), (row["key"], sorted(found))


def asked_keys(log: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """How often each clip was asked about."""
    return Counter(str(entry["user"]) for entry in log)


def committed_rows(root: Path, name: str) -> dict[str, dict[str, Any]]:
    """The rows of the units of a pass that are committed, of others none, by key; nothing where the pass has not begun."""
    store = open_store(str(root), read_only=True)
    paths = RowsLog(store, name).done().values()
    return {row["key"]: row for path in paths for row in decode_rows(store.read(path))[0].to_pylist()}
