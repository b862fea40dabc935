import numpy as np
import pytest

from balancer.config.classifier_entry import BUNDLED, ClassifierEntry
from balancer.config.classifiers import bundled, read
from balancer.core.tiering.types import Text
from balancer.learning.files import Vectors, WrongFile, save
from tests.learning.test_files import ARRAYS, metadata

NEAR = metadata(router="knn", head="near", vectors=Vectors("endpoint", "minilm", 2))
NEAR_ARRAYS = {
    "known": np.eye(2), "quality": np.eye(2), "count": np.array(1), "width": np.array(0.1),
    **{name: ARRAYS[name] for name in ("gains", "seen", "spreads")},
}  # fmt: skip


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_classifiers_score(name):
    classifier = bundled(name)
    short, long = (
        classifier.score(Text(said, len(said)))
        for said in ("Is it?", "Derive and compare both bounds. " * 20)
    )
    assert classifier.name == name
    assert short.known
    assert short.value < long.value


def test_it_is_read_once():
    assert bundled("prior") is bundled("prior")


URL = "http://10.0.0.3:8000"


def entry(value):
    return ClassifierEntry.model_validate(value)


def test_what_is_not_awaited_and_what_is(tmp_path):
    words, vectors = tmp_path / "words.npz", tmp_path / "vectors.npz"
    save(words, metadata(), ARRAYS)
    save(vectors, NEAR, NEAR_ARRAYS)
    asked = {"url": URL, "model": "m", "api_key_env": "KEY"}
    given = {
        "a": {"file": "prior"},
        "b": {"file": str(words)},
        "c": {"file": str(vectors), "embeddings": asked},
        "d": {"judge": asked},
        "e": {"classify": {**asked, "label": 1}},
    }
    found = read({name: entry(each) for name, each in given.items()}, {"KEY": "s3cr3t"})
    assert (found.by_name.keys(), found.stored.keys()) == ({"a", "b"}, {"b", "c"})
    kinds = {name: (each.kind, each.key, each.learned is not None) for name, each in found.elsewhere.items()}
    assert kinds == {
        "c": ("embeddings", "s3cr3t", True),
        "d": ("judge", "s3cr3t", False),
        "e": ("classify", "s3cr3t", False),
    }
    assert "s3cr3t" not in repr(found.elsewhere)


def test_a_router_and_its_vectors_belong_together(tmp_path):
    words, vectors = tmp_path / "words.npz", tmp_path / "vectors.npz"
    save(words, metadata(), ARRAYS)
    save(vectors, NEAR, NEAR_ARRAYS)
    with pytest.raises(WrongFile, match="its router reads vectors of minilm; say `embeddings` or `encoder`"):
        read({"x": entry({"file": str(vectors)})}, {})
    with pytest.raises(WrongFile, match="its router reads words, and no vectors; `embeddings` beside it"):
        read({"x": entry({"file": str(words), "embeddings": {"url": URL, "model": "m"}})}, {})


def test_keys_tell_classifiers_apart_and_no_address():
    first, other, slower = (
        entry({"judge": {"url": url, "model": "m", **more}})
        for url, more in ((URL, {}), ("http://10.0.0.4:8000", {}), (URL, {"timeout_s": 2}))
    )
    assert len({first.key, other.key, slower.key}) == 3
    assert first.key == entry({"judge": {"url": URL, "model": "m"}}).key
    assert "10.0.0" not in first.key
    assert entry({"file": "length"}).key == "length"


@pytest.mark.parametrize(("label", "place"), [({}, -1), ({"label": 0}, 0), ({"label": "hard"}, "hard")])
def test_a_class_is_named_by_its_name_or_place(label, place):
    assert entry({"classify": {"url": URL, "model": "m", **label}}).classify.place == place


def test_other_names():
    with pytest.raises(KeyError):
        bundled("posterior")
