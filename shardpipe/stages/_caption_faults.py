"""What is wrong in how a caption is written: repetition, words on the medium, markup, an end in the middle. All is pure."""

import json
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shardpipe.stages._plain_words import is_unspaced, plain_words, with_few_marks
from shardpipe.stages._sentences import FINISHED, MOST_LOOPED_WORDS, WITHOUT_STOPS, sentences

PHRASE_WORDS = 3
PHRASE_LETTERS = 6
"""Of a phrase that counts as one: in scripts that put spaces between words, and in others."""

NOT_ITS_OWN = r"(?:short|brief|given|provided|entire|whole|same|first|last|next|final|second|third|previous|following|uploaded|attached|current|static|black and white)"
MEDIUM = re.compile(
    rf"\b(?:the|this|these|that|each|every) (?:{NOT_ITS_OWN} )*(?:videos?|footage|(?:video )?clips?|(?:video )?frames?|images?|photos?|photographs?|pictures?)\b"
    r"(?! (?:game|games|camera|call|wall|frame|frames|store|album|hanging|on the wall|of the (?:door|window|bed|bike|bicycle)))"
    r"|(?:\A|[.!?] )an? (?:(?!an? |the |his |her )[\w,]+ ){0,6}?(?:video|clip|footage|image|photo|photograph|picture)\b[^.!?]{0,40}?\b(?:of|shows?|showing|in which|where|depict\w*|captur\w*)\b"
    r"|\b(?:across|between|throughout) (?:\w+ )?(?:video )?frames\b"
    r"|\b(?:el|este|del|al) videos?\b|\b(?:la|esta|las|estas) (?:imagen|imagenes|foto|fotografia)\b"
    r"|\b(?:la|cette|les|ces) (?:videos?|photos?)\b|\b(?:l'|cette |les |ces )images?\b"
    r"|\b(?:das|dieses|im|dem) (?:video|bild|foto)\b|\b(?:die|diese|den) (?:bilder|aufnahmen)\b"
    r"|视频|視頻|影片|画面|畫面|图像|圖像|图片|圖片|動画|映像|画像|영상|이미지"
    r"|\b(?:на|в|это|этом) (?:видео|изображени\w|фото)\b"
)
"""Names the video, its frames or the picture as such, in folded text without accents."""

LIST_LINE = re.compile(r"^[^\S\n]*(?:[-*+\u2022\u25cf]|\(?\d{1,2}[.)])\s+\S", re.MULTILINE)
MARKUP = re.compile(
    r"^[^\S\n]*(?:#{1,6}\s+\S|>\s+\S|\|.*\|\s*$|(?:-{3,}|\*{3,}|={3,})\s*$)"  # lines of Markdown
    r"|\*\*[^*\n]+\*\*|__[^_\n]+__|```|(?<!\w)`[^`\n]+`|!?\[[^\[\]\n]*\]\([^()\s]+\)"
    r"|<\|[^|<>\n]{1,40}\|>|</?(?:s|think|answer|image|video|im_start|im_end|br|p|b|i|div|span|ul|li)\s*/?>|\[/?INST\]"
    r"|[{,]\s*\"[\w -]{1,60}\"\s*:\s*[\"\[{\d]|\\n|\\u[0-9a-fA-F]{4}|&(?:amp|lt|gt|quot|#\d{2,5});",
    re.MULTILINE,
)
BEHIND = "*_` \t\r\n\ufe0f"
"""May stand behind the full stop, as emoji may."""


def repeat_share(text: str) -> float | None:
    """The share of a text's words that stand in a phrase which was there before: three words, or six letters in scripts without spaces.

    0 for a text in which nothing repeats, near 1 for a loop; None for a text without words.
    """
    words = plain_words(text)
    if not words:
        return None
    size = PHRASE_LETTERS if 2 * sum(is_unspaced(word[0]) for word in words) > len(words) else PHRASE_WORDS
    seen: set[tuple[str, ...]] = set()
    repeated = np.zeros(len(words), bool)
    for start in range(len(words) - size + 1):
        phrase = tuple(words[start : start + size])
        repeated[start : start + size] |= phrase in seen
        seen.add(phrase)
    return float(repeated.mean())


def most_in_a_row(text: str) -> int | None:
    """How often a phrase of up to 40 words follows itself directly at most, itself counted: 1 where none does; None without words.

    Letters count as words in scripts without spaces.
    """
    words = plain_words(text)
    if not words:
        return None
    known: dict[str, int] = {}
    numbers = np.array([known.setdefault(word, len(known)) for word in words])
    most = 1
    for length in range(1, min(MOST_LOOPED_WORDS, len(words) // 2) + 1):
        most = max(most, 1 + _longest_run(numbers[length:] == numbers[:-length]) // length)
    return most


def _longest_run(true: NDArray[np.bool_]) -> int:
    ends = np.flatnonzero(np.diff(np.concatenate(([False], true, [False]))))
    return int((ends[1::2] - ends[::2]).max(initial=0))


def share_of_sentences(text: str, said: re.Pattern[str]) -> float | None:
    """The share of a text's sentences in which `said` is found; None without a sentence."""
    found = own_sentences(text)
    return sum(said.search(each) is not None for each in found) / len(found) if found else None


def own_sentences(text: str) -> Sequence[str]:
    """A text's sentences that have a letter or digit."""
    return [each for each in sentences(text) if any(mark.isalnum() for mark in each)]


def names_medium(text: str) -> bool:
    """Whether it speaks of the video, its frames or the picture, in place of what is to be seen."""
    apart = unicodedata.normalize("NFKD", with_few_marks(text).casefold().replace("\u2019", "'"))
    bare = "".join(mark for mark in apart if not "\u0300" <= mark <= "\u036f")
    return MEDIUM.search(unicodedata.normalize("NFC", re.sub(r"[\s-]+", " ", bare))) is not None


def has_markup(text: str) -> bool:
    """Whether it has marks that are no prose: Markdown, a list, JSON, code, tags, tokens of a chat template."""
    return MARKUP.search(text) is not None or LIST_LINE.search(text) is not None or _is_json(text.strip())


def _is_json(text: str) -> bool:
    """Whether all of it is a JSON object or list."""
    if text[:1] + text[-1:] not in ("{}", "[]"):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def is_unfinished(text: str) -> bool | None:
    """Whether it ends without a full stop of any script; None where that does not tell: without words, and in Thai and Lao."""
    end = len(text)
    while end and (text[end - 1] in BEHIND or unicodedata.category(text[end - 1]) in ("So", "Sk", "Cf", "Zs")):
        end -= 1
    plain = text[:end]
    if not any(mark.isalnum() for mark in plain) or WITHOUT_STOPS.match(plain[-1]):
        return None
    return FINISHED.search(plain) is None
