"""Openings of captions that say that there is a video, not what is in it: "The video shows", "In this clip,"."""

import re

from shardpipe.stages._text_marks import to_the_end

THING = (
    r"(?:(?:short|brief|given|provided|black[ -]and[ -]white|animated)\s+)*(?:(?:series|sequence|set)\s+of\s+)?"
    r"(?:video|clip|footage|film|scene|image|picture|photo|photograph|animation|gif|frame|shot)s?(?:\s+(?:clip|footage|sequence|frame)s?)?"
)
SHOWS = (
    r"(?:(?:primarily|mainly|mostly|then|also|prominently|vividly)\s+)?"
    r"(?:(?:shows?|presents?|provides?|offers?|gives?)(?:\s+(?:us|viewers|the\s+viewers?)(?:\s+with)?(?=\s))?"
    r"|captures?|features?|depicts?|displays?|showcases?|illustrates?|portrays?|contains?"
    r"|(?:begins?|starts?|opens?)\s+(?:with|on)|consists?\s+of|focus(?:es)?\s+on|(?:is|are)\s+(?:about|of)|is(?=\s+(?:an?|the)\s)"
    r"|(?:is|are)\s+(?:showing|capturing|featuring|depicting|displaying|showcasing|presenting))"
)
OPENING = re.compile(
    rf"\A(?:in\s+)?(?:the|this|these|a)\s+{THING}\s+(?:that\s+)?{SHOWS}(?:\s+that)?\s+(?=[\w\"'])"
    rf"|\Athis\s+is\s+an?\s+{THING}\s+(?:of|showing|capturing|featuring|depicting|(?:that|which)\s+{SHOWS})\s+(?=[\w\"'])"
    rf"|\A(?:(?:as\s+)?(?:seen|shown)\s+)?(?:in|throughout)\s+(?:the|this|these)\s+{THING}"
    r"(?:\s*,\s*(?:(?:we|you|one)\s+(?:can\s+)?see\s+)?(?=\w)|\s+(?:we|you|one)\s+(?:can\s+)?see\s+(?=\w)|\s+(?=(?:an?|the|there|two|three|several|some)\s))"
    r"|\A(?:here|below)\s+(?:is|are)\s+[^:.!?]{0,80}:\s*(?=\w)|\A(?:here|below)'s\s+[^:.!?]{0,80}:\s*(?=\w)"
    r"|\A(?:sure|certainly|of\s+course|absolutely)\s*[,.!]\s*(?=\w)"
    r"|\A[*_#\s]{0,4}(?:the\s+)?(?:video\s+)?(?:caption|description)\s*(?:\*\*|__)?\s*:\s*(?:\*\*|__)?\s*(?=\w)",
    re.IGNORECASE,
)
OPENSORA = re.compile(
    r"\A(?:The (?:video|image) (?:shows|captures|features|depicts|presents|is)|In the (?:video|image),) +(?=\S)"
)


def without_opening(text: str) -> str:
    """Without such openings, and a capital first; an opening that nothing follows stays."""
    return to_the_end(lambda text: _cut(OPENING, text), text)


def without_opensora_opening(text: str) -> str:
    """As Open-Sora's --refine-llm-caption: one opening of its list."""
    return _cut(OPENSORA, text)


def _cut(opening: re.Pattern[str], text: str) -> str:
    found = opening.match(text)
    if found is None:
        return text
    capital = text[found.end()].upper()
    return (capital if len(capital) == 1 else text[found.end()]) + text[found.end() + 1 :]
