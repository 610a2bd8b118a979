"""What may happen to one object of a root: lost, cut short, a bit flipped, exchanged with another, there twice."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Change = Mapping[str, bytes | None]
"""Paths and their bytes afterwards; None: gone."""

NUMBER = re.compile(r"\d{4,}")
TAR = re.compile(r"(?P<unit>[\w-]+?)(\.(?P<generation>\d+))?-(?P<hash>[0-9a-f]{12})\.tar\Z")


def objects(root: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {path: file.read_bytes() for path, file in files.items() if path.split("/")[0] not in ("_run", ".tmp")}


def mutations(root: Mapping[str, bytes], *, num_flips: int = 6) -> Iterator[tuple[str, Change]]:
    """All of them, each with its name."""
    for path, data in root.items():
        generator = random.Random(path)
        yield f"delete {path}", {path: None}
        for size in sorted(
            {0, 1, len(data) // 2, len(data) // 1024 * 512, (len(data) - 1) // 512 * 512, len(data) - 1}
        ):
            if size < len(data):
                yield f"truncate {path} to {size}", {path: data[:size]}
        yield f"grow {path}", {path: data + bytes(512)}
        for at in [generator.randrange(len(data)) for _ in range(num_flips)]:
            flipped = data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]
            yield f"flip a bit of byte {at} of {path}", {path: flipped}
        for other in twins(path, root):
            if path < other:
                yield f"swap {path} and {other}", {path: root[other], other: data}
            yield f"put {other} in place of {path}", {path: root[other]}
        for name in other_names(path, root):
            yield f"copy {path} to {name}", {name: data}


def twins(path: str, root: Mapping[str, bytes]) -> list[str]:
    """Objects of the same kind with other bytes: those of the same folder, and those of the same place in other Datasets."""
    name, _, rest = path.partition("/")
    kind = (rest.rpartition("/")[0], rest.rpartition(".")[2])
    found = []
    for other, data in root.items():
        folder, _, inner = other.partition("/")
        same_kind = kind == (inner.rpartition("/")[0], inner.rpartition(".")[2])
        if same_kind and (folder == name or inner == rest or "/" not in rest) and data != root[path]:
            found.append(other)
    return found


def other_names(path: str, root: Mapping[str, bytes]) -> list[str]:
    """Names that a copy of the object could plausibly have, and that nothing has yet."""
    folder, _, name = path.rpartition("/")
    found = [f"{folder}/copy-{name}", f"{folder}/{name}.bak"]
    if match := TAR.match(name):
        units = {match["unit"], _next(match["unit"]), "000009", *_units(folder, root)}
        own = [f"{unit}{suffix}" for unit in units for suffix in ("", ".1", ".2")]
        found += [f"{folder}/{each}-{match['hash']}.tar" for each in own]
        found.append(f"{folder}/{match['unit']}-{'0' * 12}.tar")
    else:
        stem, _, ext = name.partition(".")
        found += [f"{folder}/{stem}.{mark}.{ext}" for mark in ("1", "2", "0000", "0001", "0002")]
        found += [f"{folder}/{_next(stem)}.{ext}", f"{folder}/{stem}-00.{ext}", f"{folder}/{stem}-07.{ext}"]
    if not folder:
        own = (each.removeprefix("/") for each in found if not each.endswith(".bak"))  # the root may have other files
        return [each for each in own if each not in root]
    for other in sorted({each.split("/")[0] for each in root if "/" in each} - {path.split("/", maxsplit=1)[0]}):
        found.append(f"{other}/{path.partition('/')[2]}")
    if not name.endswith((".md", ".txt")):  # elsewhere these may be anybody's
        found.append(f"later/{path.partition('/')[2]}")
    return [each for each in dict.fromkeys(found) if each not in root]


def _units(folder: str, root: Mapping[str, bytes]) -> list[str]:
    names = (path.rpartition("/")[2] for path in root if path.startswith(f"{folder}/"))
    return sorted({match["unit"] for name in names if (match := TAR.match(name))})


def _next(stem: str) -> str:
    """The same with its last number one higher."""
    numbers = list(re.finditer(r"\d+", stem))
    if not numbers:
        return f"{stem}-0001"
    last = numbers[-1]
    return f"{stem[: last.start()]}{int(last[0]) + 1:0{len(last[0])}d}{stem[last.end() :]}"


def put(root: Path, files: Change) -> None:
    for path, data in files.items():
        file = root / path
        if data is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_bytes(data)


def missed(root: Path, chosen: Sequence[tuple[str, Change]]) -> list[str]:
    """Those that `verify` does not find; each is made, looked for, and undone."""
    from shardpipe.engine.verifying.verify import verify

    clean = objects(root)
    found = []
    for name, change in chosen:
        put(root, change)
        if not verify(str(root)).problems:
            found.append(name)
        put(root, {path: clean.get(path) for path in change})
    assert objects(root) == clean
    return found
