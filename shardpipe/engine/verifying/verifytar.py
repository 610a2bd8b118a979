"""Checks of one tar: size and sha256 as its rows name them, members where they say, and each clip's own sha256.

A tar passes once, in chunks: nothing of it is kept but the clip at hand where clips are decoded.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from shardpipe.core.errors import IntegrityError, MediaError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.verifying.crew import CHUNK, Crew
from shardpipe.engine.verifying.findings import Findings
from shardpipe.media.decode import decode
from shardpipe.storage.blanks import BLANK
from shardpipe.storage.rows import TarRef
from shardpipe.storage.tar import BLOCK, END, Buffer, header
from shardpipe.storage.tarstream import Streamed, stream_members


@dataclass(frozen=True)
class Expected:
    """A member as rows describe it. sha256, data: None where they do not say; num_frames: of an mp4."""

    name: str
    offset: int | None
    size: int | None
    sha256: str | None = None
    data: bytes | None = None
    num_frames: int | None = None


class TarCheck:
    """Checks tars, several at once; with `deep`, decodes each clip (each once, also where several tars have it)."""

    def __init__(self, crew: Crew, *, deep: bool) -> None:
        self._crew = crew
        self._deep = deep
        self._decoded: set[str] = set()
        self.hashes: dict[str, str] = {}
        """sha256 of each tar that was read."""
        self.blanked: set[str] = set()
        """Tars that nothing names, out of which clips were taken."""

    def check(self, findings: Findings, path: str, ref: TarRef, members: Sequence[Expected], *, by: str) -> None:
        """Check the tar at `path` against what `by` says of it: these members in this order, and no others."""
        with findings.guard(path):
            if not findings.claim(path, f"{by} names it"):
                return
            gone = {member.name: key_of(member) for member in members if findings.removed.has(key_of(member))}
            found = _Found(made_again=hashlib.sha256() if gone else None)
            chunks = found.hashed(self._crew.chunks(path, findings.objects[path]))
            text = ""
            expected = [blanked(member) if member.name in gone else member for member in members]
            try:
                self._check_members(found, stream_members(chunks), expected, by)
            except IntegrityError as error:
                text = f"is no tar of clips, or a damaged one: {error}"
            for _ in chunks:  # the rest of one that is damaged
                pass
            self.hashes[path] = found.sha256.hexdigest()
            if found.num_bytes != ref.num_bytes:
                findings.add(path, f"has {found.num_bytes} bytes, and {by} says {ref.num_bytes}")
            elif still := [name for name in found.names if name in gone]:
                findings.add(path, unfinished(gone[still[0]]))
                return
            elif self.hashes[path] != found.wanted(ref):
                findings.add(path, f"is damaged: its sha256 is not the one that {by} names")
            if text:
                findings.add(path, text)
            elif found.names != [member.name for member in expected]:
                findings.add(path, f"does not hold the members that {by} names, in that order")
            else:
                for each in found.texts:
                    findings.add(path, each)

    def hash(self, findings: Findings, path: str) -> str | None:
        """The sha256 of a tar that nothing names; None, and a problem, if it cannot be read."""
        with findings.guard(path):
            found = _Found()
            chunks = found.hashed(self._crew.chunks(path, findings.objects[path]))
            if findings.removed:
                self._look_for_removed(findings, path, chunks)
            for _ in chunks:
                pass
            self.hashes[path] = found.sha256.hexdigest()
            return self.hashes[path]
        return None

    def _look_for_removed(self, findings: Findings, path: str, chunks: Iterator[bytes]) -> None:
        """Of a tar that nothing names: whether it has removed clips, or had."""
        try:
            for member, piece in stream_members(chunks):
                key = member.name.partition(".")[0]
                if findings.removed.has(key):
                    findings.add(path, unfinished(key))
                if member.name == BLANK:
                    self.blanked.add(path)
                    if bytes(piece).strip(b"\0"):
                        findings.add(path, "is damaged: a clip that was taken out of it is not zeros")
        except IntegrityError:  # then it belongs to nothing
            self.blanked.discard(path)

    def _check_members(
        self,
        found: "_Found",
        stream: Iterator[tuple[Streamed, memoryview]],
        members: Sequence[Expected],
        by: str,
    ) -> None:
        """Compare the members as they come, as long as they are those that are expected."""
        seen, current = None, None
        for member, piece in stream:
            if member is not seen:
                if current is not None:
                    self._end(found, current, by)
                i = len(found.names)
                found.begin(member)
                is_expected = i < len(members) and members[i].name == member.name
                current = _Member(members[i], member, keep=self._wants(members[i])) if is_expected else None
                seen = member
            found.pass_on(piece)
            if current is not None:
                current.add(piece)
        if current is not None:
            self._end(found, current, by)

    def _wants(self, member: Expected) -> bool:
        """Whether the clip is to be decoded, and was not yet."""
        return self._deep and member.num_frames is not None and member.sha256 not in self._decoded

    def _end(self, found: "_Found", member: "_Member", by: str) -> None:
        """All of a member has come."""
        said, place = member.said, (member.there.offset, member.there.size)
        if said.offset is not None and place != (said.offset, said.size):
            found.texts.append(f"has {said.name} at {place}, and {by} says {(said.offset, said.size)}")
            return
        sha256 = member.sha256.hexdigest()
        if said.data is not None and sha256 != sha256_hex(said.data):
            found.texts.append(f"{said.name} is not what {by} says")
        if said.sha256 is not None and sha256 != said.sha256:
            found.texts.append(f"{said.name} is damaged: its sha256 is not its row's")
        elif member.kept is not None and said.sha256 is not None:
            self._decoded.add(said.sha256)
            found.texts += _decode(said, bytes(member.kept))


@dataclass
class _Found:
    """What is known of a tar so far."""

    sha256: Any = field(default_factory=hashlib.sha256)
    num_bytes: int = 0
    names: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    made_again: Any = None
    padding: int = 0

    def hashed(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks, each hashed as it passes."""
        for chunk in chunks:
            self.sha256.update(chunk)
            self.num_bytes += len(chunk)
            yield chunk

    def begin(self, member: Streamed) -> None:
        """A member comes."""
        self.names.append(member.name)
        self.pass_on(bytes(self.padding) + header(member.name, member.size))
        self.padding = -member.size % BLOCK

    def pass_on(self, data: Buffer) -> None:
        """Where clips were taken out, the tar is hashed as TarWriter would make it of the members that come."""
        if self.made_again is not None:
            self.made_again.update(data)

    def wanted(self, ref: TarRef) -> str:
        """The sha256 that the tar must have: that of its rows, or of what its members give, each of which is checked."""
        if self.made_again is None:
            return ref.sha256
        self.pass_on(bytes(self.padding) + END)
        return str(self.made_again.hexdigest())


def key_of(member: Expected) -> str:
    """The clip that a member is of."""
    return member.name.partition(".")[0]


def blanked(member: Expected) -> Expected:
    """What must be in place of a removed clip's member."""
    size = member.size if member.size is not None else len(member.data or b"")
    zeros = hashlib.sha256()
    for start in range(0, size, CHUNK):
        zeros.update(bytes(min(CHUNK, size - start)))
    return Expected(BLANK, member.offset, member.size, zeros.hexdigest())


def unfinished(key: str) -> str:
    """What is the matter where a removed clip is still there."""
    return f"still holds clip {key}, which is removed: the removal is not finished, run `shardpipe remove ROOT`"


class _Member:
    """One member as it comes: what rows say, where it is, and its bytes if they are wanted."""

    def __init__(self, said: Expected, there: Streamed, *, keep: bool) -> None:
        self.said = said
        self.there = there
        self.sha256 = hashlib.sha256()
        self.kept = bytearray() if keep else None

    def add(self, piece: memoryview) -> None:
        self.sha256.update(piece)
        if self.kept is not None:
            self.kept += piece


def _decode(member: Expected, data: bytes) -> list[str]:
    """What is wrong with a clip's frames."""
    try:
        num_frames = sum(1 for _ in decode(data))
    except MediaError as error:
        return [f"{member.name} cannot be decoded: {error}"]
    if num_frames != member.num_frames:
        return [f"{member.name} has {num_frames} frames, and its row says {member.num_frames}"]
    return []
