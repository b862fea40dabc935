"""Vectors of prompts from a sentence encoder on this machine: a folder with `model.onnx` and `tokenizer.json`.

Such folders are what sentence-transformers exports. The mean of the last hidden states over the prompt's tokens is taken,
unless the model gives one vector itself. Needs `pip install vllm-balancer[encoder]`; nothing else imports these packages.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from balancer.learning.rows import BadData

MOST_TOKENS: Final = 256
BATCH: Final = 32


class Encoder:
    """Not cheap: some 10 ms for a prompt. It must not run in the event loop's thread."""

    def __init__(self, folder: Path) -> None:
        """Raises: BadData, where the packages or the files are missing or not what they should be."""
        try:
            import onnxruntime  # noqa: PLC0415 - the extra
            from tokenizers import Tokenizer  # noqa: PLC0415 - the extra
        except ImportError as error:
            raise BadData(f"an encoder needs `pip install vllm-balancer[encoder]`: {error}") from None
        for name in ("model.onnx", "tokenizer.json"):
            if not (folder / name).is_file():
                raise BadData(f"{folder}: expected {name} there")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # noqa: BLE001 - both raise types of their own, or none in particular
            raise BadData(f"{folder}: not an encoder: {error}") from None
        self._tokenizer.enable_truncation(MOST_TOKENS)
        self._tokenizer.enable_padding()
        self._inputs = {each.name for each in self._session.get_inputs()}

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d), of unit length."""
        parts = [self._batch(list(texts[start : start + BATCH])) for start in range(0, len(texts), BATCH)]
        found = np.concatenate(parts)
        scaled: NDArray[np.float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return scaled

    def _batch(self, texts: list[str]) -> NDArray[np.float32]:
        tokens = self._tokenizer.encode_batch(texts)
        ids = np.array([each.ids for each in tokens], dtype=np.int64)
        mask = np.array([each.attention_mask for each in tokens], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        out = np.asarray(
            self._session.run(None, {k: v for k, v in given.items() if k in self._inputs})[0],
            dtype=np.float32,
        )
        if out.ndim == 2:
            return out
        weight = mask[:, :, None].astype(np.float32)
        mean: NDArray[np.float32] = (out * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1.0)
        return mean
