"""Llm: a text of each clip written anew, checked or put into classes by a language model, without frames."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from shardpipe.core.columns import ColumnName, Columns
from shardpipe.core.stage import Result
from shardpipe.models.generate.request import Answer, Guide
from shardpipe.stages._answers import as_choice, judged, worded
from shardpipe.stages._asking import NO_TEXT
from shardpipe.stages._choices import check_choices, choices_form
from shardpipe.stages._presets import PRESETS
from shardpipe.stages._prompts import KNOWN_TEXT, PromptField, Prompts, check_prompt
from shardpipe.stages._written import WritingStage, not_written, written, written_columns

HERE = tuple(name for name, preset in PRESETS.items() if not preset.sees)
CLASSIFY = "classify"


class Llm(WritingStage):
    """Works on a text of each clip with a language model: writes it anew, enriches it, checks it, or classifies it. Sees no frames.

    `<into>`           string, by default `text_llm`: the new text, or one of `choices`; null where there is none, and
                       `<into>_finish` says why. The text in `column` stays.
    `<into>_model`     string: the model, by the last part of its name or folder, or `model_name`; of a server, its name there.
    `<into>_prompt`    string: the preset that was asked, or `custom`.
    `<into>_tokens`    int64: tokens of the answer.
    `<into>_truncated` bool: whether the answer ends at max_tokens and not by itself. Its text is kept.
    `<into>_finish`    string: `stop` or `length`, there is a text; without one `empty`, `refusal`, `content_filter` (a server's),
                       `unparsed` (none of the choices), `no_text` (`column` is null or empty, and nothing was asked).

    presets: `rewrite_text` (plain sentences, no fact lost or added), `enhance` (richer words, no new facts), `structured_text`
    (subject, motion, scene, atmosphere, light, camera), `verify_text` (takes out guesses and contradictions, also to `facts`), and
    with `choices` `classify`. `facts: [cmotion, ocr_text]` adds measured columns to any prompt. A template of your own reads any
    column, and calls the text in `column` `known_text`: "Translate to French: {{ known_text }}".

    `choices: [indoor, outdoor]` guides the answer to one of them, where the engine guides; else it is looked for in the answer.

    Cost: the model: answers' tokens by the engine's tokens a second; beside it under 1 ms a clip.

    Example rules: `text_llm IS NOT NULL AND NOT text_llm_truncated`, `text_llm IN ('indoor', 'outdoor')`.
    """

    version: ClassVar[int] = 1

    type: Literal["llm"] = "llm"
    column: str | None = Field(
        default=None, min_length=1, description="column of the text that a prompt calls known_text; null: text"
    )
    prompt: PromptField | None = Field(
        default=None,
        description="a preset, a mapping of presets to shares, or a template; null: rewrite_text, with choices classify",
    )
    choices: tuple[str, ...] = Field(default=(), description="classes: the answer is one of them")
    into: ColumnName = Field(default="text_llm", description="column for the answer, and how the others begin")

    @field_validator("prompt")
    @classmethod
    def _is_prompt(cls, prompt: PromptField | None) -> PromptField | None:
        return None if prompt is None else check_prompt(prompt, HERE)

    @field_validator("choices")
    @classmethod
    def _are_choices(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        return check_choices(choices) if choices else choices

    @model_validator(mode="after")
    def _prompt_fits(self) -> "Llm":
        named = set(self.prompts.templates)
        if self.choices and not named <= {CLASSIFY, "custom"}:
            raise ValueError(
                f"choices go with preset {CLASSIFY} or a template of your own, not with {', '.join(sorted(named))}"
            )
        if CLASSIFY in named and not self.choices:
            raise ValueError(f"preset {CLASSIFY} needs choices: name the classes")
        if self.column is not None and KNOWN_TEXT not in self.prompts.variables:
            raise ValueError(
                f"column does nothing with this prompt: write {{{{ {KNOWN_TEXT} }}}} where its text belongs"
            )
        return self

    @property
    def prompts(self) -> Prompts:
        """As the field says."""
        return Prompts.of(self.prompt or (CLASSIFY if self.choices else "rewrite_text"), seed=self.seed)

    @property
    def known_column(self) -> str:
        """The text that it works on."""
        return self.column or "text"

    @property
    def form(self) -> str:
        """One of the choices."""
        return choices_form(self.choices) if self.choices else ""

    @property
    def guide(self) -> Guide | None:
        """The same for the engine."""
        return Guide(choices=self.choices) if self.choices else None

    @property
    def writes(self) -> Columns:
        """The answer, and how it came about."""
        return written_columns(self.into)

    def answered(self, prompt: str, answer: Answer) -> Result:
        """The answer, or the choice in it."""
        text, finish = judged(answer) if self.choices else worded(answer)
        if self.choices and text is not None:
            text = as_choice(text, self.choices)
            finish = "unparsed" if text is None else finish
        return written(self.into, text, finish, model=self.label, prompt=prompt, answer=answer)

    def unasked(self) -> Result:
        """All null, but for the reason."""
        return not_written(self.into, NO_TEXT)
