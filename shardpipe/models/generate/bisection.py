"""Finding the request that kills an engine, so that it costs only itself.

the engine dies ─▶ all that were in flight are suspects; new ones wait ─▶ restart
                   half of the suspects together ─▶ answered: the other half
                                                 └▶ died: restart, and that half by halves
                   one alone ─▶ it died of it twice: GenerateError
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from shardpipe.core.errors import UnitError
from shardpipe.models.generate.request import Answer, GenerateError, Request

log = logging.getLogger(__name__)

TRIES_ALONE = 2
"""How often an engine dies of a request that it has alone: processes are also killed from outside."""


ALONE = f"the engine died of this clip, {TRIES_ALONE} times when it had it alone"


class EngineDied(Exception):  # noqa: N818  what happened, for the code that starts it again
    """The engine ended, or hangs, with this request in flight."""


@dataclass(frozen=True)
class _Asked:
    """A request that was in flight when the engine died, and who waits for what becomes of it."""

    request: Request
    verdict: "asyncio.Future[Answer]"


class Bisection:
    """Asks an engine that may die. `ask` raises EngineDied then; `restart` makes it run again, and sees to it that it does, or
    raises UnitError.

    All of it runs in one event loop.
    """

    def __init__(self, ask: Callable[[Request], Awaitable[Answer]], restart: Callable[[], Awaitable[None]]) -> None:
        self._ask = ask
        self._restart = restart
        self._is_well = asyncio.Event()
        self._is_well.set()
        self._num_in = 0
        self._all_out = asyncio.Event()
        self._suspects: list[_Asked] = []
        self._recovery: asyncio.Task[None] | None = None
        self._num_deaths = self._most_deaths = 0  # with no answer between them
        self._gone: UnitError | None = None

    async def answer(self, request: Request) -> Answer:
        """Its answer, whatever becomes of the engine meanwhile. Raises GenerateError, or UnitError where nothing helps."""
        while not self._is_well.is_set():
            await self._is_well.wait()
        if self._gone is not None:
            raise self._gone
        self._num_in += 1
        try:
            made = await self._ask(request)
        except EngineDied as died:
            verdict: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._suspects.append(_Asked(request, verdict))
            self._is_well.clear()
            self._all_out.clear()
            if self._recovery is None:
                log.warning("the engine died (%s): started again, and asked anew by halves", died)
                self._recovery = asyncio.create_task(self._recover())
        else:
            self._num_deaths = 0
            return made
        finally:
            self._num_in -= 1
            if not self._num_in:
                self._all_out.set()
        return await verdict

    async def _recover(self) -> None:
        """Settle all suspects, then let others in."""
        await self._all_out.wait()  # each has to say how it ended
        suspects, self._suspects = self._suspects, []
        # halving to one, and to a few beside it that kill too; more than these is no request's fault
        self._most_deaths = len(suspects).bit_length() + 4 * TRIES_ALONE
        try:
            await self._restarted()
            await self._settle(suspects)
        except UnitError as error:
            self._gone = error
            for each in suspects:
                if not each.verdict.done():
                    each.verdict.set_exception(error)
        finally:
            self._recovery = None
            self._is_well.set()

    async def _restarted(self) -> None:
        self._num_deaths += 1
        if self._num_deaths > self._most_deaths:
            raise UnitError(f"the engine died {self._num_deaths} times without an answer between: see its log above")
        await self._restart()

    async def _settle(self, group: Sequence[_Asked]) -> None:
        """Answer these, of which one or more may kill the engine. It runs before, and after."""
        middle = (len(group) + 1) // 2
        for half in (group[:middle], group[middle:]):
            died = await self._together(half)
            for _ in range(TRIES_ALONE - 1):
                if len(died) == 1 and len(half) == 1:
                    await self._restarted()
                    died = await self._together(half)
            if died:
                await self._restarted()
            if len(half) > 1 and died:
                await self._settle(died)
            elif died and not died[0].verdict.done():
                died[0].verdict.set_exception(GenerateError(ALONE))

    async def _together(self, group: Sequence[_Asked]) -> list[_Asked]:
        """Ask these at once; those that were in flight when the engine died."""
        made = await asyncio.gather(*(self._ask(each.request) for each in group), return_exceptions=True)
        died = []
        for each, result in zip(group, made, strict=True):
            if isinstance(result, EngineDied):
                died.append(each)
                continue
            self._num_deaths = 0
            if each.verdict.done():  # nobody waits any more
                continue
            if isinstance(result, BaseException):
                each.verdict.set_exception(result)
            else:
                each.verdict.set_result(result)
        return died
