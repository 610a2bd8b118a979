"""The text side of an image-text model: texts in, normalised embeddings out."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from shardpipe.core.errors import StageError
from shardpipe.models.backbone import Backbone, Precision
from shardpipe.models.clip_model import Files, load_model, load_tokenizer
from shardpipe.models.device import Batches, chosen_dtype

MAX_TEXTS = 256
NOTHING = r"(?!)"
"""A pattern that nothing matches."""


def load_text_tower(backbone: Backbone, files: Files, *, device: str, precision: Precision) -> "TextTower":
    """The text side alone, on `device`; the image side is dropped. Raises ConfigError for files that do not fit."""
    model = load_model(backbone, files)
    del model.visual
    model = model.to(device=device, dtype=chosen_dtype(precision, device))
    return TextTower(model.encode_text, load_tokenizer(backbone, files), device=device)


class TextTower:
    """Embeds texts, each no longer than `context_length` tokens; longer ones are cut by the tokenizer, as published.

    What a text says that its tokenizer would take for a token of its own, such as `<end_of_text>`, is left out: it would end there.
    """

    def __init__(self, encode: Callable[[torch.Tensor], torch.Tensor], tokenizer: Any, *, device: str) -> None:  # noqa: ANN401
        self._encode, self._tokenizer, self._device = encode, tokenizer, device
        self._batches = Batches(MAX_TEXTS, device)
        self._special = _special_tokens(tokenizer)
        self.context_length = int(tokenizer.context_length)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings float32 [N, D], of length 1 where the model gave finite numbers."""
        if not texts:
            raise StageError("no text to embed")
        tokens = self._tokenizer([self._plain(text) for text in texts])
        made: NDArray[np.float32] = self._batches.run(self._forward, tokens).cpu().numpy()
        return made

    def num_tokens(self, text: str) -> int:
        """How many tokens a text takes, those at its ends included, before anything is cut."""
        text = self._plain(text)
        if hasattr(self._tokenizer, "encode"):  # CLIP's own: it leaves out the token at each end
            return len(self._tokenizer.encode(text)) + 2
        return len(self._tokenizer.tokenizer(self._tokenizer.clean_fn(text)).input_ids)

    def _plain(self, text: str) -> str:
        """The text without special tokens, however they are written (`&lt;end_of_text&gt;`, which the tokenizer unescapes)."""
        if text.isascii() and text.isprintable() and "&" not in text and not self._special.search(text):
            return text  # nothing that cleaning does to it could make such a token
        while self._special.search(cleaned := self._tokenizer.clean_fn(text)):
            text = self._special.sub(" ", cleaned)
        return text

    def _forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self._encode(tokens.to(self._device)).to(torch.float32), dim=-1)


def _special_tokens(tokenizer: Any) -> re.Pattern[str]:  # noqa: ANN401  CLIP's own, or one of transformers
    if hasattr(tokenizer, "tokenizer"):
        names = tokenizer.tokenizer.all_special_tokens
    else:
        names = [tokenizer.decoder[number] for number in tokenizer.all_special_ids]
    return re.compile("|".join(map(re.escape, filter(None, names))) or NOTHING, re.IGNORECASE)
