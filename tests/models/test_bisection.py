"""An engine that dies of one request: that one is found, all others are answered, and restarts are few."""

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from shardpipe.core.errors import UnitError
from shardpipe.models.generate.bisection import Bisection, EngineDied
from shardpipe.models.generate.request import Answer, GenerateError, Request


class Mortal:
    """An engine that dies of some keys, with all that it has in flight; `strokes`: how often it dies of nothing first."""

    def __init__(self, killers: Sequence[str] = (), *, strokes: int = 0, stays_dead: bool = False) -> None:
        self.killers, self.strokes, self.stays_dead = set(killers), strokes, stays_dead
        self.num_restarts = 0
        self._died = asyncio.Event()

    async def ask(self, request: Request) -> Answer:
        died = self._died
        if request.key in self.killers or self.strokes:
            await asyncio.sleep(0.001)
            if not died.is_set():
                self.strokes = max(0, self.strokes - 1)
            died.set()
        try:
            async with asyncio.timeout(0.003):
                await died.wait()
        except TimeoutError:
            if request.key.startswith("bad"):
                raise GenerateError("too long") from None
            return Answer(request.key, "stop", 1, 1)
        raise EngineDied("died")

    async def restart(self) -> None:
        if self.stays_dead:
            raise UnitError("it cannot be started again")
        self.num_restarts += 1
        self._died = asyncio.Event()


def outcomes(engine: Mortal, keys: Sequence[str]) -> dict[str, str]:
    async def run() -> list[Answer | BaseException]:
        bisection = Bisection(engine.ask, engine.restart)
        return await asyncio.gather(*(bisection.answer(Request(key, "?")) for key in keys), return_exceptions=True)

    made = asyncio.run(asyncio.wait_for(run(), 20))
    return {key: each.text if isinstance(each, Answer) else str(each) for key, each in zip(keys, made, strict=True)}


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 33), st.sets(st.integers(0, 32), max_size=3), st.sets(st.integers(0, 32), max_size=3))
def test_only_the_killers_are_lost(num: int, killers: set[int], bad: set[int]) -> None:
    names = [f"bad{i}" if i in bad else f"k{i}" for i in range(num)]
    engine = Mortal([names[i] for i in killers if i < num])
    for key, said in outcomes(engine, names).items():
        if key in engine.killers:
            assert "died of this clip, 2 times" in said
        else:
            assert said == ("too long" if key.startswith("bad") else key)


def test_one_killer_in_many_costs_few_restarts() -> None:
    engine = Mortal(["k77"])
    assert sum("died" in said for said in outcomes(engine, [f"k{i}" for i in range(128)]).values()) == 1
    assert engine.num_restarts <= 1 + 7 + 2  # the first death, each half, and alone


def test_a_death_of_nothing_costs_no_request() -> None:
    engine = Mortal(strokes=1)
    assert outcomes(engine, ["a", "b", "c"]) == {"a": "a", "b": "b", "c": "c"}
    assert engine.num_restarts == 1


def test_an_engine_that_stays_dead_is_no_requests_fault() -> None:
    made = outcomes(Mortal(["a"], stays_dead=True), ["a", "b"])
    assert set(made.values()) == {"it cannot be started again"}


def test_an_engine_that_dies_of_everything_is_given_up() -> None:
    engine = Mortal(strokes=1000)
    made = outcomes(engine, [f"k{i}" for i in range(32)])
    assert all("without an answer between" in said for said in made.values() if "this clip" not in said)
    assert engine.num_restarts < 16
