"""Prompts: a preset by its name, several of them in a mix, or a template of the config's author over the row's columns.

A template is Jinja in a sandbox: it reads columns (`{{ cmotion }}`), and nothing else. A row's texts are data: what looks like
a template in them is not rendered, and what looks like a special token of a model is taken apart.
"""

import difflib
import hashlib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shardpipe.stages._presets import PRESETS

CUSTOM = "custom"
KNOWN_TEXT = "known_text"
"""What a template calls the text that it is to work on, whichever column that is in."""

TOKENS = re.compile(r"<(?=[|\uff5c/!\w])|\[(?=/?[A-Z][A-Z_]*\])")
"""How special tokens begin: `<|im_end|>`, `<image>`, `</s>`, `[INST]`."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

WORD = re.compile(r"[A-Za-z0-9_-]+\Z")
"""What can only be the name of a preset."""

PromptField = str | dict[str, float]


class PromptError(Exception):
    """A template that cannot be rendered for a clip. One line."""


@dataclass(frozen=True)
class Prompts:
    """templates: by name, `custom` for the author's own. weights: how often each is taken, of a mix."""

    templates: Mapping[str, str]
    weights: Mapping[str, float]
    seed: int = 0

    @staticmethod
    def of(prompt: PromptField, *, seed: int) -> "Prompts":
        """Those that a field names; the field has been checked."""
        if isinstance(prompt, Mapping):
            return Prompts({name: PRESETS[name].text for name in sorted(prompt)}, prompt, seed)
        if prompt in PRESETS:
            return Prompts({prompt: PRESETS[prompt].text}, {prompt: 1.0})
        return Prompts({CUSTOM: prompt}, {CUSTOM: 1.0})

    @property
    def variables(self) -> frozenset[str]:
        """All that one of them reads."""
        return frozenset[str]().union(*(variables_of(text) for text in self.templates.values()))

    def name_for(self, key: str) -> str:
        """The one for a clip: its key and the seed decide, the order in which a mix names them does not."""
        names = sorted(self.templates)
        drawn = int.from_bytes(hashlib.sha256(f"{self.seed}:prompt:{key}".encode()).digest()[:8], "big") / 2**64
        left = drawn * sum(self.weights[name] for name in names)
        for name in names:
            left -= self.weights[name]
            if left < 0:
                return name
        return names[-1]


def check_prompt(prompt: PromptField, presets: Collection[str]) -> PromptField:
    """A `prompt` as it is, if it is one of these presets, a mix of them, or a template; ValueError says what is wrong."""
    if isinstance(prompt, Mapping):
        if not prompt:
            raise ValueError("an empty mix: name presets and how often each is taken, such as {video: 0.7, short: 0.3}")
        for name, weight in prompt.items():
            _check_preset(name, presets)
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(f"{name}: {weight} is no share; give a number above 0")
        return prompt
    if WORD.match(prompt):
        _check_preset(prompt, presets)
    else:
        check_template(prompt)
    return prompt


def check_template(text: str) -> str:
    """A template as it is; ValueError with the line for what is none."""
    if not text.strip():
        raise ValueError("an empty prompt")
    try:
        tree = _environment().parse(text)
        _template(text)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno} of the prompt: {error.message}") from None
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise ValueError(f"line {node.lineno} of the prompt: a prompt stands alone; it includes and imports nothing")
    return text


def _check_preset(name: str, presets: Collection[str]) -> None:
    if name in presets:
        return
    if name in PRESETS:
        raise ValueError(f"preset {name} is for another stage; here there are {', '.join(presets)}")
    near = difflib.get_close_matches(name, presets, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(presets)}"
    raise ValueError(f"{name!r} is no preset: {hint} (a prompt of your own is more than one word)")


@lru_cache(maxsize=256)
def variables_of(text: str) -> frozenset[str]:
    """The names that a template reads and does not set itself."""
    return frozenset(meta.find_undeclared_variables(_environment().parse(text)))


def render(text: str, values: Mapping[str, Any]) -> str:
    """A template with these values, stripped; PromptError where it cannot be written."""
    try:
        return _template(text).render(values).strip()
    except Exception as error:  # a template raises whatever its expressions do
        first = (str(error).strip().splitlines() or [""])[0]
        nulls = ", ".join(sorted(name for name, value in values.items() if value is None))
        hint = f" ({nulls} is null here: `{{% if ... is not none %}}`)" if nulls else ""
        raise PromptError(f"its prompt cannot be written: {type(error).__name__}: {first:.200}{hint}") from error


def as_data(value: Any, max_chars: int) -> Any:  # noqa: ANN401  a row's value
    """A row's value for a prompt: texts cut, a list's texts together, without control characters or special tokens."""
    if isinstance(value, str):
        return TOKENS.sub(lambda found: f"{found[0]} ", CONTROL.sub(" ", value[:max_chars]))
    if isinstance(value, list | tuple):
        kept, left = [], max_chars
        for item in value:
            if left <= 0:
                break
            kept.append(as_data(item, left))
            left -= len(printed(item))
        return kept
    return value


def printed(value: Any) -> str:  # noqa: ANN401
    """A value as a prompt says it: nothing for null, `pan_left, zoom_in` for a list, six digits of a number."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(printed(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        autoescape=False,  # text for a model, not HTML
        undefined=jinja2.StrictUndefined,
        finalize=printed,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.clear()  # a name is a column
    return made


@lru_cache(maxsize=256)
def _template(text: str) -> jinja2.Template:
    return _environment().from_string(text)
