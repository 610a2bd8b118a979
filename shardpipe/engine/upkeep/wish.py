"""Which clips and videos a `remove` means: by a rule over the folded rows of a Dataset, by a video's url, by key."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from shardpipe.config.models import CLIPS
from shardpipe.core.clip import KEY
from shardpipe.core.errors import ConfigError, IncompleteError, StoreError
from shardpipe.engine.cutting.batches import read_batches
from shardpipe.engine.passes.rules import Rule, RuleSet
from shardpipe.engine.sources.sourceplace import locate, place, source_place
from shardpipe.engine.sources.sources import lines_of
from shardpipe.engine.sources.sourcetable import refuse_secrets
from shardpipe.engine.upkeep.uncleaned import Uncleaned
from shardpipe.storage.dataset import Dataset, Fold, Row, View
from shardpipe.storage.parallel import in_order, num_readers
from shardpipe.storage.removed import REMOVED, Entry, Removed
from shardpipe.storage.store import Store

SHOWN = 80


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; what any part of it means is removed. where: a rule over the rows of `dataset`."""

    where: str | None = None
    dataset: str = CLIPS
    sources: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


@dataclass
class Chosen:
    """What that means now. entries: for the list, without what is there already. unknown: keys of no clip that was cut, and videos
    that no batch of sources has. waiting: units that have no rows yet, of which a rule can say nothing. unread: what could not be
    looked through; of clips in there, only keys and videos that are given by name are in entries.
    """

    entries: set[Entry] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    unread: Uncleaned = field(default_factory=Uncleaned)


def choose(store: Store, wish: Wish, removed: Removed) -> Chosen:
    """Find the clips; raises ConfigError for a rule that does not fit, or a Dataset that is not there."""
    found = Chosen()
    if wish.where is not None:
        try:
            _by_rule(Dataset.there(store, wish.dataset), Rule(wish.where), removed, found)
        except (StoreError, IncompleteError) as error:
            found.unread.add(wish.dataset, error)
    if wish.sources or wish.keys:
        urls = same_places(store, wish.sources, found.unread)
        others = [source for source in wish.sources if source not in urls]
        refuse_secrets(others, "--source")
        found.unknown += others
        # a path on this machine means nothing to a later `cut` elsewhere, unless it is whole
        sources = {url for text in wish.sources for url in urls.get(text, [text, source_place(text)])}
        found.entries |= {Entry(None, url) for url in sources}
        _by_name(store, sources, set(wish.keys), found)
    found.entries -= removed.entries
    return found


def same_places(store: Store, sources: Iterable[str], unread: Uncleaned) -> dict[str, list[str]]:
    """For each of these videos that a batch of sources has: how it is written there. unread: told of batches that are damaged."""
    wanted: dict[str, list[str]] = {}
    for text in sources:
        wanted.setdefault(source_place(text), []).append(text)
    found: dict[str, dict[str, None]] = {}
    with unread.guard(f"{CLIPS}/sources"):
        for batch in read_batches(store, CLIPS) if wanted else ():
            urls, containers = (batch.column(name).to_pylist() for name in ("url", "container"))
            for url, container in zip(urls, containers, strict=True):
                for text in wanted.get(place(url, container), ()):
                    found.setdefault(text, {})[url] = None
    return {text: list(urls) for text, urls in found.items()}


def read_keys(url: str) -> tuple[str, ...]:
    """The keys of a file, one a line; raises ConfigError for one that cannot be read, or a line that is no key."""
    try:
        fs, path = locate(url)
        with fs.open(path, "rb") as file:
            lines = lines_of(file.read(), url)
    except ConfigError:
        raise
    except Exception as error:  # each backend has its own errors
        raise ConfigError(f"--key-file: cannot read {url}: {error}") from error
    for line in lines:
        if not KEY.match(line):
            raise ConfigError(f"--key-file: {url}: {line[:SHOWN]!r} is no key of a clip (letters, digits, _ and -)")
    return tuple(dict.fromkeys(lines))


def _by_rule(dataset: Dataset, rule: Rule, removed: Removed, found: Chosen) -> None:
    view = View(dataset.store, dataset.pass_layers(), removed=removed)
    schema = view.columns()
    rule.check(schema)
    wanted = [name for name in schema if name.lower() in rule.columns or name == "source"]

    def matching(fold: Fold) -> list[Row]:
        rows = [row for row in fold.rows if row["dropped_by"] != REMOVED]
        return [row for row, no in zip(rows, RuleSet((rule,)).dropped_by(rows, schema), strict=True) if no is None]

    for unit, rows in _each_unit(view, wanted, matching, found):
        if rows is None:
            found.waiting.append(unit)
        found.entries |= {Entry(row["key"], row["source"]) for row in rows or ()}


def _by_name(store: Store, sources: set[str], keys: set[str], found: Chosen) -> None:
    """The clips of these videos, and of these keys, that were cut."""
    known = set[str]()
    if store.size(f"{CLIPS}/dataset.json") is not None:
        with found.unread.guard(CLIPS):
            view = View(store, Dataset.open(store, CLIPS).pass_layers(), removed=Removed())
            for _, rows in _each_unit(view, ["source"], lambda fold: fold.rows, found):
                clips = [row for row in rows or () if row["key"] in keys or row["source"] in sources]
                found.entries |= {Entry(row["key"], row["source"]) for row in clips}
                known |= {row["key"] for row in clips}
    found.unknown += sorted(keys - known)
    found.entries |= {Entry(key, None) for key in keys - known}


def _each_unit(
    view: View, columns: Sequence[str], look: Callable[[Fold], list[Row]], found: Chosen
) -> Iterator[tuple[str, list[Row] | None]]:
    """What `look` finds in each unit, in order; None where it has no rows yet. Units that cannot be read are left out, and told."""

    def rows_of(unit: str) -> list[Row] | None:
        try:
            return look(view.fold(unit, columns))
        except IncompleteError:
            return None

    with closing(in_order(view.units(), rows_of, at_once=num_readers(view.store))) as read:
        for unit, looked in read:
            try:
                rows = looked.result()
            except (StoreError, FileNotFoundError) as error:
                found.unread.add(f"{view.layers[-1].name}, unit {unit}", error)
            else:
                yield unit, rows
