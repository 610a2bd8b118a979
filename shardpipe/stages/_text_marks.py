"""What is no language in a text: broken characters, HTML, links, handles, file names, adverts, odd quotes and spaces.

Each function gives the text without it, never longer, and leaves other text of any script as it is. All are pure and raise nothing.
"""

import html
import re
import unicodedata
from collections.abc import Callable

import ftfy

from shardpipe.stages._plain_words import with_few_marks

INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffd\ud800-\udfff]"
)
"""Control characters, zero-width spaces, what turns the direction of writing, soft hyphens, what a decoder could not read, and halves
of surrogate pairs.

The joiners U+200C and U+200D and the marks of direction U+200E and U+200F stay: Persian, Indic scripts, emoji, Arabic and Hebrew need them.
"""

ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
UNSEEN = re.compile(r"<(script|style)\b[^<>]*>[^<]*</\1\s*>|<!--[^<>]*-->|<[!?][^<>]*>", re.IGNORECASE)
INLINE = re.compile(r"</?(?:a|b|em|font|i|mark|s|small|span|strong|sub|sup|u)(?:\s[^<>]*)?>", re.IGNORECASE)
TAG = re.compile(r"</?[a-zA-Z|][\w.:|-]*(?:\s[^<>]*)?/?>")
MOST_NESTED = 50

DOMAINS = "com|org|net|edu|gov|io|ru|co\\.uk"
WITH_PATH = "ly|be|me|tv|co|gl|gg|xyz|info|biz|app|dev|ai|de|fr|jp|cn|eu"
"""What a link without www may end in that goes on behind a slash: `youtu.be/x`; alone these may be words."""
URL = re.compile(
    r"(?:https?|ftps?|rtsp|rtmp)://(?:[!-~]*[\w/=&#~%+-])?"  # to its last letter, not the full stop behind it
    r"|(?<![\w.-])www\.(?:[!-~]*[\w/=&#~%+-])?"
    rf"|(?<![\w@.-])(?:[a-z0-9-]+\.)+(?:(?:{DOMAINS})(?![\w@])(?:[/?:](?:[!-~]*[\w/=&#~%+-])?)?|(?:{WITH_PATH})/[!-~]*\w/?)",
    re.IGNORECASE | re.ASCII,
)
IDN_URL = re.compile(r"(?:https?|ftp)://(?![!-~])\w[\w.-]*(?:/[!-~]*)?", re.IGNORECASE)
"""A link to a host that is not of ASCII."""
MARKDOWN_LINK = re.compile(r"!?\[([^\[\]]*)\]\((?:https?://|www\.)[^()\s]*\)", re.IGNORECASE)

HANDLE = re.compile(
    r"(?<![\w.+-])[\w.+-]+(?:@[\w-]+(?:\.[\w-]+)+)+"  # a mail address; what hangs on it goes with it
    r"|(?<![\w@])(?:@\w+)+"
    r"|(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])"  # an address on the internet
)
FILE_NAME = re.compile(
    r"(?<![\w.-])[\w-][\w.-]*\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|mp4|mov|avi|mkv|webm|m4v|mp3|wav|pdf)\b",
    re.IGNORECASE,
)
ADVERT = re.compile(
    r"\b(?:free\s+)?(?:worldwide\s+)?free\s+(?:shipping|delivery)\b|\b(?:free\s+)?downloads?(?:\s+(?:free|now|here))?\b"
    r"|\bclick\s+(?:here|for|on|to)\b(?:\s+(?:to|more|details?|enlarge|view|download|link))*"
    r"|\b(?:subscribe|sign\s+up|buy|order|shop)\s+now\b|\blink\s+in\s+(?:the\s+)?(?:bio|description)\b",
    re.IGNORECASE,
)

QUOTES = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u0060\u00b4"), "'"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212"), "-"),
}
RUN = re.compile(r"([!?,;:~*_=|#-])\1{2,}|([\"'])\2+|\.{4,}")

SPACE = re.compile(r"\s+")
BEFORE_MARK = re.compile(r"\s+([.,])(?=\s|$)")
BRACKETS = re.compile(r"[(\[{][\s()\[\]{}]*+")
"""As far as they go, so that a long run is read once; a part at its end that closes nothing is none of it."""
OPENS = {")": "(", "]": "[", "}": "{"}
DOUBLE_MARK = re.compile(r"[,;:]\s*(?=[,;:]\s)|(?<=[.!?])\s+[.,;:](?=\s|$)")
FIRST_MARKS = re.compile(r"\A(?:[,;:.!?]++(?:\s++|\Z))+")
"""Marks that what stood before them has left behind."""

MENDED = ftfy.TextFixerConfig(
    unescape_html=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    normalization=None,
    explain=False,
)


def visible(text: str) -> str:
    """Without invisible characters and heaps of accents, and letters composed with their accents (NFC) where that makes it no longer."""
    plain = with_few_marks(INVISIBLE.sub("", text))
    composed = unicodedata.normalize("NFC", plain)
    return composed if len(composed) <= len(plain) else plain


def without_mojibake(text: str) -> str:
    """Text that was decoded with the wrong encoding as it was meant, by ftfy: `cafÃ©` is `café`."""
    mended = ftfy.fix_text(text, MENDED)
    return mended if len(mended) <= len(text) else text


def without_html(text: str) -> str:
    """Without tags, comments, scripts and the like; entities (`&amp;`) as the characters that they stand for."""
    for _ in range(MOST_NESTED):
        before = text
        text = ENTITY.sub(lambda found: html.unescape(found[0]), text)
        text = TAG.sub(" ", INLINE.sub("", UNSEEN.sub(" ", text)))
        if text == before:
            return text
    return text.replace("<", "").replace("&", "")  # what is nested so deep is nobody's text


def without_urls(text: str) -> str:
    """Without links: `https://...`, `www....`, `name.com/...`; of `[words](link)` the words stay."""
    return to_the_end(lambda text: URL.sub(" ", IDN_URL.sub(" ", MARKDOWN_LINK.sub(r"\1", text))), text)


def has_url(text: str) -> bool:
    """Whether it has a link that `without_urls` would take out."""
    return URL.search(text) is not None


def without_handles(text: str) -> str:
    """Without @names, mail addresses and IP addresses."""
    return to_the_end(lambda text: HANDLE.sub(" ", text), text)


def without_file_names(text: str) -> str:
    """Without names of pictures, videos, sounds and documents, such as `IMG_2041.jpg`."""
    return to_the_end(lambda text: FILE_NAME.sub(" ", text), text)


def without_adverts(text: str) -> str:
    """Without `free shipping`, `click here`, `download` and the like, in English."""
    return to_the_end(lambda text: ADVERT.sub(" ", text), text)


def plain_quotes(text: str) -> str:
    """With straight quotes and one kind of hyphen; marks three times or more in a row, once, and dots three times."""
    return RUN.sub(lambda found: found[1] or found[2] or "...", text.translate(QUOTES))


def tidy(text: str) -> str:
    """With one space for any white space, none at its ends and before full stops and commas, no marks and brackets that stand alone."""

    def once(text: str) -> str:
        text = SPACE.sub(" ", BRACKETS.sub(_unpaired, text)).strip()
        return FIRST_MARKS.sub("", BEFORE_MARK.sub(r"\1", DOUBLE_MARK.sub("", text)))

    return to_the_end(once, text)


def _unpaired(found: re.Match[str]) -> str:
    """A run of brackets and spaces, of pairs that hold nothing a space."""
    left: list[str] = []
    end = max(map(found[0].rfind, OPENS)) + 1
    for mark in found[0][:end]:
        at = -2 if left[-1:] == [" "] else -1
        if mark in OPENS and left[at : at + 1 or None] == [OPENS[mark]]:
            del left[at:]
            mark = " "  # noqa: PLW2901  what the pair leaves
        if not mark.isspace():
            left.append(mark)
        elif left[-1:] != [" "]:
            left.append(" ")
    return "".join(left) + found[0][end:]


def to_the_end(step: Callable[[str], str], text: str) -> str:
    """What a step gives that no further one changes; it must never give back what it took."""
    while (changed := step(text)) != text:
        text = changed
    return text
