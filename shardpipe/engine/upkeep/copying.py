"""`copy`: a root, or one Dataset and those that it was made from, from one store to another.

    removed.parquet, ...     first: a copy must not outlive a takedown
    for each Dataset, after those that it was made from:
        tars                 through scratch, hashed on their way: their rows say which bytes they must be
        all else             in the order of `belongings`: dataset.json, which makes a Dataset of it, after all that it needs

What is at the destination already is not sent again: tars of the right size, other objects of the same bytes. What is damaged at the
source is told and left out, and the Dataset stays without its dataset.json, as do those that were made from it. Where clips were
removed after a copy was cut off, what that one left is replaced: it is no Dataset yet.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from shardpipe.core.errors import ConfigError, IntegrityError
from shardpipe.engine.upkeep.belongings import BESIDE, Belongings, belongings, foreign, inputs_first
from shardpipe.engine.upkeep.beside import beside_by
from shardpipe.engine.upkeep.removals import Removals
from shardpipe.engine.upkeep.sending import LeftOutError, Sending, Tally
from shardpipe.engine.verifying.findings import Problem
from shardpipe.engine.views.opened import split_url
from shardpipe.models.places import Report, no_report
from shardpipe.storage.dataset import Dataset, DatasetInfo
from shardpipe.storage.parallel import in_order
from shardpipe.storage.scratch import ScratchSettings
from shardpipe.storage.store import Store, open_store

T = TypeVar("T")
TARS_AT_ONCE = 4
SMALL_AT_ONCE = 16
MEANWHILE = "clips were removed at {where} while it was copied: run the copy again"


@dataclass(frozen=True)
class CopyReport:
    """What came of a copy.

    datasets: those that are whole at the destination now. num_objects, num_bytes: that were sent; num_there, num_bytes_there: that
    were there before. num_left: objects of the source's Datasets that nothing names. unfinished: those that lack something.
    """

    source: str
    destination: str
    datasets: tuple[str, ...]
    unfinished: tuple[str, ...]
    num_objects: int
    num_bytes: int
    num_there: int
    num_bytes_there: int
    num_left: int
    problems: tuple[Problem, ...]


def copying(source: str, destination: str, *, scratch: ScratchSettings | None = None) -> "Copying":
    """A copy of what is at `source`, a root or ROOT/NAME, to the root `destination`; ConfigError where that cannot be."""
    store, names = open_store(source, read_only=True), []
    if store.size("dataset.json") is not None:
        root, name = split_url(store.url)
        store, names = open_store(root, read_only=True), [name]
    other = open_store(destination, scratch=scratch)
    inside = (f"{each.url.rstrip('/')}/" for each in (store, other))
    here, there = inside
    if here.startswith(there) or there.startswith(here):
        raise ConfigError(f"{other.url} lies in {store.url}, or the other way round: choose another destination")
    return Copying(store, other, names or Dataset.names(store))


class Copying:
    """A copy of Datasets, and of those that they were made from, to another root. Nothing is written before `run`.

    Raises ConfigError where the destination holds another Dataset of such a name, or has removed clips that the source has not.
    """

    def __init__(self, source: Store, destination: Store, names: Sequence[str]) -> None:
        self.source = source
        self.destination = destination
        self._problems: dict[Problem, None] = {}
        self._there: dict[str, int] = {}
        self._tally = Tally()
        self._verify = False
        self._infos: dict[str, DatasetInfo | None] = {}
        self._begun: set[str] = set()
        self._open(names)
        inputs = {name: info.inputs for name, info in self._infos.items() if info is not None}
        self._order = inputs_first(names, inputs)
        # what was made from others first: a run may go on meanwhile, and they will have what it was made from
        self._found = {name: belongings(source, name) for name in reversed(self._order)}
        self._removals = Removals.between(source, destination)
        for name in self._order:
            self._check_free(name, self._infos[name], self._found[name])
        self._note_lost()

    def run(self, *, verify: bool = False, report: Report = no_report) -> CopyReport:
        """Copy what is not there. verify: read every object at the destination back. StoreError where a store fails: run it again."""
        self._verify = verify
        self._tally = Tally(sum(each.num_bytes for each in self._found.values()), report)
        self._removals.send(self.destination)
        finished: list[str] = []
        for name in self._order:
            info = self._infos[name]
            is_whole = info is not None and set(info.inputs) <= set(finished)
            if self._dataset(self._found[name], finish=is_whole):
                finished.append(name)
        return CopyReport(
            self.source.url,
            self.destination.url,
            datasets=tuple(finished),
            unfinished=tuple(name for name in self._order if name not in finished),
            num_objects=len(self._tally.sent),
            num_bytes=sum(self._tally.sent),
            num_there=len(self._tally.kept),
            num_bytes_there=sum(self._tally.kept),
            num_left=sum(len(each.left) for each in self._found.values()),
            problems=tuple(self._problems),
        )

    def _open(self, names: Iterable[str]) -> None:
        """Read dataset.json of these and of all that they were made from; None for one that cannot be read."""
        for name in names:
            if name in self._infos:
                continue
            path, self._infos[name] = f"{name}/dataset.json", None
            try:
                info = DatasetInfo.from_bytes(self.source.read(path), f"{self.source.url}/{path}")
            except (IntegrityError, FileNotFoundError) as error:
                self._problems[Problem(path, str(error))] = None
                continue
            self._infos[name] = info
            self._open(info.inputs)

    def _check_free(self, name: str, info: DatasetInfo | None, found: Belongings) -> None:
        """Raise ConfigError where the destination holds something else of this name; note what is there."""
        there = self.destination.list(name)
        self._there |= there
        where = f"{self.destination.url}/{name}"
        way_out = "nothing was copied. Choose another destination, or remove that folder"
        if f"{name}/dataset.json" in there and info is not None:
            own = DatasetInfo.from_bytes(self.destination.read(f"{name}/dataset.json"), f"{where}/dataset.json")
            if own != info:
                what = "is another Dataset" if own.fingerprint != info.fingerprint else "was made there by itself"
                raise ConfigError(
                    f"{where} {what} (fingerprint {own.fingerprint[:12]}, that of {self.source.url}/{name} is "
                    f"{info.fingerprint[:12]}): {way_out}"
                )
        elif other := foreign(found, there, any_removed=bool(self._removals.removed)):
            raise ConfigError(
                f"{self.destination.url}/{other} is no part of a copy of {self.source.url}/{name}: {way_out}"
            )
        elif self._removals.removed and f"{name}/dataset.json" not in there:
            self._begun.add(name)

    def _note_lost(self) -> None:
        """Tell of what objects were made from, or stand for, that is not there."""
        for each in self._found.values():
            for path, by in each.needs.items():
                owner = self._found.get(path.split("/", 1)[0])
                if owner is not None and path not in owner.sizes and self.source.size(path) is None:
                    owner.problems.append(Problem(path, f"is missing: {by} names it"))
                    owner.bad.add(path)

    def _dataset(self, found: Belongings, *, finish: bool) -> bool:
        """Copy one Dataset; whether it is whole at the destination now. finish: whether it may be."""
        self._problems |= dict.fromkeys(found.problems)
        bad, sending = set(found.bad), self._sending(found)
        done = self._each(sending.tar, found.tars.values(), TARS_AT_ONCE)
        for path, is_there in zip(found.tars, done, strict=True):
            bad.update(found.named_by[path] if not is_there else ())
        for step, paths in found.in_order():
            if step[0] >= BESIDE and (self._are_more_removed() or bad or not finish):
                return False
            if step[0] == BESIDE and not self._note_wanted(found, sending):
                return False
            good = [path for path in paths if path not in bad]
            done = self._each(sending.small, good, SMALL_AT_ONCE)
            bad |= {path for path, is_there in zip(good, done, strict=True) if not is_there}
        return not self._are_more_removed() and not bad and finish

    def _note_wanted(self, found: Belongings, sending: Sending) -> bool:
        """Work out what the lists of shards must be; whether they are all there."""
        try:
            sending.wanted, lost = beside_by(self.source, found)
        except (IntegrityError, FileNotFoundError) as error:  # it was changed since
            sending.wanted, lost = {}, [Problem(f"{found.name}/plan", str(error))]
        self._problems |= dict.fromkeys(lost)
        return not lost

    def _sending(self, found: Belongings) -> Sending:
        return Sending(
            self.source,
            self.destination,
            found,
            self._infos[found.name],
            self._removals,
            self._there,
            self._tally,
            is_begun=found.name in self._begun,
            verify=self._verify,
        )

    def _are_more_removed(self) -> bool:
        """Whether the list has grown since it was sent: what was sent before may still have what is on it now."""
        if self._removals.is_as_sent():
            return False
        self._problems[Problem("removed.parquet", MEANWHILE.format(where=self.source.url))] = None
        return True

    def _each(self, act: Callable[[T], None], items: Iterable[T], at_once: int) -> list[bool]:
        """Of each item, whether it is whole at the destination now."""

        def one(item: T) -> bool:
            try:
                act(item)
            except LeftOutError as left:
                self._problems[left.problem] = None
                return False
            return True

        with closing(in_order(items, one, at_once=at_once)) as found:
            return [done.result() for _, done in found]
