"""Layers over one base by what their rows objects say of themselves: which units are done, of what, with how many clips.

As `View`, which folds rows, but no row is read: for commands that look at all units.
"""

from collections.abc import Iterable, Mapping, Sequence

from shardpipe.engine.known import Known
from shardpipe.storage.dataset import Layer
from shardpipe.storage.facts import RowsFacts
from shardpipe.storage.lookback import NAMES, names_so_far
from shardpipe.storage.view import stale

Part = Mapping[str, RowsFacts]
"""One layer's rows objects of one unit: path to facts, in the order of its slices."""


class Ledger:
    """What is known of these layers, of which the first is the base."""

    def __init__(self, known: Known, layers: Sequence[Layer]) -> None:
        self.known = known
        self.layers = layers
        known.list_all(layer.folder for layer in layers)
        self.units = known.units(self.base)
        self._done = {layer.name: known.done(layer) for layer in layers}
        self._is_sliced = any(layer.is_sliced for layer in layers)
        self._looks_back = frozenset(layer.name for layer in layers if layer.info.looks_back)
        self._names: dict[str, Mapping[str, str]] = {}
        self._newer: dict[str, frozenset[str]] = {}

    @property
    def base(self) -> Layer:
        """The layer that has the media."""
        return self.layers[0]

    def done(self, layer: Layer) -> Mapping[str, str]:
        """Of which units (or slices) a layer has rows, each to their path."""
        return self._done[layer.name]

    def read_base(self) -> None:
        """Learn how many clips units have, if a layer slices them."""
        if self._is_sliced:
            self.known.read(self.base, list(self.done(self.base).values()), hashed=True)

    def read(self, layer: Layer, units: Iterable[str], *, hashed: bool) -> None:
        """Learn what a layer has of these units. hashed: with the sha256 of its objects, where another is made from them."""
        done = self.done(layer)
        self.known.read(
            layer, [done[n] for unit in units for n in self.slices(layer, unit) or () if n in done], hashed=hashed
        )

    def slices(self, layer: Layer, unit: str) -> list[str] | None:
        """The names under which a layer commits a unit; None while its base is not there, and that decides."""
        return self._slices(layer, unit, self.done(self.base))

    def _slices(self, layer: Layer, unit: str, base: Mapping[str, str]) -> list[str] | None:
        if not layer.is_sliced:
            return [unit]
        facts = self.known.facts(self.base, base[unit]) if unit in base else None
        return None if facts is None else layer.slices(unit, facts.num_seen)

    def listed(self, unit: str, layers: Sequence[Layer]) -> bool:
        """Whether these layers have rows of a unit, of all its slices; they may be stale."""
        for layer in layers:
            done = self.done(layer)
            if not layer.is_sliced:
                is_there = unit in done
            else:
                names = self.slices(layer, unit)
                is_there = names is not None and all(name in done for name in names)
            if not is_there:
                return False
        return True

    def look_up(self, units: Iterable[str], layers: Sequence[Layer]) -> None:
        """Ask by name for what the listings lack of these units: they may be late. Where a layer has nothing of a unit, later ones
        have nothing either.
        """
        left = [unit for unit in units if not self.listed(unit, layers)]
        for layer in layers:
            names = [n for unit in left for n in self.slices(layer, unit) or () if n not in self.done(layer)]
            found = self._look_up(layer, names) if names else []
            if found and layer is self.base and self._is_sliced:
                self.known.read(layer, found, hashed=True)
            left = [unit for unit in left if self.listed(unit, [layer])]

    def look_for_newer(self, units: Iterable[str], layers: Sequence[Layer]) -> None:
        """Where listings are late, rows that have failed clips may have been made again: ask by name for those that count now."""
        if not self.known.lists_late:
            return
        for layer in layers:
            done = self.done(layer)
            names = [n for unit in units for n in self.slices(layer, unit) or () if n in done]
            failed = [n for n in names if (facts := self.known.facts(layer, done[n])) and facts.num_failed]
            self.known.read(layer, self._look_up(layer, failed), hashed=True)

    def _look_up(self, layer: Layer, names: Sequence[str]) -> list[str]:
        found = self.known.look_up(layer, names)
        self._done[layer.name] = self.known.done(layer)
        self._names, self._newer = {}, {}
        return found

    def part(self, layer: Layer, unit: str) -> Part | None:
        """What a layer has of a unit; None unless all its slices are there."""
        return self._part(layer, self.slices(layer, unit) or (), self.done(layer))

    def named(self, layer: Layer, unit: str, done: Mapping[str, Mapping[str, str]]) -> Part | None:
        """As `part`, of the rows objects that a plan names, by layer, not of the newest; reads what is not known yet."""
        names = self._slices(layer, unit, done[self.base.name]) or ()
        own = done[layer.name]
        self.known.read(layer, [own[name] for name in names if name in own], hashed=False)
        return self._part(layer, names, own)

    def _part(self, layer: Layer, names: Sequence[str], done: Mapping[str, str]) -> Part | None:
        found: dict[str, RowsFacts] = {}
        for name in names:
            facts = self.known.facts(layer, done[name]) if name in done else None
            if facts is None:
                return None
            found[done[name]] = facts
        return found or None

    def made_from(self, unit: str, layers: Sequence[Layer]) -> dict[str, str] | None:
        """Path to sha256 of the rows objects of these layers of a unit; None where one has none, or none that count."""
        inputs: dict[str, str] = {}
        for layer in layers:
            part = self.part(layer, unit)
            if part is None or not self.is_fresh(layer, unit, part, inputs):
                return None
            inputs |= {path: facts.sha256 or "" for path, facts in part.items()}
        return inputs

    def is_fresh(self, layer: Layer, unit: str, part: Part, inputs: Mapping[str, str]) -> bool:
        """Whether a layer's rows of a unit were made from `inputs`, the rows objects of the layers before it."""
        now = {**inputs, **self.so_far(layer, unit)}
        return all(facts.is_of(now) or stale(facts, now) is None for facts in part.values())

    def so_far(self, layer: Layer, unit: str) -> dict[str, str]:
        """What a listing tells of the units before this one, where the layer's rows depend on them."""
        return {NAMES: self.names_so_far(layer)[unit]} if layer.name in self._looks_back else {}

    def names_so_far(self, layer: Layer) -> Mapping[str, str]:
        """For each unit the digest NAMES of the input of a layer that looks back."""
        if layer.name not in self._names:
            inputs = [each for each in self.layers if each.name in layer.info.inputs]
            self._names[layer.name] = names_so_far(self.units, [self.done(each) for each in inputs])
        return self._names[layer.name]

    def newer(self, layer: Layer) -> frozenset[str]:
        """The units (or slices) of which a layer has rows of a later generation."""
        if layer.name not in self._newer:
            found = (name for name, path in self.done(layer).items() if path != layer.log.path(name))
            self._newer[layer.name] = frozenset(found)
        return self._newer[layer.name]

    def may_be_stale(self, unit: str, layers: Sequence[Layer]) -> bool:
        """Whether one of these layers has later rows of a unit: those that were made from earlier ones count no more."""
        if any(layer.name in self._looks_back for layer in layers) and any(self.newer(layer) for layer in layers):
            return True
        return any(unit in self.newer(layer) or f"{unit}-00" in self.newer(layer) for layer in layers)
