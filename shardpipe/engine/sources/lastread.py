"""What was fetched of a split video: its next part, which begins with the same header and where this one ends, fetches it not again."""

from collections.abc import Hashable, Sequence

FIRST_BYTES = 8 << 20
LAST_BYTES = 24 << 20
"""Of what was fetched of a part so much is kept, of its beginning (the header) and of its end; in memory."""

Piece = tuple[int, bytes]


class LastRead:
    """The bytes of one version of one object, the one that was read last. For one thread."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._pieces: Sequence[Piece] = ()

    def of(self, key: Hashable) -> Sequence[Piece]:
        """(first byte, bytes) of what is known of the object `key`."""
        return self._pieces if key == self._key else ()

    def keep(self, key: Hashable, pieces: Sequence[Piece]) -> None:
        """Know these, and no others."""
        self._key, self._pieces = key, pieces


def worth_keeping(fetched: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of ranges (start, stop) in the order in which they were fetched, the first and the last ones."""
    kept: list[tuple[int, int]] = []
    for ranges, at_most in ((fetched, FIRST_BYTES), (fetched[::-1], LAST_BYTES)):
        num_bytes = 0
        for start, stop in ranges:
            num_bytes += stop - start
            if num_bytes > at_most:
                break
            if (start, stop) not in kept:
                kept.append((start, stop))
    return kept
