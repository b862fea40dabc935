"""Who says that the last answer was wrong, and who only speaks of what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.complaints import complains

COMPLAINTS = [
    "That's wrong, the loop never ends.",
    "No, this is still not correct",
    "it doesn\u2019t work",
    "It still fails with the same error",
    "you misunderstood me",
    "try again",
    "Not what I asked for.",
    "Das ist leider falsch",
    "das stimmt so nicht",
    "C'est toujours faux",
    "no es correcto",
    "não está certo",
    "это неверно",
    "не так: попробуй ещё раз",
    "不对,重新算",
    "違います",
    "다시 해줘",
]
CONTENT = [
    "Which of these statements is wrong?",
    "Explain why it is not possible to divide by zero.",
    "Now do the same for the second table.",
    "Write a test that fails.",
    "What was wrong with the treaty of Versailles?",
    "Was ist der Unterschied zwischen falsch und gelogen?",
    "Retry logic: how do I back off?",
    "yes",
    "",
]


def complaint(text):
    return complains(text, len(text.encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize("said", COMPLAINTS)
def test_complaints(said):
    assert complaint(said)


@pytest.mark.parametrize("said", CONTENT)
def test_content(said):
    assert not complaint(said)


def test_a_long_turn_is_content_and_so_is_what_stands_late_in_it():
    assert not complaint("that is wrong. " + "And here is the whole log: " * 60)
    minutes = "Please sum up the minutes of the meeting of last Monday, which was a long one, and at which somebody had said: "
    assert not complaint(minutes + "that is wrong.")


@given(st.text())
def test_anything_can_be_looked_at(said):
    assert complaint(said) in {True, False}
