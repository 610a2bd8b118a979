"""Checks of tars out of which clips were taken: their sha256 is no longer that of the rows, so each byte is compared by itself."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from shardpipe.storage.blanks import BLANK, PIECE
from shardpipe.storage.removed import Removed
from shardpipe.storage.tar import BLOCK, END, header, read_members

if TYPE_CHECKING:
    from shardpipe.engine.verifytar import Expected


def unfinished(key: str) -> str:
    """What is the matter where a removed clip is still there."""
    return f"still holds clip {key}, which is removed: the removal is not finished, run `shardpipe remove ROOT`"


def blanked_faults(file: BinaryIO, members: "Sequence[Expected]", removed: Removed) -> Iterator[str]:
    """What is not as it must be: headers follow from names and sizes, data has its sha256, blanks are zeros. Ends at the first fault.

    members: those that the tar was written with, in their order; all with a size.
    """
    file.seek(0)
    for member in members:
        size = member.size if member.size is not None else len(member.data or b"")
        key = member.name.partition(".")[0]
        gone = removed.has(key)
        head = file.read(BLOCK)
        if gone and head == header(member.name, size):
            yield unfinished(key)
            return
        if head != header(BLANK if gone else member.name, size):
            yield f"is damaged: it has not the header of {member.name}{' (removed)' if gone else ''} at its place"
            return
        sha256 = hashlib.sha256(bytes(size)).hexdigest() if gone else member.sha256
        if _payload(file, size) != (sha256 or hashlib.sha256(member.data or b"").hexdigest()):
            yield f"{member.name} is damaged: {'it is removed, and is not zeros' if gone else 'its sha256 is another'}"
            return
        if file.read(-size % BLOCK).strip(b"\0"):
            yield f"is damaged after {member.name}"
            return
    if file.read() != END:
        yield "is damaged at its end"


def leftover_faults(file: BinaryIO, removed: Removed) -> tuple[bool, list[str]]:
    """Of a tar that no rows name: whether clips were taken out of it, and what is the matter with that."""
    faults, was_blanked = [], False
    for name, offset, size in list(read_members(file)):
        key = name.partition(".")[0]
        if removed.has(key):
            faults.append(unfinished(key))
        if name == BLANK:
            was_blanked = True
            file.seek(offset)
            if _payload(file, size) != hashlib.sha256(bytes(size)).hexdigest():
                faults.append("is damaged: a clip that was taken out of it is not zeros")
    return was_blanked, list(dict.fromkeys(faults))


def _payload(file: BinaryIO, size: int) -> str:
    """The sha256 of the next bytes."""
    found = hashlib.sha256()
    for start in range(0, size, PIECE):
        found.update(file.read(min(PIECE, size - start)))
    return found.hexdigest()
