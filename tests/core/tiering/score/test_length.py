import pytest

from balancer.core.tiering.score import Length
from balancer.core.tiering.types import Text


def test_longer_is_more():
    values = [Length().score(Text("x", size)).value for size in (1, 20, 200, 2000, 10**6)]
    assert values == sorted(values)
    assert values[2] == pytest.approx(0.5)
    assert 0 < values[0] < values[-1] < 1


def test_nothing_is_not_known():
    score = Length().score(Text("", 0))
    assert (score.known, score.why) == (False, "empty")
