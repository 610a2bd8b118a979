"""What can be done to a request on its way, and the rules that say to which."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from support.s3_requests import WRITES, Asked

Fault = Literal["403", "404", "409", "500", "503", "reset", "stall", "cut", "short", "lost", "late"]
"""
    403        AccessDenied, and the request is not performed
    404        NoSuchUpload, as if another had aborted it, and the request is not performed
    409        ConditionalRequestConflict, as AWS answers a race, and the request is not performed
    500, 503   InternalError and SlowDown, and the request is not performed
    reset      the connection is reset, and the request is not performed
    stall      nothing happens, for `stall_s`, and then the connection is closed; a GET gets half of its body before
    cut        half of the body comes, then the connection is closed: the Content-Length tells
    short      half of the body comes, and the Content-Length says that this is all of it
    lost       the request is performed, and then the connection is reset
    late       the request is performed `stall_s` later, whether the client waits or not
"""
FAULTS: tuple[Fault, ...] = ("409", "500", "503", "reset", "stall", "cut", "short", "lost", "late")
"""All that a client should get over."""

READS = frozenset({"get", "get range"})


def can_have(asked: Asked, fault: Fault) -> bool:
    """Whether this fault makes sense for such a request."""
    if fault in ("cut", "short"):
        return asked.kind in READS
    if fault == "409":
        return asked.is_conditional
    return fault != "late" or asked.kind in WRITES


class Rules:
    """Rules that stand; the first one that wants a request decides."""

    def __init__(self) -> None:
        self._rules: list[_Once | _Random] = []

    def add(self, fault: Fault, when: Callable[[Asked], bool], times: int | None) -> None:
        """To each request that `when` holds for, but to no more than `times`."""
        self._rules.append(_Once(fault, when, times))

    def add_random(self, faults: Sequence[Fault], when: Callable[[Asked], bool], rate: float, seed: int) -> None:
        """To this part of the requests that `when` holds for, one of the faults that such a request can have."""
        self._rules.append(_Random(tuple(faults), when, rate, random.Random(seed)))

    def clear(self) -> None:
        """No faults any more."""
        self._rules = []

    def choose(self, asked: Asked) -> Fault | None:
        """The fault that this request has; each request is asked for once."""
        return next((fault for rule in list(self._rules) if (fault := rule.choose(asked))), None)


@dataclass
class _Once:
    fault: Fault
    when: Callable[[Asked], bool]
    left: int | None

    def choose(self, asked: Asked) -> Fault | None:
        if self.left == 0 or not can_have(asked, self.fault) or not self.when(asked):
            return None
        if self.left is not None:
            self.left -= 1
        return self.fault


@dataclass
class _Random:
    faults: tuple[Fault, ...]
    when: Callable[[Asked], bool]
    rate: float
    rng: random.Random

    def choose(self, asked: Asked) -> Fault | None:
        possible = [fault for fault in self.faults if can_have(asked, fault)]
        if not possible or not self.when(asked) or self.rng.random() >= self.rate:
            return None
        return self.rng.choice(possible)
