"""A model folder without weights, for engines that only pretend: its tokenizer gives each word of embedded replicas one token."""

import json
from pathlib import Path
from typing import Any

from balancer.embedded.words import WORDS

_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPACE = "Ġ"  # byte-level BPE's letter for a blank


def write_model(folder: Path, max_model_len: int) -> Path:
    folder.mkdir()
    tokenizer = tokenizer_of(WORDS)
    for name, content in {
        "tokenizer": tokenizer,
        "tokenizer_config": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_model_len,
            "eos_token": "<|im_end|>",
            "chat_template": _CHAT_TEMPLATE,
        },
        "config": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 256,
            "intermediate_size": 704,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": max_model_len,
            "vocab_size": len(tokenizer["model"]["vocab"]),
            "torch_dtype": "float32",
            "eos_token_id": 2,
        },
        "generation_config": {"eos_token_id": 2},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def tokenizer_of(words: list[str]) -> dict[str, Any]:
    """Byte-level BPE, as `tokenizers` saves it. Merges lead from a word's blank letter by letter to the whole word."""
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        for length in range(len(word)):
            merges[(_SPACE + word[:length], word[length])] = None
    tokens = [*_SPECIALS, *_alphabet(), *("".join(pair) for pair in merges)]
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": number,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for number, text in enumerate(_SPECIALS)
        ],
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(dict.fromkeys(tokens))},
            "merges": [list(pair) for pair in merges],
        },
    }


def _alphabet() -> list[str]:
    """A letter for each byte: its own where it is printable, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]
