"""Draws are uniform, stay with the conversation, and are independent of one another."""

from collections import Counter

import pytest

from balancer.core.tiering.draw import draw

CONVERSATIONS = [number.to_bytes(16, "big") for number in range(100_000)]
ONE = b"\x01" * 16


def test_draws_are_uniform():
    counts = Counter(int(draw(each, "auto/explore") * 20) for each in CONVERSATIONS)
    assert sorted(counts) == list(range(20))
    expected = len(CONVERSATIONS) / 20
    assert (
        sum((count - expected) ** 2 / expected for count in counts.values()) < 43.8
    )  # chi-square, 19, 99.9 %


def test_a_conversation_draws_the_same_again_and_another_for_another_use():
    assert draw(ONE, "auto/explore") == draw(ONE, "auto/explore")
    assert draw(ONE, "auto/explore") != draw(ONE, "auto/arm")


def test_uses_are_independent():
    explored = [each for each in CONVERSATIONS if draw(each, "auto/explore") < 0.05]
    in_a = sum(draw(each, "auto/arm") < 0.5 for each in explored)
    assert len(explored) == pytest.approx(5000, abs=4 * 69)
    assert in_a == pytest.approx(len(explored) / 2, abs=4 * 36)
