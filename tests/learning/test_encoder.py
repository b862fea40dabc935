"""With a two-dimensional encoder of three words (tests/data/tiers/encoder), where the extra is installed."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from balancer.learning.encoder import MOST_TOKENS, Encoder
from balancer.learning.rows import BadData

FOLDER = Path(__file__).parents[1] / "data" / "tiers" / "encoder"
extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnxruntime", "tokenizers")),
    reason="not installed: vllm-balancer[encoder]",
)


@extra
def test_a_vector_is_the_mean_of_the_tokens_without_padding():
    found = Encoder(FOLDER).vectors(
        ["theorem", "breakfast", "the theorem breakfast", "theorem theorem breakfast"]
    )
    expected = np.array([[1, 0], [0, 1], [0.5**0.5, 0.5**0.5], [2, 1] / np.sqrt(5)])
    assert found == pytest.approx(expected, abs=1e-5)


@extra
def test_many_texts_and_long_ones():
    found = Encoder(FOLDER).vectors(["theorem " * MOST_TOKENS + "breakfast " * 5000, *["breakfast"] * 70])
    assert found.shape == (71, 2)
    assert found[0] == pytest.approx([1, 0])


@extra
def test_words_of_no_meaning_are_no_nan():
    assert Encoder(FOLDER).vectors(["unheard of"]).tolist() == [[0, 0]]


@extra
@pytest.mark.parametrize("broken", ["model.onnx", "tokenizer.json"])
def test_files_that_are_no_encoder(tmp_path, broken):
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"?" if name == broken else (FOLDER / name).read_bytes())
    with pytest.raises(BadData, match="not an encoder"):
        Encoder(tmp_path)


@extra
def test_files_that_are_not_there(tmp_path):
    with pytest.raises(BadData, match=r"expected model\.onnx there"):
        Encoder(tmp_path)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BadData, match=r"pip install vllm-balancer\[encoder\]"):
        Encoder(FOLDER)
