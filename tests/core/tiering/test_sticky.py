"""Where conversations are, and what says that this is not enough."""

import pytest

from balancer.core.tiering.sticky import Kept, Sticky, trouble
from balancer.core.tiering.types import Plan
from tests.core.tiering.plans import plan, text, virtual


def kept(tier="small", **rest):
    return Kept(tier, 1000, **rest)


def after(first, then, **rest):
    """What is said of a turn that follows another."""
    memory = Sticky()
    memory.hold(plan(says=first), "small", 10)
    turn = plan(turn=2, says=then, **rest)
    found = memory.of(turn)
    assert found is not None
    return trouble(turn, found)


def test_a_conversation_is_remembered_and_its_first_turn_knows_nothing():
    memory = Sticky()
    memory.hold(plan(turn=1), "large", 500, least="large", propensity=0.9)
    found = memory.of(plan(turn=2))
    assert (found.tier, found.tokens, found.least, found.propensity) == ("large", 500, "large", 0.9)
    assert memory.of(plan(turn=1)) is None


@pytest.mark.parametrize(
    "other",
    [{"conversation": b"d"}, {"tenant": "t"}, {"conversation": b""}, {"of": virtual(sticky=False)}],
    ids=["another", "of another tenant", "none", "not asked for"],
)
def test_whose_conversation_it_is(other):
    memory = Sticky()
    memory.hold(plan(turn=1), "large", 1)
    assert memory.of(plan(turn=2, **other)) is None


def test_the_one_that_was_silent_longest_is_forgotten():
    memory = Sticky(most=2)
    for name in (b"a", b"b", b"a", b"c"):
        memory.hold(plan(conversation=name), "small", 1)
    assert len(memory) == 2
    assert [memory.of(plan(turn=2, conversation=name)) is not None for name in (b"a", b"b", b"c")] == [
        True,
        False,
        True,
    ]


def test_dissatisfaction():
    assert after("How many primes are below 100?", "That's wrong.") == "dissatisfied"
    assert after("How many primes are below 100?", "Which of these is wrong?") == ""


def test_a_repeated_question():
    assert after("How many primes are below 100?", "how many PRIMES are below 100") == "repeated"
    assert after("yes", "yes") == ""


def test_a_question_that_was_asked_some_turns_ago():
    before = "Hello\nHow many primes are below 100?\nThanks"
    turn = plan(turn=4, text=text("How many primes are below 100?", 4, before=before))
    assert trouble(turn, kept()) == "repeated"


def test_a_tool_that_failed():
    turn: Plan = plan(turn=2, text=text("", 2, tool_failed=True))
    assert trouble(turn, kept()) == "tool failed"


@pytest.mark.parametrize(("rating", "found"), [(0.0, "rated"), (0.49, "rated"), (0.5, ""), (None, "")])
def test_a_rating(rating, found):
    assert trouble(plan(turn=2, rating=rating), kept()) == found


def test_lone_surrogates_are_words_too():
    assert after("\ud800 why is that so?", "\ud800 why is that so?") == "repeated"
