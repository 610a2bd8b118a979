"""A text by its sentences, and which of them to leave out: those that deny or guess, repeat, or stop in the middle.

Words that deny or guess are English; sentences of other languages pass. All is pure and never longer than what went in.
"""

import re
from collections.abc import Iterator

STOPS = ".!?\u2026\u0964\u0965\u061f\u06d4\u0589\u1362\u17d4\u17d5\u104b\u0f0d"
"""Full stops of scripts that put a space after them."""
CJK_STOPS = "\u3002\uff01\uff1f\uff61"
CLOSING = "\"')\\]\u201d\u2019\u300d\u300f\uff09\u00bb"
ENDED = re.compile(rf"[{STOPS}][{STOPS}{CLOSING}]*+(\s*+)|[{CJK_STOPS}][{CJK_STOPS}{CLOSING}]*+\s*+")
"""A run of stops as a whole, so that long ones are read once; that of the first kind ends a sentence if group 1 is not empty."""
FINISHED = re.compile(rf"[{STOPS}{CJK_STOPS}][{CLOSING}]*\s*\Z")
ABBREVIATED = re.compile(r"(?:\b(?:mr|mrs|ms|dr|st|vs|no|approx|e\.g|i\.e)|(?<!\S)[A-Z])\.\s+\Z", re.IGNORECASE)
WITHOUT_STOPS = re.compile(r"[\u0e00-\u0eff]")
"""Letters of Thai and Lao, whose sentences end in a space."""

DENIAL = re.compile(
    r"\bthere(?:'s|\s+(?:is|are|was|were))\s+(?:no|not|none|nothing|nobody|never)\b|\bthere\s+(?:isn't|aren't|wasn't|weren't)\b"
    r"|\bno\s+(?:\w+\s+){0,4}(?:is|are|was|were|can\s+be)\s+(?:\w+\s+)?(?:visible|seen|present|shown|discernible|apparent|evident)\b"
    r"|\b(?:not|isn't|aren't)\s+(?:\w+\s+)?(?:visible|shown|present|depicted|discernible|clear|specified|mentioned|provided)\b"
    r"|\b(?:cannot|can't|can\s+not|could\s+not)\s+be\s+(?:\w+\s+)?(?:seen|determined|identified|discerned|made\s+out|read)\b"
    r"|\b(?:does|do|did)(?:\s+not|n't)\s+(?:\w+\s+)?(?:show|contain|include|feature|depict|provide|reveal|appear)\b"
    r"|\b(?:with\s+no|without\s+any)\s+(?:\w+\s+){0,3}(?:visible|present|discernible|text|people|other)\b"
    r"|\bno\s+(?:visible|discernible|other|additional|apparent)\b",
    re.IGNORECASE,
)
"""Says what is not there."""

OPENSORA_DENIAL = re.compile(rf"{DENIAL.pattern}|\b(?:only|solely|no|not)\b|n't\b", re.IGNORECASE)
"""As Open-Sora 1.3: whatever denies or says only or solely."""

GUESS = re.compile(
    r"\b(?:possibly|probably|perhaps|maybe|likely|presumably|apparently|seemingly|supposedly)\b"
    r"|\b(?:might|could|may)\s+(?:also\s+)?(?:be|have|indicate|suggest|represent)\b"
    r"|\b(?:seems?|appears?|seemed|appeared)\s+(?:to|as|like|that)\b|\b(?:suggest|hint|impl[iy])(?:s|ed|es|ing)?\s+(?:that|at|a|an|the)\b"
    r"|\b(?:unclear|uncertain|unknown|hard\s+to\s+tell|difficult\s+to\s+(?:tell|determine|say))\b"
    r"|\bit\s+(?:can|could)\s+be\s+(?:assumed|inferred)\b",
    re.IGNORECASE,
)
"""Says what may be so."""

GUESSED_CLAUSE = re.compile(
    rf",\s*(?:and\s+|which\s+)?(?:suggest(?:ing|s)|hint(?:ing|s)|imply(?:ing)|implies|possibly|probably|perhaps|maybe|likely|presumably)"
    rf"\b[^,;:{STOPS}{CJK_STOPS}]*(?=(?:[{STOPS}][{CLOSING}]*)?\s*\Z)",
    re.IGNORECASE,
)
"""A guess at a sentence's end, behind a comma: the rest may stay."""

MOST_LOOPED_WORDS = 40
WORD_TIMES, PHRASE_TIMES = 4, 3
UNSPACED_LOOP = re.compile(r"([\u0e00-\u0eff\u3001\u3040-\u30ff\u3400-\u9fff\uff0c]{2,40}?)\1{3,}")
"""Four times or more the same in a script that puts no spaces between words."""
WORD_EDGE = re.compile(r"^\W+|\W+$")
NO_WORD = re.compile(r"\W+")


def sentences(text: str) -> list[str]:
    """Its sentences with the white space behind them: joined, they are the text."""
    found, start = [], 0
    for end in ENDED.finditer(text):
        if end[1] != "" and not ABBREVIATED.search(text, max(start, end.end() - 16), end.end()):
            found.append(text[start : end.end()])
            start = end.end()
    return [*found, text[start:]] if start < len(text) else found


def without_sentences(text: str, said: re.Pattern[str]) -> str:
    """Without the sentences in which `said` is found."""
    return "".join(each for each in sentences(text) if not said.search(each)).strip()


def without_guesses(text: str) -> str:
    """Without guesses at the ends of sentences, and then without the sentences that still guess."""
    return without_sentences("".join(GUESSED_CLAUSE.sub("", each) for each in sentences(text)), GUESS)


def without_unfinished(text: str) -> str:
    """Without the last sentence, where it has no full stop and others before it have; a text of one sentence stays."""
    *whole, last = sentences(text) or [""]
    if not whole or FINISHED.search(last) or WITHOUT_STOPS.search(last):
        return text
    return "".join(whole).strip()


def without_repeats(text: str) -> str:
    """Each sentence once (case and marks do not count), and loops within a sentence once."""
    said: set[str] = set()
    kept = []
    for sentence in sentences(text):
        words = NO_WORD.sub(" ", sentence).strip().casefold()
        if not words or words not in said:
            kept.append(sentence)
            said.add(words)
    return without_loops("".join(kept).strip())


def without_loops(text: str) -> str:
    """Phrases that follow themselves twice or more (one word: three times) once; of the last one the end, as its marks count."""
    text = UNSPACED_LOOP.sub(r"\1", text)
    words = text.split()
    plain = [WORD_EDGE.sub("", word).casefold() or word for word in words]
    kept = list(_unlooped(words, plain))
    return " ".join(kept) if len(kept) < len(words) else text


def _unlooped(words: list[str], plain: list[str]) -> Iterator[str]:
    at = 0
    while at < len(words):
        length, times = _loop_at(plain, at)
        end = at + length * times
        yield from words[at : at + length - 1]
        yield words[end - 1]
        at = end


def _loop_at(plain: list[str], at: int) -> tuple[int, int]:
    """The shortest phrase from `at` that follows itself often enough: its words and how often; (1, 1) for none."""
    for length in range(1, min(MOST_LOOPED_WORDS, (len(plain) - at) // 2) + 1):
        if plain[at + length] != plain[at]:
            continue
        phrase, times = plain[at : at + length], 1
        while plain[at + length * times : at + length * (times + 1)] == phrase:
            times += 1
        if times >= (WORD_TIMES if length == 1 else PHRASE_TIMES):
            return length, times
    return 1, 1
