"""What a pass's DatasetStages see before its first unit: the clips of the whole input that reach them, in order.

    View.fold, few columns ─▶ kept clips ─▶ rules that bind on the input ─▶ look_through
                                                        └─▶ places and keys of those clips, and what their rows' digests are

Every worker looks through all of it in its set-up: it reads each rows object of the input once for each such stage. It stops at the
first unit that is not there: what comes after cannot be done yet.
"""

import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from shardpipe.core.datasetstage import DatasetStage, Part
from shardpipe.core.errors import ConfigError, IncompleteError, IntegrityError
from shardpipe.core.fingerprint import fingerprint
from shardpipe.engine.passes.program import Program, StageStep
from shardpipe.storage.dataset import Fold, Row, View
from shardpipe.storage.lookback import NAMES, OBJECTS, Chain

READERS = 4  # so many units are held at once, a few columns of them
KEYS_A_BLOCK = 256
BLOCKS_AT_HAND = 256
GAPS = (IncompleteError, IntegrityError, ConfigError, FileNotFoundError)
"""What is the matter with one unit, and so with those after it; all else ends the worker."""


class Keys:
    """Keys by place, compressed: 9 bytes each where a video has five clips (measured), where a list of them takes 90."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._rest: list[str] = []
        self._at_hand: dict[int, list[str]] = {}

    def __len__(self) -> int:
        return len(self._blocks) * KEYS_A_BLOCK + len(self._rest)

    def __getitem__(self, place: int) -> str:
        if not 0 <= place < len(self):
            raise IndexError(f"there is no clip at place {place}: there are {len(self)}")
        block, i = divmod(place, KEYS_A_BLOCK)
        return self._rest[i] if block == len(self._blocks) else self._unpacked(block)[i]

    def extend(self, keys: Sequence[str]) -> None:
        """Keys that follow."""
        self._rest += keys
        while len(self._rest) >= KEYS_A_BLOCK:
            block, self._rest = self._rest[:KEYS_A_BLOCK], self._rest[KEYS_A_BLOCK:]
            self._blocks.append(zlib.compress("\n".join(block).encode()))

    def _unpacked(self, block: int) -> list[str]:
        if block not in self._at_hand:
            if len(self._at_hand) == BLOCKS_AT_HAND:
                self._at_hand.clear()
            self._at_hand[block] = zlib.decompress(self._blocks[block]).decode().split("\n")
        return self._at_hand[block]


@dataclass(frozen=True)
class _Seen:
    """One unit. first: the place of its first clip. inputs: the fingerprint of what its rows were folded from."""

    first: int
    num: int
    inputs: str
    objects: str


class LookThrough:
    """The input of one worker, as its DatasetStages saw it."""

    def __init__(self, view: View, program: Program) -> None:
        self._view = view
        self._rules = program.first_rules
        self._schema = view.columns()
        self._keys = Keys()
        self._seen: dict[str, _Seen] = {}
        self._gap = "it is none of the input's units"
        for i, step in enumerate(program.looking_back):
            assert isinstance(step.stage, DatasetStage)
            parts = self._parts(step) if i else self._first_parts(step)
            step.stage.look_through(parts, self._keys.__getitem__)
            for _ in parts:  # the clips that it did not look at have places too
                pass
        self._names = view.names_so_far()

    def checked(self, fold: Fold) -> Fold:
        """A unit's fold, with the digests of all that was looked through up to it; IncompleteError where that has changed."""
        seen = self._seen.get(fold.unit)
        if seen is None:
            raise IncompleteError(
                f"unit {fold.unit} waits, since a stage looks through all units up to it: {self._gap}"
            )
        if seen.inputs != fingerprint(fold.inputs):
            raise IncompleteError(f"unit {fold.unit} has other rows than when they were looked through. Run again")
        return replace(fold, inputs={**fold.inputs, NAMES: self._names[fold.unit], OBJECTS: seen.objects})

    def places(self, unit: str) -> dict[str, int]:
        """Key to place of the clips of a unit that reach the stages."""
        seen = self._seen[unit]
        return {self._keys[place]: place for place in range(seen.first, seen.first + seen.num)}

    def _first_parts(self, step: StageStep) -> Iterator[Part]:
        """What the first stage looks through; which units and clips these are goes for the others too."""
        chain = Chain()
        for unit, fold in self._folds(step, self._view.units()):
            try:
                if isinstance(fold, Exception):
                    raise fold
                rows = self._reaching(fold)
            except GAPS as error:
                self._gap = f"{unit} cannot be read: {error}"
                return
            self._seen[unit] = _Seen(len(self._keys), len(rows), fingerprint(fold.inputs), chain.add(fold.inputs))
            self._keys.extend([row["key"] for row in rows])
            yield _columns(step, rows)

    def _parts(self, step: StageStep) -> Iterator[Part]:
        for _, fold in self._folds(step, list(self._seen)):
            if isinstance(fold, Exception):
                raise fold
            yield _columns(step, self._reaching(fold))

    def _folds(self, step: StageStep, units: Sequence[str]) -> Iterator[tuple[str, Fold | Exception]]:
        """Each unit with its fold, or what is the matter with it; of the columns only those that are looked at."""
        in_rules = {name for rule in self._rules.rules for name in rule.columns}
        wanted = [name for name in self._schema if name in step.reads or name.lower() in in_rules]

        def read(unit: str) -> Fold | Exception:
            try:
                return self._view.fold(unit, wanted)
            except GAPS as error:
                return error

        ahead: deque[tuple[str, Future[Fold | Exception]]] = deque()
        with ThreadPoolExecutor(READERS) as pool:
            for unit in units:
                ahead.append((unit, pool.submit(read, unit)))
                if len(ahead) > READERS:
                    first, found = ahead.popleft()
                    yield first, found.result()
            for unit, found in ahead:
                yield unit, found.result()

    def _reaching(self, fold: Fold) -> list[Row]:
        """The clips that the input and the first rules keep."""
        kept = [row for row in fold.rows if row["kept"]]
        reasons = self._rules.dropped_by(kept, self._schema)
        return [row for row, reason in zip(kept, reasons, strict=True) if reason is None]


def _columns(step: StageStep, rows: Sequence[Row]) -> Part:
    return {name: [row[name] for row in rows] for name in step.reads}
