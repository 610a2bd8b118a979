"""Long texts in chunks: nothing lost, nothing too long, at the borders of sentences."""

import random
import time

import pytest

from shardpipe.stages._chunks import chunked

SENTENCES = [
    "A man walks along a beach at sunset.",
    "The waves are 1.5 m high, and he wears a red coat!",
    "Is he alone?",
    'A sign reads "No swimming."',
    "Behind him a dog runs after a ball…",
]


def words(text: str) -> int:
    return len(text.split()) + 2


def letters(text: str) -> int:
    return len(text.replace(" ", "")) + 2


def test_a_short_text_is_one_chunk() -> None:
    (chunk,) = chunked("  A dog.\n A cat. ", 77, words)
    assert (chunk.text, chunk.num_tokens) == ("A dog. A cat.", 6)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_white_space_has_no_chunk(text: str) -> None:
    assert chunked(text, 77, words) == []


@pytest.mark.parametrize("limit", [14, 20, 30])
def test_chunks_are_whole_sentences_as_many_as_fit(limit: int) -> None:
    chunks = chunked(" ".join(SENTENCES), limit, words)
    assert " ".join(chunk.text for chunk in chunks) == " ".join(SENTENCES)
    assert all(chunk.num_tokens == words(chunk.text) <= limit for chunk in chunks)
    rest = list(SENTENCES)
    for chunk in chunks:
        taken = [rest.pop(0)]
        while rest and " ".join(taken) != chunk.text:
            taken.append(rest.pop(0))
        assert " ".join(taken) == chunk.text
        assert not rest or words(f"{chunk.text} {rest[0]}") > limit


def test_a_sentence_that_is_longer_alone_is_split_between_words() -> None:
    text = " ".join(f"word{i}" for i in range(100)) + ". The end."
    chunks = chunked(text, 12, words)
    assert " ".join(chunk.text for chunk in chunks) == text
    assert max(chunk.num_tokens for chunk in chunks) == 12


def test_a_word_that_is_longer_alone_is_split_between_letters() -> None:
    text = "short " + "x" * 50 + " end"
    chunks = chunked(text, 12, letters)
    assert "".join(chunk.text for chunk in chunks).replace(" ", "") == text.replace(" ", "")
    assert max(chunk.num_tokens for chunk in chunks) <= 12


def test_sentences_without_spaces_are_told_apart() -> None:
    chunks = chunked("一个人在海边散步。天空是红色的。他很高兴。", 12, letters)
    assert [chunk.text for chunk in chunks] == ["一个人在海边散步。", "天空是红色的。", "他很高兴。"]


def test_anything_is_kept_and_fits() -> None:
    generator = random.Random(0)
    for _ in range(200):
        text = "".join(generator.choice("ab cd.!? \n,。é") for _ in range(generator.randrange(120)))
        chunks = chunked(text, 9, letters)
        assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join(text.split())
        assert all(chunk.num_tokens <= 9 for chunk in chunks)


def test_a_letter_that_takes_more_than_all_tokens_is_left_to_the_tokenizer() -> None:
    assert [chunk.text for chunk in chunked("ab", 2, letters)] == ["a", "b"]


def test_a_long_text_of_no_words_does_not_take_long() -> None:
    began = time.process_time()
    chunked("x" * 20_000, 77, lambda text: sum(len(word) ** 2 for word in text.split()) // 100 + 2)
    assert time.process_time() - began < 5
