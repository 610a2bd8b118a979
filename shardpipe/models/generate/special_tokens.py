"""Special tokens in what strangers wrote: `<|im_end|>` in a caption or on a sign must not end the message that quotes it."""

import re
from typing import Any


class SpecialTokens:
    """The special tokens of a tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        names = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)} - {""}
        longest_first = sorted(names, key=lambda name: (-len(name), name))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def taken_out(self, text: str) -> str:
        """The text without them, nor those that their parts would make once they are gone."""
        while self._pattern.search(text):
            text = self._pattern.sub("", text)
        return text
