"""Canonical JSON, its sha256, and the difference between two configurations in words. All pure."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any


def canonical_json(value: Any) -> bytes:  # noqa: ANN401  any JSON value
    """UTF-8 JSON with sorted keys and no spaces; raises ValueError on NaN and inf."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_hex(data: bytes | memoryview) -> str:
    """The 64 hex digits of `data`'s sha256."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(value: Any) -> str:  # noqa: ANN401
    """The sha256 of a JSON value's canonical form."""
    return sha256_hex(canonical_json(value))


def difference(old: Any, new: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401
    """One line a leaf that differs: `cut.scenes.threshold: 3.0 there, 2.5 here`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            at = f"{path}.{key}" if path else str(key)
            if key not in new:
                yield f"{at}: {old[key]!r} there, absent here"
            elif key not in old:
                yield f"{at}: absent there, {new[key]!r} here"
            else:
                yield from difference(old[key], new[key], at)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from difference(a, b, f"{path}.{i}")
    elif old != new:
        yield f"{path}: {old!r} there, {new!r} here"
