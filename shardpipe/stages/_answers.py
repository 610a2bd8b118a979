"""What a model's answer says: its text without what is no answer, the JSON, the choice, the number or the lists in it.

All of it takes any text: what does not fit gives None, never an error.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from shardpipe.models.generate.request import Answer
from shardpipe.stages._refusals import is_refusal

FieldKind = Literal["string", "int", "float", "bool", "[string]"]

THOUGHTS = ("<think>", "</think>")
TRUE, FALSE = frozenset({"yes", "true"}), frozenset({"no", "false"})
WRAP = " \t\r\n*_`'\"\u2018\u2019\u201c\u201d"
NOTHING = re.compile(r"(?:none|none[_ ]found|null|nothing|n/a|empty)\.?\Z", re.IGNORECASE)
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
ANSWER = re.compile(r"[\s*_`]*(?:<answer>|(?:(?:my|the|final)\s+)*answer\b(?:\s+is\b)?\s*[:=-]?)", re.IGNORECASE)
COMMA = re.compile(r"[,\n\uff0c\u3001]")
"""Between the items of a list, also in Chinese and Japanese."""

OUT_OF = r"\s*(?:/|out of|of)\s*"
INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
WORDED = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "So"})
UNREADABLE = "\ufffd"
INT64 = 2**63
MAX_TRIES = 200
"""How many openings of an object are tried in one answer."""


def judged(answer: Answer) -> tuple[str | None, str]:
    """An answer's text, None where it is no caption, and how it ended: as its engine says, `empty` or `refusal`."""
    if answer.finish == "content_filter":
        return None, answer.finish
    text = tidy(without_thoughts(answer.text))
    if answer.finish == "length":
        text = text.removesuffix(UNREADABLE)  # the first bytes of a letter
    if all(unicodedata.category(mark) in INVISIBLE for mark in text):
        return None, "empty"
    if is_refusal(text):
        return None, "refusal"
    return text, answer.finish


def worded(answer: Answer) -> tuple[str | None, str]:
    """As `judged`, of an answer that is to be a text: `empty` too where it has neither letter, digit nor picture: `...`, `!!!!`."""
    text, finish = judged(answer)
    if text is not None and not any(unicodedata.category(mark) in WORDED for mark in text):
        return None, "empty"
    return text, finish


def without_thoughts(text: str) -> str:
    """What stands after the thoughts that some models write first; nothing, where they never end."""
    begins, ends = THOUGHTS
    _, found, rest = text.rpartition(ends)
    if found:
        return rest
    return "" if text.lstrip().startswith(begins) else text


def tidy(text: str) -> str:
    """Stripped, without control characters (but for new lines and tabs) and without half characters."""
    kept = "".join(mark for mark in text if mark in "\n\t" or unicodedata.category(mark) not in ("Cc", "Cs"))
    return kept.strip()


def first_object(text: str, names: Iterable[str]) -> dict[str, Any] | None:
    """The first JSON object in a text that has one of these keys, whatever stands around it."""
    wanted, decoder = set(names), json.JSONDecoder()
    for i in _openings(text):
        try:
            found, _ = decoder.raw_decode(text, i)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and wanted & found.keys():
            return found
    return None


def _openings(text: str) -> Iterator[int]:
    at = text.find("{")
    for _ in range(MAX_TRIES):
        if at < 0:
            return
        yield at
        at = text.find("{", at + 1)


def as_kind(value: Any, kind: FieldKind, *, max_chars: int, max_items: int) -> Any:  # noqa: ANN401
    """A JSON value as a field's; None where it does not fit. Texts are cut, so are lists."""
    match kind:
        case "string":
            return (tidy(spoken(value))[:max_chars].rstrip() or None) if _is_scalar(value) else None
        case "[string]":
            return tags_of(value, max_chars=max_chars)[:max_items] if isinstance(value, list) else None
        case "bool":
            return value if isinstance(value, bool) else as_bool(value) if isinstance(value, str) else None
        case _:
            number = _number(value)
            if number is None or kind == "float":
                return number
            return int(number) if number == int(number) and abs(number) < INT64 else None


def spoken(value: Any) -> str:  # noqa: ANN401
    """A JSON scalar as text."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _is_scalar(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, int) and abs(value) >= INT64:  # Python refuses to print very large ones
        return False
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _number(value: Any) -> float | None:  # noqa: ANN401
    """A number, also one in a text; not a truth, no NaN and no infinity."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, int):
        return value if abs(value) < INT64 else None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def as_bool(text: str) -> bool | None:
    """Whether a text begins with yes or no, or says that this is the answer."""
    text = ANSWER.sub("", text, count=1)
    first = re.split(r"\W", text.strip(WRAP).casefold(), maxsplit=1)[0]
    return True if first in TRUE else False if first in FALSE else None


def as_choice(text: str, choices: Sequence[str]) -> str | None:
    """The choice that a text is, or begins with, or, where it begins with none, the only one that it names."""
    plain = _folded(text)
    named = {choice: _folded(choice) for choice in choices}
    for choice, folded in named.items():
        if plain == folded:
            return choice
    begins = [choice for choice, folded in named.items() if _has_word(plain, folded, at_start=True)]
    if begins:
        return max(begins, key=len)
    inside = [choice for choice, folded in named.items() if _has_word(plain, folded)]
    longest = [each for each in inside if not any(each != other and named[each] in named[other] for other in inside)]
    return longest[0] if len(longest) == 1 else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().strip(WRAP + ".").split())


def _has_word(text: str, word: str, *, at_start: bool = False) -> bool:
    pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
    return (re.match(pattern, text) if at_start else re.search(pattern, text)) is not None


def as_score(text: str, least: int, most: int) -> int | None:
    """The one whole number of a text, if it lies between these two; `4/5` and `4 out of 5` are 4."""
    plain = re.sub(rf"(?<=\d){OUT_OF}{most}(?!\d|\.\d)", "", text)
    found = {float(each) for each in NUMBER.findall(plain)}
    if len(found) != 1:
        return None
    (number,) = found
    return int(number) if number.is_integer() and least <= number <= most else None


def lists_in(text: str, keys: Sequence[str], *, max_chars: int) -> dict[str, list[str] | None]:
    """The tags of each key: of a JSON object, or of bracketed lists (`objects: [a, b]`, or of one key `[a, b]`)."""
    found = first_object(text, keys)
    if found is not None:
        return {
            key: tags_of(found[key], max_chars=max_chars) if key in found and _is_list(found[key]) else None
            for key in keys
        }
    bare = text.strip(WRAP + "[]")
    if NOTHING.match(bare) or (not bare and "[" in text):
        return {key: [] for key in keys}
    made: dict[str, list[str] | None] = {key: _bracketed(text, key, max_chars) for key in keys}
    if len(keys) == 1 and made[keys[0]] is None and (inside := re.search(r"\[([^\[\]]*)\]", text)):
        made[keys[0]] = _split(inside[1], max_chars)
    return made


def _is_list(value: Any) -> bool:  # noqa: ANN401
    """Whether a JSON value can be read as a list of tags, be it that there is none."""
    if isinstance(value, list):
        return not value or any(item is None or _is_scalar(item) for item in value)
    return value is None or isinstance(value, str)


def _bracketed(text: str, key: str, max_chars: int) -> list[str] | None:
    name = re.escape(key).replace("_", "[_ ]")
    inside = re.search(rf"(?<!\w){name}[\"'*_`]*\s*[:=\uff1a-]\s*[\"'*_`]*\s*\[([^\[\]]*)\]", text, re.IGNORECASE)
    if inside is not None:
        return _split(inside[1], max_chars)
    nothing = re.search(rf"(?<!\w){name}[\"'*_`]*\s*[:=\uff1a-]\s*[\"'*_`]*(none(?:[_ ]found)?)\b", text, re.IGNORECASE)
    return [] if nothing is not None else None


def _split(inside: str, max_chars: int) -> list[str]:
    return tags_of(COMMA.split(inside), max_chars=max_chars)


def tags_of(value: Any, *, max_chars: int) -> list[str]:  # noqa: ANN401
    """A JSON value as tags: each once, trimmed, in their order; those that say that there are none, and long ones, left out."""
    items = value if isinstance(value, list) else COMMA.split(value) if isinstance(value, str) else []
    made: dict[str, str] = {}
    for item in items:
        tag = _tag(spoken(item)) if _is_scalar(item) else ""
        if tag and len(tag) <= max_chars and not NOTHING.match(tag):
            made.setdefault(tag.casefold(), tag)
    return list(made.values())


def _tag(text: str) -> str:
    plain = "".join(mark if unicodedata.category(mark) not in ("Cc", "Cs") else " " for mark in text)
    return " ".join(plain.split()).strip(WRAP + ".,;[]")


def sentences(parts: Mapping[str, str]) -> str:
    """The parts of a description as one text: each ends as a sentence does."""
    ended = (part if part[-1] in ".!?\u2026\u3002\uff01\uff1f\"'" else f"{part}." for part in parts.values())
    return " ".join(ended)
