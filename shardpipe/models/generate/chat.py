"""The chat template of a model: a request as the text that the model was trained to answer."""

from pathlib import Path
from typing import Any

from shardpipe.core.errors import ConfigError
from shardpipe.models.generate.request import Request
from shardpipe.models.generate.special_tokens import SpecialTokens
from shardpipe.models.imports import import_model_library


class ChatTemplate:
    """The processor of a model's folder (its tokenizer, where it has no pictures), and the prompts that its template makes.

    Raises ConfigError where the folder has no chat template: a base model that was never taught to answer.
    """

    def __init__(self, folder: Path) -> None:
        transformers: Any = import_model_library("transformers")
        try:
            self.processor: Any = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{folder}: its processor cannot be loaded: {error}") from error
        self.sees_pictures = hasattr(self.processor, "tokenizer")
        self.tokenizer: Any = self.processor.tokenizer if self.sees_pictures else self.processor
        if not (getattr(self.processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None)):
            raise ConfigError(f"{folder} has no chat template: name a model that was tuned to follow instructions")
        self._special = SpecialTokens(self.tokenizer)

    def prompt_of(self, request: Request) -> str:
        """The whole prompt, with a placeholder for each picture or video, and the start of the answer.

        What the request says holds no special tokens: those in it are left out.
        """
        messages: list[dict[str, Any]] = []
        if request.system is not None:
            messages.append({"role": "system", "content": self._content([], request.system)})
        num_frames = 0 if request.frames is None else len(request.frames)
        media = [{"type": "video"}] if num_frames and request.as_video else [{"type": "image"}] * num_frames
        messages.append({"role": "user", "content": self._content(media, request.prompt)})
        source = self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer
        made: str = source.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return made

    def _content(self, media: list[dict[str, str]], text: str) -> Any:  # noqa: ANN401  as templates take it
        text = self._special.taken_out(text)
        return [*media, {"type": "text", "text": text}] if self.sees_pictures else text
