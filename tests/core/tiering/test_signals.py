"""Signals: what holds of a request, and that whole words are whole in any script."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.tiering.signals import (
    BANDS,
    MAX_CHARS,
    Complexity,
    Feedback,
    Language,
    Length,
    Pattern,
    Seen,
    Structure,
    Tenant,
    TimeOfDay,
    folded,
    keywords,
    stands_in,
)
from balancer.core.tiering.types import Score, Text


def seen(last="", *, tokens=0, **more):
    text_fields = {
        name: more.pop(name) for name in ("turns", "images", "audio", "tools", "structured") if name in more
    }
    return Seen(Text(last, len(last.encode()), **text_fields), tokens=tokens, **more)


@pytest.mark.parametrize(
    ("word", "text", "found"),
    [
        ("art", "modern art.", True),
        ("art", "start party article", False),
        ("art", "part of ART", True),
        ("sql", "my_sql", False),
        ("sql", "no-sql", True),
        ("c++", "write c++ code", True),
        ("c++", "c+++", True),
        (".net", "asp.net", True),
        ("machine learning", "Machine Learning is", True),
        ("machine learning", "machine learnings", False),
        ("straße", "in der STRASSE", True),
        ("größe", "die Gro\u0308ße", True),
        ("resume", "résumé", False),
        ("résumé", "my re\u0301sume\u0301!", True),
        ("задача", "решить задача", True),
        ("задач", "задача", False),
        ("数学", "我喜欢数学题", True),
        ("คณิต", "วิชาคณิตศาสตร์", True),
        ("수학", "수학을 배워요", True),
        ("수학", "고등수학을", False),
        ("काम", "मेरा काम है", True),
        ("काम", "कामा", False),
        ("مدرسة", "في مدرسة كبيرة", True),
        ("مدرس", "مدرسة", False),
        ("x", "", False),
        ("", "x", False),
    ],
)
def test_whole_words(word, text, found):
    assert stands_in(folded(word), folded(text)) is found


@given(st.text(max_size=30), st.text(min_size=1, max_size=5))
def test_a_word_alone_stands_in_itself_and_between_spaces(text, word):
    word = folded(word)
    assert stands_in(word, word)
    assert stands_in(word, f"{folded(text)} {word} {folded(text)}") or not word.strip()


def test_keywords_and_domains():
    assert keywords(["Foo", "bar"]).holds(seen("the BAR is open"))
    assert not keywords(["Foo", "bar"]).holds(seen("the barn"))
    maths = keywords(["integral", "theorem", "proof"], 2)
    assert maths.holds(seen("a proof of the theorem"))
    assert not maths.holds(seen("proof, proof and proof"))
    assert not keywords([]).holds(seen("anything"))
    assert keywords([" ", "a", "A"]).words == ("a",)


def test_patterns_see_the_ends_of_what_is_long():
    pattern = Pattern(re.compile("needle"), 1024)
    assert pattern.holds(seen("needle" + "x" * 9000))
    assert pattern.holds(seen("x" * 9000 + "needle"))
    assert not pattern.holds(seen("x" * 4000 + "needle" + "x" * 4000))
    assert not Pattern(re.compile("x{600}")).holds(seen("x" * 599 + "\n"))


def test_languages():
    signal = Language(frozenset({"de", "ko"}))
    assert signal.holds(seen("Wie ist das Wetter und was ist der Grund?"))
    assert signal.holds(seen("날씨가 어때요?"))
    assert not signal.holds(seen("What is the weather and why is that?"))
    assert not signal.holds(seen("42"))


def test_lengths():
    assert [Length(10, 20, tokens=True).holds(seen("x", tokens=n)) for n in (9, 10, 20, 21)] == [
        False,
        True,
        True,
        False,
    ]
    assert [Length(2).holds(seen(text, tokens=99)) for text in ("x", "é", "xx")] == [False, True, True]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("code", "fix this:\n```\nx\n```"),
        ("code", "def f(x):\n    return x"),
        ("code", "  const a = [];\nb();"),
        ("code", "#include <stdio.h>"),
        ("code", "SELECT name FROM users WHERE id = 3;"),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("table", "a\tb\tc\n1\t2\t3\n"),
        ("maths", "compute \\frac{1}{2}"),
        ("maths", "what is 3 + 4?"),
        ("maths", "∫ x dx"),
        ("maths", "solve x^2 = 4"),
        ("maths", "let f(x) = 3"),
        ("maths", "$e^{i\\pi}$"),
    ],
)
def test_structures_in_the_text(kind, text):
    assert Structure(frozenset({kind})).holds(seen(text))


@pytest.mark.parametrize("kind", ["code", "table", "maths"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "Who wrote Faust?",
        "I paid $5 and $6 for it.",
        "Return the book; import is from China, class of 1999.",
        "well-known, at 9 am",
    ],
)
def test_plain_text_has_no_structure(kind, text):
    assert not Structure(frozenset({kind})).holds(seen(text))


def test_structures_of_the_request():
    for kind, field in (("images", "images"), ("audio", "audio"), ("tools", "tools"), ("json", "structured")):
        assert Structure(frozenset({kind})).holds(seen(**{field: 1}))
        assert not Structure(frozenset({kind})).holds(seen())


@pytest.mark.parametrize(
    ("value", "bands"),
    [(0.0, {"easy"}), (0.33, {"easy"}), (1 / 3, {"medium"}), (0.9, {"hard"}), (1.0, {"hard"})],
)
def test_complexity_is_in_one_band(value, bands):
    asked = seen(score=lambda: Score(value))
    assert {name for name, band in BANDS.items() if Complexity(*band).holds(asked)} == bands


def test_a_score_that_is_not_known_is_in_no_band():
    for score in (None, Score(0.5, known=False)):
        assert not Complexity(0.0, 1.0).holds(seen(score=lambda score=score: score))


def test_the_score_is_asked_once():
    asked = []
    request = seen(score=lambda: asked.append(1) or Score(0.1))
    assert Complexity(0.0, 0.5).holds(request)
    assert not Complexity(0.5, 1.0).holds(request)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "text",
    [
        "That’s wrong",
        "No, that's not what I asked for",
        "das ist falsch!",
        "C'est faux.",
        "不对，再来",
        "это неверно",
        "틀렸어요",
        "خطأ",
    ],
)
def test_dissatisfaction_is_heard(text):
    assert Feedback().holds(seen(text.replace("’", "'"), turns=2))
    assert not Feedback().holds(seen(text, turns=1))  # of what should it be?


def test_ratings_count_and_other_words_do_not():
    assert Feedback().holds(seen("thanks", rating=0.2))
    assert not Feedback().holds(seen("thanks", turns=2, rating=0.5))
    assert not Feedback().holds(seen("What is wrong with the car?", turns=2))


HOUR = 3600
DAY = 86_400


def test_times_of_day():
    day = TimeOfDay(9 * 60, 17 * 60)
    assert [day.holds(seen(wall_s=h * HOUR)) for h in (8.99, 9, 16.99, 17)] == [False, True, True, False]
    night = TimeOfDay(22 * 60, 6 * 60)
    assert [night.holds(seen(wall_s=h * HOUR)) for h in (21.99, 22, 30, 29.99, 0)] == [
        False,
        True,
        False,
        True,
        True,
    ]
    assert TimeOfDay(9 * 60, 17 * 60, offset_s=2 * HOUR).holds(seen(wall_s=7 * HOUR))
    assert TimeOfDay(0, 1440).holds(seen(wall_s=DAY - 1))


def test_days_of_the_week():
    """1970-01-01 was a Thursday, day 3."""
    thursday = TimeOfDay(22 * 60, 6 * 60, frozenset({3}))
    assert thursday.holds(seen(wall_s=23 * HOUR))
    assert thursday.holds(seen(wall_s=DAY + 5 * HOUR))  # Friday morning belongs to it
    assert not thursday.holds(seen(wall_s=5 * HOUR))
    assert not thursday.holds(seen(wall_s=DAY + 23 * HOUR))
    assert TimeOfDay(0, 1440, frozenset({4}), offset_s=HOUR).holds(seen(wall_s=23.5 * HOUR))


def test_tenants():
    assert Tenant(frozenset({"a"})).holds(seen(tenant="a"))
    assert not Tenant(frozenset({"a"})).holds(seen())


@given(st.text(max_size=300))
def test_every_signal_answers_whatever_is_said(text):
    asked = seen(text * 40, turns=3)
    assert len(asked.last) <= MAX_CHARS + 1
    for signal in (
        keywords(["a", "ก", "가"]),
        Language(frozenset({"en"})),
        Structure(frozenset({"code", "table", "maths"})),
        Feedback(),
    ):
        assert signal.holds(asked) in {True, False}
