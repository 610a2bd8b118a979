"""Caption: a description of each clip by a vision-language model, as a text or as fields of their own."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from shardpipe.core.columns import (
    ColumnName,
    Columns,
    ColumnType,
    bool_,
    float64,
    int64,
    is_column_name,
    list_of,
    string,
)
from shardpipe.core.stage import Result
from shardpipe.models.generate.request import Answer, Guide
from shardpipe.stages._answers import FieldKind, as_kind, first_object, judged, sentences, worded
from shardpipe.stages._asking import NO_TEXT
from shardpipe.stages._presets import PARTS, PRESETS
from shardpipe.stages._prompts import KNOWN_TEXT, PromptField, Prompts, check_prompt
from shardpipe.stages._refusals import is_refusal
from shardpipe.stages._schema import object_schema
from shardpipe.stages._seeing import SeeingStage
from shardpipe.stages._written import BESIDE, WritingStage, not_written, written, written_columns

JSON_PRESET = "structured_json"
HERE = tuple(name for name, preset in PRESETS.items() if preset.sees)
KINDS: Mapping[FieldKind, ColumnType] = {
    "string": string,
    "int": int64,
    "float": float64,
    "bool": bool_,
    "[string]": list_of(string),
}
IN_WORDS: Mapping[FieldKind, str] = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "[string]": "a list of short texts",
}
MAX_FIELD_CHARS = 1000
MAX_ITEMS = 16
MAX_ITEM_CHARS = 100
PAIR = 2


class Caption(WritingStage, SeeingStage):
    """Describes each clip by a vision-language model, on frames spread over it (see docs/captions.md).

    `<into>`           string, by default `text`: the description; null where there is none, and `<into>_finish` says why.
    `<into>_model`     string: the model, by the last part of its name or folder, or `model_name`; of a server, its name there.
    `<into>_prompt`    string: the preset that was asked, or `custom`.
    `<into>_tokens`    int64: tokens of the answer.
    `<into>_truncated` bool: whether the answer ends at max_tokens (or at the model's context) and not by itself. Its text is kept.
    `<into>_finish`    string: `stop` or `length`, there is a text; without one `empty`, `refusal`, `content_filter` (a server's),
                       `unparsed` (no JSON), `no_text` (nothing was asked, as `known_text` is null or empty).
    `<into>_<field>`   with `fields`: string, int64, float64, bool or list of string; null where the answer has none that fits.

    `prompt` is a preset, a mix of presets by their shares (`{video: 0.7, short: 0.3}`; a clip's key and the seed decide), or a
    template of your own over the row: "Describe the clip. {% if cmotion %}The camera: {{ cmotion }}.{% endif %}". Anything but a
    single word is a template. Columns that it names must exist. Lists are joined by commas, null is nothing, texts of
    the row are data: cut at max_text_chars, never rendered, special tokens in them taken apart.

    presets: `image` (one frame, by default the middle one), `frames`, `video`, `short` (one to three sentences), `person`,
    `structured` (subject, motion, scene, atmosphere, light, camera, as prose in that order), `structured_json` (the same six as
    fields); on an existing caption (`known_text: COLUMN`): `rewrite`, and `verify`, which corrects what frames do not show.

    `fields: {subject: string, num_people: int, has_text: bool, colours: [string]}` asks for JSON, guided where the engine guides;
    `<into>` is then its strings in their order, as one text.

    engines: `vllm` and `transformers` run the model in process, `openai` asks a server. A setting that the engine has no use for is
    refused. Equal settings share one engine within a pass, so that several captions a clip load the model once.

    Cost: the model: answers' tokens by the engine's tokens a second, and each frame's tokens once. Beside it, copying the frames and
    writing the prompt take under 1 ms a clip.

    Example rules: `text IS NOT NULL AND NOT text_truncated`, `text_finish = 'stop'`, `text_tokens >= 20`.
    """

    version: ClassVar[int] = 1

    type: Literal["caption"] = "caption"
    prompt: PromptField = Field(
        default="video", description="a preset, a mapping of presets to shares, or a template over the row's columns"
    )
    known_text: str | None = Field(
        default=None, description="column of an existing caption, for presets rewrite and verify"
    )
    fields: dict[str, FieldKind] = Field(
        default={}, description="fields of a JSON answer: name to string, int, float, bool or [string]"
    )
    into: ColumnName = Field(default="text", description="column for the caption, and how the others begin")

    @field_validator("prompt")
    @classmethod
    def _is_prompt(cls, prompt: PromptField) -> PromptField:
        return check_prompt(prompt, HERE)

    @field_validator("fields", mode="before")
    @classmethod
    def _with_lists(cls, fields: Any) -> Any:  # noqa: ANN401  whatever stands in the config
        """Pairs as a mapping, and the YAML list [string] as its name."""
        if isinstance(fields, list) and all(isinstance(pair, list | tuple) and len(pair) == PAIR for pair in fields):
            fields = dict(fields)
        if not isinstance(fields, Mapping):
            return fields
        return {name: "[string]" if kind == ["string"] else kind for name, kind in fields.items()}

    @field_serializer("fields", when_used="json")
    def _in_order(self, fields: dict[str, FieldKind]) -> list[list[str]]:
        """Pairs: JSON's keys are sorted where it is hashed and stored, and the order of fields counts."""
        return [[name, kind] for name, kind in fields.items()]

    @model_validator(mode="after")
    def _prompt_fits(self) -> "Caption":
        named = self.prompts.templates
        presets = [PRESETS[name] for name in named if name in PRESETS]
        if self.sampling is None and presets:
            raise ValueError(f"preset {', '.join(named)} asks about frames, and num_frames is 0")
        knows = KNOWN_TEXT in self.prompts.variables
        if self.known_text is not None and not knows:
            raise ValueError(
                "known_text does nothing with this prompt: use preset rewrite or verify, or {{ known_text }}"
            )
        if self.known_text is None and any(preset.knows for preset in presets):
            raise ValueError("presets rewrite and verify work on a text: name its column in known_text")
        if JSON_PRESET in named and (len(named) > 1 or self.fields):
            raise ValueError(
                f"preset {JSON_PRESET} has its six fields: it goes with neither `fields` nor other presets"
            )
        self._check_fields()
        return self

    def _check_fields(self) -> None:
        for name in self.fields:
            if not is_column_name(f"{self.into}_{name}") or name in BESIDE:
                raise ValueError(
                    f"fields: {name!r} gives no column of its own: small letters, digits and _, and not {', '.join(BESIDE)}"
                )
        if self.fields and "string" not in self.fields.values():
            raise ValueError(f"fields: column {self.into} is made of the strings among them, and there is none")

    @property
    def prompts(self) -> Prompts:
        """As the field says."""
        return Prompts.of(self.prompt, seed=self.seed)

    @property
    def default_num_frames(self) -> int:
        """One for preset image."""
        return 1 if list(self.prompts.templates) == ["image"] else super().default_num_frames

    @property
    def known_column(self) -> str | None:
        """The existing caption."""
        return self.known_text

    @property
    def asked_fields(self) -> Mapping[str, FieldKind]:
        """Those of a JSON answer; none for plain text."""
        return dict.fromkeys(PARTS, "string") if self.prompt == JSON_PRESET else self.fields

    @property
    def writes(self) -> Columns:
        """The caption, how it came about, and its fields."""
        fields = {f"{self.into}_{name}": KINDS[kind] for name, kind in self.asked_fields.items()}
        return {**written_columns(self.into), **fields}

    @property
    def form(self) -> str:
        """A JSON object with the fields."""
        if not self.asked_fields:
            return ""
        lines = "\n".join(f'"{name}": {IN_WORDS[kind]}' for name, kind in self.asked_fields.items())
        return f"Answer with one JSON object and nothing else. It has these fields, in this order:\n{lines}"

    @property
    def guide(self) -> Guide | None:
        """The same as a schema."""
        if not self.asked_fields:
            return None
        return Guide(json_schema=object_schema({name: _schema(kind) for name, kind in self.asked_fields.items()}))

    def answered(self, prompt: str, answer: Answer) -> Result:
        """The answer, or its fields."""
        text, finish = judged(answer) if self.asked_fields else worded(answer)
        values: dict[str, Any] = dict.fromkeys(self.asked_fields)
        if self.asked_fields and text is not None:
            text, finish, values = self._parsed(text, finish)
        return {
            **written(self.into, text, finish, model=self.label, prompt=prompt, answer=answer),
            **{f"{self.into}_{name}": value for name, value in values.items()},
        }

    def unasked(self) -> Result:
        """All null, but for the reason."""
        return {**dict.fromkeys(self.writes), **not_written(self.into, NO_TEXT)}

    def _parsed(self, text: str, finish: str) -> tuple[str | None, str, dict[str, Any]]:
        """The joined text, how it ended, and the fields."""
        nothing = dict.fromkeys(self.asked_fields)
        found = first_object(text, self.asked_fields)
        if found is None:
            return None, "unparsed", nothing
        values = {
            name: as_kind(
                found.get(name),
                kind,
                max_chars=MAX_FIELD_CHARS if kind == "string" else MAX_ITEM_CHARS,
                max_items=MAX_ITEMS,
            )
            for name, kind in self.asked_fields.items()
        }
        strings = [name for name, kind in self.asked_fields.items() if kind == "string"]
        joined = sentences({name: values[name] for name in strings if values[name]})
        if not joined:
            return None, "empty", nothing
        if is_refusal(joined):
            return None, "refusal", nothing
        return joined, finish, values


def _schema(kind: FieldKind) -> dict[str, Any]:
    match kind:
        case "string":
            return {"type": "string", "maxLength": MAX_FIELD_CHARS}
        case "[string]":
            return {"type": "array", "items": {"type": "string", "maxLength": MAX_ITEM_CHARS}, "maxItems": MAX_ITEMS}
        case "int":
            return {"type": "integer"}
        case "float":
            return {"type": "number"}
        case _:
            return {"type": "boolean"}
