import pytest

from balancer.config.classifier_entry import BUNDLED
from balancer.config.classifiers import bundled
from balancer.core.tiering.types import Text


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


def test_other_names():
    with pytest.raises(KeyError):
        bundled("posterior")
