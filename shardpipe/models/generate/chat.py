"""Requests as the inputs of a model of transformers, by its own chat template and processor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from shardpipe.core.errors import ConfigError
from shardpipe.models.generate.request import Request
from shardpipe.models.generate.special_tokens import SpecialTokens
from shardpipe.models.generate.video_input import video_metadata
from shardpipe.models.imports import import_model_library

Kind = Literal["text", "images", "video"]


def kind_of(request: Request) -> Kind:
    """What it gives to look at."""
    if request.frames is None or not len(request.frames):
        return "text"
    return "video" if request.as_video else "images"


def sees_pictures(config: Any) -> bool:  # noqa: ANN401  of transformers
    """Whether a model with this config takes pictures."""
    return type(config) in import_model_library("transformers").MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


class Chat:
    """The tokenizer, processor and chat template of a model. Raises ConfigError where the folder lacks one that is needed.

    sees: whether it takes pictures.
    """

    def __init__(self, folder: Path, *, sees: bool) -> None:
        transformers = import_model_library("transformers")
        loader = transformers.AutoProcessor if sees else transformers.AutoTokenizer
        self._processor: Any = loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self.tokenizer: Any = self._processor.tokenizer if sees else self._processor
        self.tokenizer.padding_side = "left"  # the answers follow the prompts
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if not self.tokenizer("a word", add_special_tokens=False)[
            "input_ids"
        ]:  # transformers makes an empty one where none lies
            raise ConfigError(f"{folder} holds no tokenizer: copy the tokenizer files of the model there")
        self._sees = sees
        self._special = SpecialTokens(self.tokenizer)
        try:
            self.written(Request("", "?"))
        except Exception as error:
            raise ConfigError(f"{folder}: its chat template cannot be used ({error})") from error

    def takes(self, kind: Kind) -> bool:
        """Whether it can be given such input."""
        part = {"text": "tokenizer", "images": "image_processor", "video": "video_processor"}[kind]
        return kind == "text" or (self._sees and getattr(self._processor, part, None) is not None)

    def written(self, request: Request) -> str:
        """All that the model reads, as text; pictures as their placeholders. What the request says holds no special tokens."""
        kind = kind_of(request)
        shown = {"text": [], "images": [{"type": "image"}] * _num_frames(request), "video": [{"type": "video"}]}[kind]
        messages = [{"role": "user", "content": self._content(request.prompt, shown)}]
        if request.system is not None:
            messages.insert(0, {"role": "system", "content": self._content(request.system, [])})
        written: str = self._processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return written

    def is_whole(self, written: str) -> bool:
        """Whether the template has written the tokens that a tokenizer would add at the beginning."""
        begins = self.tokenizer.bos_token
        return not self._sees or bool(begins and written.startswith(begins))

    def encoded(self, requests: Sequence[Request]) -> Any:  # noqa: ANN401  transformers' BatchFeature, or BatchEncoding
        """The model's inputs for requests of one kind, padded on the left."""
        texts = [self.written(request) for request in requests]
        settings: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        if self.is_whole(texts[0]):
            settings["add_special_tokens"] = False
        if not self._sees:
            return self._processor(texts, **settings)
        kind = kind_of(requests[0])
        if kind == "images":
            image = import_model_library("PIL.Image")
            frames = [request.frames for request in requests if request.frames is not None]
            settings["images"] = [[image.fromarray(frame) for frame in each] for each in frames]
        if kind == "video":
            settings["videos"] = [request.frames for request in requests]
            settings["video_metadata"] = [video_metadata(request) for request in requests]
            settings |= {"do_sample_frames": False, "input_data_format": "channels_last"}
        return self._processor(text=texts, **settings)

    def decoded(self, tokens: list[int]) -> str:
        """Tokens as text, without special ones."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _content(self, text: str, shown: list[dict[str, str]]) -> Any:  # noqa: ANN401  a text, or a list of parts
        text = self._special.taken_out(text)
        return [*shown, {"type": "text", "text": text}] if self._sees else text


def _num_frames(request: Request) -> int:
    return 0 if request.frames is None else len(request.frames)
