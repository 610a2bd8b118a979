"""Drawing tokens, against transformers' own processors and plain counting."""

import itertools

import pytest
import torch

from shardpipe.models.generate.decoding import Draw, before_stop, kept
from shardpipe.models.generate.request import Sampling
from shardpipe.models.imports import import_model_library


@pytest.mark.parametrize(("top_k", "top_p"), list(itertools.product([0, 1, 7, 40, 400], [0.1, 0.6, 0.95, 1.0])))
def test_kept_tokens_are_those_of_transformers(top_k: int, top_p: float) -> None:
    transformers = import_model_library("transformers")
    scores = 3 * torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    wanted = scores
    if top_k:
        wanted = transformers.TopKLogitsWarper(top_k)(None, wanted)
    if top_p < 1:
        wanted = transformers.TopPLogitsWarper(top_p)(None, wanted)
    assert torch.equal(kept(scores, top_k, top_p), wanted)


def test_the_repetition_penalty_is_that_of_transformers_less_the_padding() -> None:
    transformers = import_model_library("transformers")
    scores = torch.randn(2, 20, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[0, 0, 0, 3, 4, 4], [7, 8, 9, 0, 1, 2]])
    made = Draw(Sampling(repetition_penalty=1.3), [0, 0], [3, 0], torch.device("cpu"))(ids, scores)
    penalise = transformers.RepetitionPenaltyLogitsProcessor(1.3)
    assert torch.equal(made[:1], penalise(ids[:1, 3:], scores[:1]))
    assert torch.equal(made[1:], penalise(ids[1:], scores[1:]))


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    scores = torch.tensor([[0.1, 0.2, 0.7]]).log().repeat(3000, 1)
    draw = Draw(Sampling(temperature=0.5), range(3000), [0] * 3000, torch.device("cpu"))
    drawn = draw(torch.zeros(3000, 1, dtype=torch.long), scores).argmax(-1)
    shares = torch.bincount(drawn, minlength=3) / 3000
    wanted = torch.tensor([0.01, 0.04, 0.49]) / 0.54  # squares, for temperature 0.5
    assert torch.allclose(shares, wanted, atol=0.03)


def test_a_text_ends_before_its_stop_string() -> None:
    assert before_stop("one. two. three", Sampling(stop=(". ", "zz"))) == "one"
    assert before_stop("one. two. ", Sampling(stop=(". ",), min_tokens=3)) == "one. two"
    assert before_stop("one", Sampling(stop=("zz",))) == "one"
