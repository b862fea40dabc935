"""Write a small Llama-like model that vLLM can serve, without a network. Runs in vLLM's environment, not in ours.

Weights are seeded noise, so the text is nonsense, but every replica gives the same greedy answer, and prefill,
decode and prefix cache cost what their shapes cost. The tokenizer is a byte-level BPE trained on made-up text.

    python model.py --out DIR [--preset small]
"""

import argparse
import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 2048
MAX_LENGTH_TOKENS = 16384
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@dataclass(frozen=True)
class Shape:
    """Head size is `hidden / heads`, which must be one that vLLM's CPU attention knows (32, 64, 80, 96, ...)."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int


PRESETS = {
    "nano": Shape(hidden=64, layers=2, heads=2, kv_heads=1, intermediate=128),
    "tiny": Shape(hidden=128, layers=2, heads=4, kv_heads=2, intermediate=256),
    "small": Shape(hidden=256, layers=4, heads=4, kv_heads=2, intermediate=704),
    "medium": Shape(hidden=512, layers=6, heads=8, kv_heads=2, intermediate=1408),
}

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}{{ part.get('text', '') }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

COMMON = """
    the of and to in is that for it as with was on be at by this have from or one had not but what all were
    when we there can an your which their said if do will each about how up out them then she many some so
    these would other into has more her two like him see time could no make than first been its who now people
    just where most know system user assistant question answer context document tool function result
"""
ONSETS, VOWELS, CODAS = "b c d f g h k l m n p r s t v w st tr pl", "a e i o u ai ou", ",n,r,s,t,l,nd"


def sentences(rng: random.Random, count: int = 4000) -> Iterator[str]:
    common, onsets, vowels, codas = COMMON.split(), ONSETS.split(), VOWELS.split(), CODAS.split(",")
    made_up = [
        "".join(rng.choice(onsets) + rng.choice(vowels) + rng.choice(codas) for _ in range(rng.randint(1, 3)))
        for _ in range(1500)
    ]
    for _ in range(count):
        words = [rng.choice(common if rng.random() < 0.6 else made_up) for _ in range(rng.randint(6, 18))]
        words.insert(rng.randrange(len(words)), str(rng.randint(0, 9999)))
        yield " ".join(words).capitalize() + rng.choice(".?!;:")


def write_tokenizer(out: Path, rng: random.Random) -> int:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(rng), trainer)
    tokenizer.save(str(out / "tokenizer.json"))
    write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": MAX_LENGTH_TOKENS,
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "add_bos_token": False,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    return tokenizer.get_vocab_size()


def tensors(shape: Shape, vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    head = shape.hidden // shape.heads
    yield "model.embed_tokens.weight", (vocabulary, shape.hidden)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (shape.hidden,)
        yield prefix + "post_attention_layernorm.weight", (shape.hidden,)
        yield prefix + "self_attn.q_proj.weight", (shape.heads * head, shape.hidden)
        yield prefix + "self_attn.k_proj.weight", (shape.kv_heads * head, shape.hidden)
        yield prefix + "self_attn.v_proj.weight", (shape.kv_heads * head, shape.hidden)
        yield prefix + "self_attn.o_proj.weight", (shape.hidden, shape.heads * head)
        yield prefix + "mlp.gate_proj.weight", (shape.intermediate, shape.hidden)
        yield prefix + "mlp.up_proj.weight", (shape.intermediate, shape.hidden)
        yield prefix + "mlp.down_proj.weight", (shape.hidden, shape.intermediate)
    yield "model.norm.weight", (shape.hidden,)
    yield "lm_head.weight", (vocabulary, shape.hidden)


def write_weights(out: Path, shape: Shape, vocabulary: int, seed: int) -> None:
    """Write a safetensors file: u64 length of the header, JSON header, raw little-endian tensors."""
    rng = np.random.default_rng(seed)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dimensions in tensors(shape, vocabulary):
        end = offset + 4 * int(np.prod(dimensions))
        header[name] = {"dtype": "F32", "shape": list(dimensions), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with (out / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for name, dimensions in tensors(shape, vocabulary):
            if name.endswith("norm.weight"):
                values = np.ones(dimensions)
            else:
                deviation = 1.0 if "embed_tokens" in name else 1.5 / dimensions[-1] ** 0.5
                values = rng.standard_normal(dimensions, dtype="float32") * deviation
            file.write(values.astype("<f4").tobytes())


def write_config(out: Path, shape: Shape, vocabulary: int) -> None:
    tokens = {"bos_token_id": 0, "pad_token_id": 0}
    write_json(out / "generation_config.json", {**tokens, "eos_token_id": [2], "do_sample": False})
    write_json(
        out / "config.json",
        {
            **tokens,
            "eos_token_id": 2,
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.hidden // shape.heads,
            "max_position_embeddings": MAX_LENGTH_TOKENS,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
        },
    )


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    shape = PRESETS[options.preset]
    vocabulary = write_tokenizer(options.out, random.Random(options.seed))
    write_config(options.out, shape, vocabulary)
    write_weights(options.out, shape, vocabulary, options.seed)


if __name__ == "__main__":
    main()
