"""Where the frames of a clip come from: cached frames where they serve, its mp4 for what they do not.

Each request is decided on its own, by the clip's folded row alone, so a stage gets the same frames whatever other stages
run beside it. A clip all of whose requests are served by cached frames is never read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from shardpipe.core.frames import FrameRequest
from shardpipe.core.stills import ASKED, HEIGHT, TIMES_S, WIDTH, in_words, still_ext
from shardpipe.engine.passes.decodechild import Media
from shardpipe.engine.passes.flow import Fetch
from shardpipe.engine.readahead import ReadAhead, read_all
from shardpipe.media.pick import Indices
from shardpipe.media.stills import StillFacts, Stills, picks, why_not
from shardpipe.storage.dataset import Row
from shardpipe.storage.members import MemberPlace, member_runs, members_of_runs, run_bytes
from shardpipe.storage.metered import MeteredStore


@dataclass(frozen=True)
class ClipMedia:
    """How to get at a clip's frames: whether its mp4 is decoded, and whether stills are used.

    unserved: where nothing may be decoded, the requests that have no frames, and why. ask: has the bytes read ahead, and
    gives what takes them; it is called once, for clips in the order in which they will be decoded.
    """

    is_decoded: bool
    uses_stills: bool
    unserved: Mapping[FrameRequest, str]
    ask: Callable[[], Fetch]


class MediaSource:
    """Gives each clip's media. num_stills: how many cached frames the input has; 0: all is decoded. stills_only: nothing is."""

    def __init__(self, store: MeteredStore, *, num_stills: int, stills_only: bool = False) -> None:
        self._store = store
        self._num_stills = num_stills
        self._stills_only = stills_only
        self._ahead = ReadAhead(store)

    def go(self) -> None:
        """Start reading what was asked for: neighbours are joined, so ask for many clips first."""
        self._ahead.go()

    def close(self) -> None:
        """Read no more."""
        self._ahead.close()

    def of(self, row: Row, requests: Sequence[FrameRequest]) -> ClipMedia:
        """Where the frames of one clip come from."""
        facts = still_facts(row) if self._num_stills else None
        served: dict[FrameRequest, Indices] = {}
        if facts is not None and facts.num_asked == self._num_stills:
            found = {request: picks(request, facts) for request in requests}
            served = {request: indices for request, indices in found.items() if indices is not None}
        others = [request for request in requests if request not in served]
        unserved = {each: self._why_not(each, facts) for each in others} if self._stills_only else {}
        is_decoded = len(others) > len(unserved)

        ask = partial(self._ask, row, facts, served, is_decoded=is_decoded)
        return ClipMedia(is_decoded, bool(served), unserved, ask)

    def _ask(
        self, row: Row, facts: StillFacts | None, served: Mapping[FrameRequest, Indices], *, is_decoded: bool
    ) -> Fetch:
        """Have a clip's stills, and its mp4 where no local file has it, read ahead."""
        numbers = np.unique(np.concatenate(list(served.values()))).tolist() if served else []
        places: list[MemberPlace] = [row["members"][still_ext(i)] for i in numbers]
        runs = member_runs(places)
        wanted = [self._ahead.want(run[0].path, run[0].offset, run_bytes(run)) for run in runs]
        path = self._store.local_path(row["shard"]) if is_decoded else None
        if is_decoded and path is None:
            wanted.append(self._ahead.want(row["shard"], row["offset"], row["size"]))

        def fetch() -> Media:
            data = read_all(wanted)
            stills = None
            if facts is not None and served:
                found = members_of_runs(self._store, runs, data[: len(runs)])
                stills = Stills(facts, {i: found[place] for i, place in zip(numbers, places, strict=True)}, served)
            if not is_decoded:
                return Media(None, 0, 0, None, stills=stills)
            if path is None:
                return Media(None, 0, row["size"], row["sha256"], data[-1], stills)
            self._store.count_read(row["size"])
            return Media(str(path), row["offset"], row["size"], row["sha256"], stills=stills)

        return fetch

    def _why_not(self, request: FrameRequest, facts: StillFacts | None) -> str:
        if facts is None:
            why = "it has none, or not all of them"
        elif facts.num_asked != self._num_stills:
            why = f"{facts.num_asked} were asked for of this clip, {self._num_stills} of the others"
        else:
            why = why_not(request, facts)
        return f"its cached frames cannot serve {in_words(request)}: {why} (frames_from: members_only)"


def still_facts(row: Row) -> StillFacts | None:
    """What a folded row says of the clip's cached frames; None where it has none, or not all of them."""
    times_s = row.get(TIMES_S)
    needed = (row.get(ASKED), row.get(WIDTH), row.get(HEIGHT), row.get("duration_s"), row.get("num_frames"))
    if not times_s or None in needed or any(still_ext(i) not in row["members"] for i in range(len(times_s))):
        return None
    return StillFacts(
        times_s=np.array(times_s, np.float64),
        num_asked=row[ASKED],
        size=(row[WIDTH], row[HEIGHT]),
        clip_size=(row["width"], row["height"]),
        duration_s=row["duration_s"],
        num_frames=row["num_frames"],
    )
