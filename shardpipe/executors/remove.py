"""`remove`: takedowns. The list first, then every object that holds the media; what a crash left is done by running it again."""

from contextlib import nullcontext
from dataclasses import dataclass

from shardpipe.engine.upkeep.takedown import Cleaned, Cleaner, check_root
from shardpipe.engine.upkeep.wish import Chosen, Wish, choose, same_places
from shardpipe.executors.driver import driving
from shardpipe.storage.removed import Entry, Removed
from shardpipe.storage.scratch import ScratchSettings
from shardpipe.storage.store import Store, open_store


@dataclass(frozen=True)
class RemovalReport:
    """What came of `remove`. num_new, num_new_sources: clips and whole videos that came on the list; num_keys, num_sources: on it now.

    unknown: keys and videos on the list that the root does not have (yet). waiting: units without rows, of which the rule can say
    nothing. datasets: what was cleaned. problems: objects that could not be looked into, or cleaned.
    """

    root: str
    dry_run: bool
    num_new: int
    num_new_sources: int
    num_keys: int
    num_sources: int
    unknown: tuple[str, ...]
    waiting: tuple[str, ...]
    datasets: tuple[Cleaned, ...]
    problems: tuple[str, ...]


def remove_root(
    root: str, wish: Wish, *, dry_run: bool = False, store: Store | None = None, scratch: ScratchSettings | None = None
) -> RemovalReport:
    """Remove what `wish` means, and finish what an earlier removal began; raises ConfigError before anything is written."""
    check_root(store or open_store(root, read_only=True))  # a wrong root is told before a folder is made there
    store = store or open_store(root, read_only=dry_run, scratch=scratch)
    with nullcontext() if dry_run else driving(store):
        removed = Removed(store)
        chosen = choose(store, wish, removed)
        if dry_run:
            removed = Removed(store, also=chosen.entries)
        else:
            _write_list(store, removed, chosen)
        cleaner = Cleaner(store, removed, dry_run=dry_run)
        datasets: list[Cleaned] = []
        version = -1
        while (
            version != removed.version
        ):  # once more where others removed more meanwhile, and may have met what we wrote
            version = removed.version
            datasets += cleaner.run()
            removed.refresh()
    problems = dict.fromkeys([*chosen.unread.problems, *cleaner.problems])
    return _report(root, removed, chosen, _joined(datasets), tuple(problems), dry_run=dry_run)


def _write_list(store: Store, removed: Removed, chosen: Chosen) -> None:
    """Put what was chosen on the list, and videos of it by other names that batches of sources have for them by now."""
    entries = set(chosen.entries)
    while True:
        if entries:
            removed.append(entries)
        urls = same_places(store, removed.sources, chosen.unread)
        entries = {Entry(None, url) for found in urls.values() for url in found} - removed.entries
        if not entries:
            return


def _joined(datasets: list[Cleaned]) -> tuple[Cleaned, ...]:
    found: dict[str, Cleaned] = {}
    for each in datasets:
        sums = found.setdefault(each.name, Cleaned(each.name))
        sums.num_clips += each.num_clips
        sums.num_tars += each.num_tars
        sums.num_shards += each.num_shards
    return tuple(found.values())


def _report(
    root: str,
    removed: Removed,
    chosen: Chosen,
    datasets: tuple[Cleaned, ...],
    problems: tuple[str, ...],
    *,
    dry_run: bool,
) -> RemovalReport:
    return RemovalReport(
        root,
        dry_run=dry_run,
        num_new=sum(entry.key is not None for entry in chosen.entries),
        num_new_sources=sum(entry.key is None for entry in chosen.entries),
        num_keys=len(removed.keys),
        num_sources=len(removed.sources),
        unknown=tuple(chosen.unknown),
        waiting=tuple(chosen.waiting),
        datasets=datasets,
        problems=problems,
    )
