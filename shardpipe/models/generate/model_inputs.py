"""Requests as the inputs of a model of transformers, by its own processor."""

from collections.abc import Sequence
from typing import Any, Literal

from shardpipe.models.generate.chat import ChatTemplate
from shardpipe.models.generate.request import Request
from shardpipe.models.generate.video_input import video_metadata
from shardpipe.models.imports import import_model_library

Kind = Literal["text", "images", "video"]
PARTS: dict[Kind, str] = {"images": "image_processor", "video": "video_processor"}


def kind_of(request: Request) -> Kind:
    """What it gives to look at."""
    if request.frames is None or not len(request.frames):
        return "text"
    return "video" if request.as_video else "images"


class ModelInputs:
    """Makes batches of requests, and texts of tokens."""

    def __init__(self, chat: ChatTemplate) -> None:
        self._chat = chat
        self.tokenizer: Any = chat.tokenizer
        self.tokenizer.padding_side = "left"  # the answers follow the prompts
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def takes(self, kind: Kind) -> bool:
        """Whether the processor has a part for such input."""
        return kind == "text" or getattr(self._chat.processor, PARTS[kind], None) is not None

    def encoded(self, requests: Sequence[Request]) -> Any:  # noqa: ANN401  transformers' BatchFeature, or BatchEncoding
        """The model's inputs for requests of one kind, padded on the left."""
        texts = [self._chat.prompt_of(request) for request in requests]
        begins = self.tokenizer.bos_token
        settings: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        if not self._chat.sees_pictures or (begins and texts[0].startswith(begins)):
            settings["add_special_tokens"] = False  # the template has written them
        if not self._chat.sees_pictures:
            return self.tokenizer(texts, **settings)
        kind = kind_of(requests[0])
        if kind == "images":
            image = import_model_library("PIL.Image")
            frames = [request.frames for request in requests if request.frames is not None]
            settings["images"] = [[image.fromarray(frame) for frame in each] for each in frames]
        if kind == "video":
            settings["videos"] = [request.frames for request in requests]
            settings["video_metadata"] = [video_metadata(request) for request in requests]
            settings |= {"do_sample_frames": False, "input_data_format": "channels_last"}
        return self._chat.processor(text=texts, **settings)

    def decoded(self, tokens: list[int]) -> str:
        """Tokens as text, without special ones."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text
