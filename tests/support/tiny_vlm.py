"""Model folders that are tiny, random and real: a Qwen2-VL that takes images and videos, and a Qwen2 for text alone.

Both load in transformers and in vLLM; the same seed gives the same weights. What they write is noise, of words that they know.
"""

import json
from pathlib import Path
from typing import Any

import torch

from shardpipe.models.imports import import_model_library

VOCABULARY = 512
PICTURES = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *PICTURES]
WORDS = [
    "a person rides a bike down the street",
    "describe this video clip in one sentence",
    "user assistant system",
]
TEMPLATE = """{% for m in messages %}<|im_start|>{{ m['role'] }}
{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}{% if c['type']=='image' or 'image_url' in c or 'image' in c %}<|vision_start|><|image_pad|><|vision_end|>{% elif c['type']=='video' or 'video_url' in c or 'video' in c %}<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
PIXELS: dict[str, Any] = {
    "min_pixels": 56 * 56,
    "max_pixels": 28 * 28 * 64,
    "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 64},
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_convert_rgb": True,
    "processor_class": "Qwen2VLProcessor",
}
LAYERS: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
}


def make_tiny_vlm(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen2-VL of 0.36 million parameters, with its tokenizer and its processors of images and videos."""
    transformers = import_model_library("transformers")
    tokenizer = _tokenizer(folder)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    config = transformers.Qwen2VLConfig(
        text_config={
            **LAYERS,
            "rope_parameters": {
                "rope_type": "default",
                "type": "mrope",
                "mrope_section": [4, 6, 6],
                "rope_theta": 10000.0,
            },
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            "depth": 2,
            "embed_dim": 64,
            "hidden_size": 64,
            "num_heads": 2,
            "mlp_ratio": 2,
            "in_channels": 3,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    image = {**PIXELS, "image_processor_type": "Qwen2VLImageProcessor"}
    video = {**PIXELS, "video_processor_type": "Qwen2VLVideoProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(image), encoding="utf-8")
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video), encoding="utf-8")
    return folder


def make_tiny_llm(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen2 of 0.15 million parameters, with its tokenizer."""
    transformers = import_model_library("transformers")
    tokenizer = _tokenizer(folder)
    config = transformers.Qwen2Config(
        **LAYERS,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def _tokenizer(folder: Path) -> Any:
    """A byte-level BPE over a few words, and the chat template, in the folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(WORDS * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        additional_special_tokens=SPECIAL[1:],
        model_max_length=4096,
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return tokenizer
