"""Clean: a caption without what is no description: markup, links, set phrases, guesses, repetition, an unfinished end."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from shardpipe.core.columns import ColumnName, Columns, bool_, list_of, string
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.stages._openings import without_opening, without_opensora_opening
from shardpipe.stages._opensora_text import t5_cleaned
from shardpipe.stages._sentences import (
    DENIAL,
    OPENSORA_DENIAL,
    without_guesses,
    without_repeats,
    without_sentences,
    without_unfinished,
)
from shardpipe.stages._text_marks import (
    has_url,
    plain_quotes,
    tidy,
    visible,
    without_adverts,
    without_file_names,
    without_handles,
    without_html,
    without_mojibake,
    without_urls,
)

Step = tuple[str, Callable[[str], str]]
MARKS: Sequence[Step] = (
    ("mojibake", without_mojibake),
    ("html", without_html),
    ("urls", without_urls),
    ("handles", without_handles),
    ("file_names", without_file_names),
    ("adverts", without_adverts),
    ("quotes", plain_quotes),
)
OWN = ("has_url", "clean_steps")


class Clean(Stage):
    """Cleans captions: takes out what describes nothing, and leaves case and the text of every script as they are.

    `<into>`      string, by default `text_clean`: the cleaned text, on one line. Null for a clip without a text, or of which
                  nothing is left.
    `has_url`     bool: whether the text as it came has a link.
    `clean_steps` list of strings: the steps that changed the text, by the names of their fields, in their order; empty for none.

    The text as it came stays where it is, in the column `column`. A column is written once, so the cleaned text has another name.
    To end with `text` (which the member `txt` holds, and training reads), let the raw one have another name: a table of sources
    with the column `text_raw` and `{type: clean, column: text_raw, into: text}`; or, after a stage of the same pass that writes
    `text`, `{type: clean, column: text_raw}` and the pass's `rename: {text: text_raw, text_clean: text}`.

    Preset `gentle` has a field for each step, all but `adverts` on, and goes on until no step changes anything: cleaned text
    stays as it is when it is cleaned again, and is never longer. Words that open, deny or guess are English; other languages keep
    theirs. A text of one sentence without a full stop is no unfinished one. Invisible characters go in any case, white space
    becomes one space.

    Preset `opensora` does what its --refine-llm-caption and --clean-caption do, in this order, as far as they are described: one
    opening of its list; then twice all that its cleaning for T5 has: percent signs of urls decoded, everything lower case, links,
    HTML, @names, Chinese characters, long numbers, file names, adverts and odd marks gone. `opening` and the four steps
    for sentences can be set there too: `{preset: opensora, denials: true, unfinished: true}` is what Open-Sora 1.3 calls
    --text_refine_sentences (sentences that say only or solely go as well), with the cleaning.

    Cost: 0.2 to 1 CPU-milliseconds a caption of 100 words.

    Example rules: `text_clean IS NOT NULL`, `len(text_clean) >= 40 AND NOT has_url`, `NOT list_contains(clean_steps, 'repeats')`.
    """

    version: ClassVar[int] = 1

    type: Literal["clean"] = "clean"
    column: str = Field(default="text", description="column that holds the text")
    into: ColumnName = Field(default="text_clean", description="column for the cleaned text")
    preset: Literal["gentle", "opensora"] = "gentle"
    mojibake: bool = Field(default=True, description="mend text that was decoded wrongly (`cafÃ©`)")
    html: bool = Field(default=True, description="take out tags, and write entities (`&amp;`) as their characters")
    urls: bool = Field(default=True, description="take out links")
    handles: bool = Field(default=True, description="take out @names, mail and IP addresses")
    file_names: bool = Field(default=True, description="take out names of media files (`IMG_2041.jpg`)")
    adverts: bool = Field(default=False, description="take out `click here`, `free shipping`, `download` and the like")
    quotes: bool = Field(default=True, description="straight quotes, one kind of hyphen, no runs of marks (`!!!`)")
    opening: bool | None = Field(default=None, description="take out `The video shows` and the like; null: true")
    denials: bool | None = Field(
        default=None, description="leave out sentences that say what is not there; null: true, opensora: false"
    )
    guesses: bool | None = Field(
        default=None,
        description="leave out guesses behind a comma, and sentences that guess; null: true, opensora: false",
    )
    unfinished: bool | None = Field(
        default=None, description="leave out an unfinished last sentence; null: true, opensora: false"
    )
    repeats: bool | None = Field(
        default=None, description="sentences, and phrases that loop, only once; null: true, opensora: false"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Clean":
        if self.into in OWN:
            raise ValueError(f"into: {self.into} is another of its columns")
        if self.into == self.column:
            raise ValueError(f"column and into are both {self.into}: a column is written once, and the raw text stays")
        fields = type(self).model_fields
        if self.preset == "opensora":
            set_too = [name for name, _ in MARKS if getattr(self, name) != fields[name].default]
            if set_too:
                raise ValueError(
                    f"preset opensora has its own way with {', '.join(set_too)}: leave it out, or use gentle"
                )
        return self

    @property
    def reads(self) -> Sequence[str]:
        """The text."""
        return (self.column,)

    @property
    def writes(self) -> Columns:
        """The cleaned text, whether the raw one has a link, and what was done."""
        return {self.into: string, "has_url": bool_, "clean_steps": list_of(string)}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._result(view.row[self.column]) for view in batch]

    def _result(self, text: Any) -> Result:  # noqa: ANN401  whatever the column holds
        if text is None:
            return dict.fromkeys(self.writes)
        if not isinstance(text, str):
            return ClipError(f"its column {self.column} holds {text!r:.40}, and clean reads text")
        cleaned, changing = self.cleaned(text)
        return {self.into: cleaned or None, "has_url": has_url(text), "clean_steps": changing}

    def cleaned(self, text: str) -> tuple[str, list[str]]:
        """The cleaned text, maybe empty, and the steps that changed it."""
        steps = self._steps()
        changing: set[str] = set()
        while True:
            before = text
            text = tidy(visible(text))
            for name, step in steps:
                if (after := step(text)) != text:
                    changing.add(name)
                    text = tidy(after) if self.preset == "gentle" else after
            if text == before or self.preset == "opensora":
                return text, list(dict.fromkeys(name for name, _ in steps if name in changing))

    def _steps(self) -> list[Step]:
        is_gentle = self.preset == "gentle"
        denial = DENIAL if is_gentle else OPENSORA_DENIAL
        sentences: list[tuple[bool | None, Step]] = [
            (self.denials, ("denials", lambda text: without_sentences(text, denial))),
            (self.guesses, ("guesses", without_guesses)),
            (self.unfinished, ("unfinished", without_unfinished)),
            (self.repeats, ("repeats", without_repeats)),
        ]
        chosen = [step for wanted, step in sentences if (is_gentle if wanted is None else wanted)]
        opening = [("opening", without_opening if is_gentle else without_opensora_opening)]
        opening = [] if self.opening is False else opening
        if is_gentle:
            return [*(step for step in MARKS if getattr(self, step[0])), *opening, *chosen]
        return [*opening, *chosen, ("opensora", t5_cleaned), ("opensora", t5_cleaned)]
