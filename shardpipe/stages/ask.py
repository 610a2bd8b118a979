"""Ask: a question about each clip, answered by a vision-language model with yes or no, a choice or a score."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from shardpipe.core.columns import ColumnName, Columns, bool_, int64, string
from shardpipe.core.stage import Result
from shardpipe.models.generate.request import Answer, Guide
from shardpipe.stages._answers import as_bool, as_choice, as_score, judged
from shardpipe.stages._choices import check_choices, choices_form
from shardpipe.stages._prompts import CUSTOM, Prompts, check_template
from shardpipe.stages._seeing import SeeingStage

YES_NO = ("yes", "no")
MAX_SCORES = 101


class Ask(SeeingStage):
    """Asks a vision-language model one question about each clip, and writes the answer as a column for rules.

    `<name>`        answer yes_no: bool; choice: string, one of `choices`; score: int64, within `range`. Null where the answer is none
                    of these, and `<name>_finish` says why.
    `<name>_finish` string: `stop` or `length`, there is an answer; without one `empty`, `refusal`, `content_filter` (a server's),
                    `unparsed` (the answer fits none).

        {type: ask, model: M, name: is_screen, question: "Is this a recording of a computer's screen?"}
        {type: ask, model: M, name: view, question: "From where is it seen?", answer: choice, choices: [ground, air, water]}
        {type: ask, model: M, name: action, question: "How much happens? 1 is nothing, 5 a lot.", answer: score, range: [1, 5]}

    The question is a template over the row ("Does the clip show this: {{ text }}?"), as in `caption`; num_frames 0 asks without
    frames. The answer is guided where the engine guides; else it is looked for in what the model says: `Yes, it is.`, `4/5`.

    What a model answers is no measurement: look at a sample of both answers before a rule drops clips by it.

    Cost: the model: each frame's tokens once, and one or two tokens of an answer; beside it under 1 ms a clip.

    Example rules for the stages above: `NOT is_screen`, `view IN ('ground', 'water')`, `action >= 3`.
    """

    version: ClassVar[int] = 1

    type: Literal["ask"] = "ask"
    name: ColumnName = Field(description="of its column")
    question: str = Field(description="a template over the row's columns")
    answer: Literal["yes_no", "choice", "score"] = Field(default="yes_no", description="the form of the answer")
    choices: tuple[str, ...] = Field(default=(), description="with answer choice: the answers")
    range: tuple[int, int] | None = Field(default=None, description="with answer score: least and most; null: 1 and 5")
    max_tokens: int = Field(default=32, ge=1, description="of an answer")

    @field_validator("question")
    @classmethod
    def _is_template(cls, question: str) -> str:
        return check_template(question)

    @model_validator(mode="after")
    def _form_fits(self) -> "Ask":
        if (self.answer == "choice") != bool(self.choices):
            raise ValueError("choices and answer: choice go together")
        if self.range is not None and self.answer != "score":
            raise ValueError("range is for answer: score")
        check_choices(self._choices)
        return self

    @property
    def scores(self) -> tuple[int, int]:
        """The least and the most."""
        return self.range or (1, 5)

    @property
    def _choices(self) -> tuple[str, ...]:
        if self.answer == "yes_no":
            return YES_NO
        if self.answer == "choice":
            return self.choices
        least, most = self.scores
        if not 0 < most - least < MAX_SCORES:
            raise ValueError(f"range: give least and most, at most {MAX_SCORES - 1} apart, not [{least}, {most}]")
        return tuple(str(score) for score in range(least, most + 1))

    @property
    def prompts(self) -> Prompts:
        """The question."""
        return Prompts({CUSTOM: self.question}, {CUSTOM: 1.0})

    @property
    def form(self) -> str:
        """Yes or no, a choice, or a number."""
        if self.answer == "yes_no":
            return "Answer with yes or no and nothing else."
        if self.answer == "choice":
            return choices_form(self.choices)
        return "Answer with one whole number from {} to {} and nothing else.".format(*self.scores)

    @property
    def guide(self) -> Guide:
        """The same for the engine."""
        return Guide(choices=self._choices)

    @property
    def writes(self) -> Columns:
        """The answer, and how it came about."""
        kind = {"yes_no": bool_, "choice": string, "score": int64}[self.answer]
        return {self.name: kind, f"{self.name}_finish": string}

    def answered(self, prompt: str, answer: Answer) -> Result:  # noqa: ARG002  there is one
        """What the answer says."""
        text, finish = judged(answer)
        if text is None:
            return {self.name: None, f"{self.name}_finish": finish}
        value: bool | str | int | None
        match self.answer:
            case "yes_no":
                value = as_bool(text)
            case "choice":
                value = as_choice(text, self.choices)
            case _:
                value = as_score(text, *self.scores)
        return {self.name: value, f"{self.name}_finish": "unparsed" if value is None else finish}
