"""Of what rows a pass that looks back made a unit: of the unit's own, and of those of all units before it.

    unit 0      unit 1      unit 2        the input's rows, in the order of its unit list
      │           │           │
    digest 0 ─▶ digest 1 ─▶ digest 2 ─▶ .. each of the digest before it, and of the rows of its unit

`RowsMeta.inputs` of such rows has two digests beside the unit's own inputs: NAMES, which a listing tells, is compared wherever the
rows are read (a newer generation of any of them has another name); OBJECTS, of all their sha256, where all of them are read in any
case: before the pass runs, and by `verify`. Units are only ever added at the end, so the digests of old ones stay as they are.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from shardpipe.core.fingerprint import fingerprint

NAMES = "so far: names"
OBJECTS = "so far: sha256"
DIGESTS = frozenset({NAMES, OBJECTS})


class Chain:
    """A digest of all values so far, each of which JSON takes."""

    def __init__(self) -> None:
        self._digest = ""

    def add(self, value: Any) -> str:  # noqa: ANN401
        """The digest with one value more."""
        self._digest = fingerprint([self._digest, value])
        return self._digest


def names_so_far(units: Sequence[str], listings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """For each unit the digest NAMES: of the names of its rows objects, and of those of all units before it.

    listings: of each layer, its units (or slices of them) to paths.
    """
    found: dict[str, list[str]] = defaultdict(list)
    known = set(units)
    for listing in listings:
        for name, path in listing.items():
            found[name if name in known else name.rpartition("-")[0]].append(path)
    chain = Chain()
    return {unit: chain.add(sorted(found[unit])) for unit in units}
