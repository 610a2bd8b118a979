"""The cleaning of Open-Sora's --clean-caption, after DeepFloyd's for T5: everything lower case, CJK characters gone.

One run of it; Open-Sora does two. Written from a description of what it does, so that rare texts may come out otherwise there.
"""

import re
from urllib.parse import unquote_plus

import ftfy

from shardpipe.stages._plain_words import with_few_marks
from shardpipe.stages._text_marks import without_html

LINK = re.compile(
    r"(?:(?<![a-z0-9])(?:https?:(?:/{1,3}|[a-z0-9%])|www\.)|(?<![a-z0-9.-])[a-z0-9.-]+\.(?:com|co|ru|net|org|edu|gov|it)\b/?)"
    r"[\w/.~:?#\[\]@!$&'()*+,;=%-]*"
)
NAME = re.compile(r"@[\w.]+\b")
CJK = re.compile(r"[\u31c0-\u9fff]+")
DASH = re.compile(
    r"[\u002d\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d]+"
)
DOUBLE_QUOTE = re.compile("[`\u00b4\u00ab\u00bb\u201c\u201d\u00a8]")
SINGLE_QUOTE = re.compile("[\u2018\u2019]")
ADDRESS = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}")
ARTICLE = re.compile(r"\d:\d\d\s+\Z")
NUMBER = re.compile(r"#\d{1,3}\b|#?\b\d{5,}\b|\b\d{6,}\b")
FILE = re.compile(r"(?<!\S)\S+\.(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)\b")
QUOTES = re.compile(r"[\"']{2,}")
DOTS = re.compile(r"\.{2,}")
ODD = re.compile(r"[#\u00ae\u2022\u00a9\u2122&@\u00b7\u00ba\u00bd\u00be\u00bf\u00a1\u00a7~)(\]\[}{|\\/*]+")
LONE_DOT = re.compile(r"\s+\.\s+")
JOINED = re.compile(r"[-_]")
MOST_JOINED = 3
MIXED_ID = re.compile(r"\b[a-z]{0,3}\d{3,15}\b|\b[a-z]+\d+[a-z]+\b|\b[a-z]+\d{5,}\w*\b|\b(?=[a-z]*\d)[a-z0-9]{11,}\b")
ADVERT = re.compile(
    r"(?:worldwide\s+)?(?:free\s+)shipping|(?:free\s)?download(?:\sfree)?|\bclick\b\s(?:for|on)\s\w+"
    r"|\b(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4|image|img|photo)s?\s(?:image|img|photo)s?\b|\bpage\s+\d+\b"
)
SIZE = re.compile(r"\b\d+\s?[x\u0445\u00d7]\s?\d+\b")
COLON = re.compile(r"\b\s+:\s+")
TIGHT = re.compile(r"(\D[,./])\b")
SPACE = re.compile(r"\s+")
FRAME = re.compile(r"\A([\"'])(.+)\1\Z", re.DOTALL)
ENDS = re.compile(r"\A['_,\-:;]+|['_,\-:\-+]+\Z|\A\.\S+\Z")


def t5_cleaned(text: str) -> str:
    """One run of the cleaning."""
    text = unquote_plus(text).strip().lower().replace("<person>", "person")
    text = without_html(LINK.sub("", text))
    text = CJK.sub("", NAME.sub("", text))
    text = SINGLE_QUOTE.sub("'", DOUBLE_QUOTE.sub('"', DASH.sub("-", text)))
    text = NUMBER.sub("", ARTICLE.sub("", ADDRESS.sub(" ", text)))
    text = DOTS.sub(" ", QUOTES.sub('"', FILE.sub("", text)))
    text = LONE_DOT.sub(" ", ODD.sub(" ", text))
    if len(JOINED.findall(text)) > MOST_JOINED:
        text = JOINED.sub(" ", text)
    text = without_html(ftfy.fix_text(with_few_marks(text)))
    text = SIZE.sub("", ADVERT.sub("", MIXED_ID.sub("", text)))
    text = TIGHT.sub(r"\1 ", COLON.sub(": ", text))
    text = FRAME.sub(r"\2", SPACE.sub(" ", text).strip())
    return ENDS.sub("", text).strip()
