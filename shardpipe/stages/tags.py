"""Tags: lists of objects, actions and the like, from a clip's frames or from its caption."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from shardpipe.core.clip import CLIP_COLUMNS
from shardpipe.core.columns import Columns, is_column_name, list_of, string
from shardpipe.core.frames import Spread
from shardpipe.core.stage import Result
from shardpipe.models.generate.request import Answer, Guide
from shardpipe.stages._answers import judged, lists_in
from shardpipe.stages._asking import NO_TEXT
from shardpipe.stages._presets import DATA, KNOWN
from shardpipe.stages._prompts import CUSTOM, KNOWN_TEXT, Prompts, check_template
from shardpipe.stages._schema import object_schema
from shardpipe.stages._seeing import SeeingStage

MEANINGS: Mapping[str, str] = {
    "objects": "people, animals and things that are there",
    "actions": "what they do, a verb or a short phrase each",
    "scene": "the kind of place, time of day and weather",
    "style": "how the picture is made and looks: film, animation, screen recording, black and white, slow motion",
}
"""Of the keys that have one without being told."""


class Tags(SeeingStage):
    """Lists what a clip shows under the keys that you name, as lists of short texts: from its frames, its caption, or both.

    `<prefix><key>`        list of string, one column a key: each tag once, trimmed, in the answer's order; an empty list where the
                           model says that there is none ([], NONE), null where the answer says nothing that could be read. A key
                           whose name is a column of each clip's, as `scene` is, gets `<key>_tags`: `scene_tags`.
    `<prefix>tags_finish`  string: `stop` or `length`, at least one key was read; without one `empty`, `refusal`, `content_filter` (a
                           server's), `unparsed`, `no_text` (`column` is null or empty, and nothing was asked).

    keys: `objects`, `actions`, `scene`, `style`, and any of your own, with `meanings: {vehicles: cars, ships and aircraft}` where the
    name alone does not say it. Without `column` it looks at frames; with `column: text` it reads that caption; with both `column` and
    num_frames (or fps, fractions) it does both. `prompt` replaces the task by a template of yours.

    The answer is guided to JSON where the engine guides; else JSON is looked for in what the model says, then lists in brackets
    (`objects: [dog, ball]`, or of a single key `[dog, ball]`). Tags of more than max_tag_chars are sentences, and left out.

    Cost: the model: frames' or caption's tokens once, and some tokens a tag; beside it under 1 ms a clip.

    Example rules: `list_contains(objects, 'dog')`, `len(actions) > 0`, `tags_finish = 'stop'`.
    """

    version: ClassVar[int] = 1

    type: Literal["tags"] = "tags"
    keys: tuple[str, ...] = Field(
        default=("objects", "actions"), min_length=1, max_length=16, description="a column each"
    )
    meanings: dict[str, str] = Field(default={}, description="what a key asks for, where its name does not say it")
    prefix: str = Field(default="", pattern=r"^([a-z_][a-z0-9_]*)?$", description="how its columns begin")
    column: str | None = Field(
        default=None, description="column of the caption to read; null: only frames are looked at"
    )
    prompt: str | None = Field(
        default=None, description="a template in place of our task; it calls the caption known_text"
    )
    max_tags: int = Field(default=16, ge=1, le=64, description="of a key")
    max_tag_chars: int = Field(default=64, ge=1, le=1000, description="of a tag")

    @field_validator("prompt")
    @classmethod
    def _is_template(cls, prompt: str | None) -> str | None:
        return None if prompt is None else check_template(prompt)

    @model_validator(mode="after")
    def _keys_fit(self) -> "Tags":
        if len(set(self.keys)) < len(self.keys):
            raise ValueError("keys: one stands there twice")
        if len(self.writes) <= len(self.keys):
            raise ValueError(
                f"keys: two of the columns {', '.join([*map(self.column_of, self.keys), self._finish])} are the same"
            )
        for column in self.writes:
            if not is_column_name(column):
                raise ValueError(f"keys: {column!r} is no column name: small letters, digits and _, and not reserved")
        if strange := sorted(set(self.meanings) - set(self.keys)):
            raise ValueError(f"meanings: {', '.join(strange)} is none of the keys")
        if self.column is not None and KNOWN_TEXT not in self.prompts.variables:
            raise ValueError(
                f"column does nothing with this prompt: write {{{{ {KNOWN_TEXT} }}}} where its text belongs"
            )
        return self

    @property
    def sampling(self) -> Spread | None:
        """None where it reads a caption, and nothing asks for frames."""
        asked = (self.num_frames, self.fps, self.fractions)
        return None if self.column is not None and all(each is None for each in asked) else super().sampling

    @property
    def known_column(self) -> str | None:
        """The caption."""
        return self.column

    @property
    def prompts(self) -> Prompts:
        """List what frames or caption show."""
        return Prompts({CUSTOM: self.prompt or self._task}, {CUSTOM: 1.0})

    @property
    def _task(self) -> str:
        what = "this video clip" if self.sampling is not None else "a video clip, by its description"
        rules = "Short lower-case tags, no sentences; only what is certain"
        text = f" Its description: {DATA}\n{KNOWN}" if self.column is not None else ""
        return f"Tag {what}. {rules}.{text}"

    @property
    def form(self) -> str:
        """A JSON object with a list a key."""
        meanings = {**MEANINGS, **self.meanings}
        lines = "\n".join(f'"{key}": {meanings.get(key, key.replace("_", " "))}' for key in self.keys)
        empty = f"at most {self.max_tags} tags each, and an empty list [] where there is none"
        return (
            f"Answer with one JSON object and nothing else. It has a list of texts for each of these, {empty}:\n{lines}"
        )

    @property
    def guide(self) -> Guide:
        """The same as a schema."""
        tags = {
            "type": "array",
            "items": {"type": "string", "maxLength": self.max_tag_chars},
            "maxItems": self.max_tags,
        }
        return Guide(json_schema=object_schema(dict.fromkeys(self.keys, tags)))

    @property
    def writes(self) -> Columns:
        """A list a key, and how they came about."""
        return {**{self.column_of(key): list_of(string) for key in self.keys}, self._finish: string}

    @property
    def _finish(self) -> str:
        return f"{self.prefix}tags_finish"

    def column_of(self, key: str) -> str:
        """The column of a key."""
        name = f"{self.prefix}{key}"
        return f"{name}_tags" if name in CLIP_COLUMNS else name

    def answered(self, prompt: str, answer: Answer) -> Result:  # noqa: ARG002  there is one
        """The lists in the answer."""
        text, finish = judged(answer)
        found: Mapping[str, list[str] | None] = dict.fromkeys(self.keys)
        if text is not None:
            found = lists_in(text, self.keys, max_chars=self.max_tag_chars)
            finish = "unparsed" if all(tags is None for tags in found.values()) else finish
        return self._row({key: tags if tags is None else tags[: self.max_tags] for key, tags in found.items()}, finish)

    def unasked(self) -> Result:
        """All null, but for the reason."""
        return self._row(dict.fromkeys(self.keys), NO_TEXT)

    def _row(self, found: Mapping[str, list[str] | None], finish: str) -> Result:
        return {**{self.column_of(key): tags for key, tags in found.items()}, self._finish: finish}
