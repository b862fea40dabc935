"""A pattern is taken only if its time is bounded, and then it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.config.regexes import FEW_CHARS, pattern_of
from balancer.core.tiering.signals import MAX_CHARS


@pytest.mark.parametrize(
    ("text", "chars"),
    [
        (r"\bSELECT\b", MAX_CHARS),
        (r"(?i)\b(invoice|receipt|order)\b", MAX_CHARS),
        (r"\d{1,6}\s{0,3}(kg|km)", MAX_CHARS),
        (r"(?:\d{1,3}\.){3}\d{1,3}", MAX_CHARS),
        (r"^#+ ", FEW_CHARS),
        (r"invoice.*total", FEW_CHARS),
        (r"(?:foo|bar)+", FEW_CHARS),
        (r"(?<=a)b{2,}(?!c)", FEW_CHARS),
    ],
)
def test_patterns_whose_time_is_bounded(text, chars):
    assert pattern_of(text).chars == chars


@pytest.mark.parametrize(
    "text",
    [
        r"(a+)+$",
        r"(a|a)*b",
        r"(?i)(?:ab|AB)+c",
        r"(?:a?){30}b",
        r"(.*,){12}x",
        r"a*a*b",
        r"(\w+)\1",
        r"((a{0,9}){0,9}){0,9}b",
        r"(?:x{0,99}){0,99}y",
        r"(?>a*)*b",
        r"(?:\w*\s?)*!",
        "[unclosed",
        "(?P<x",
        "a{99999999999}",
        "(" * 500 + ")" * 500,
    ],
)
def test_patterns_that_are_refused(text):
    with pytest.raises(ValueError, match=r"^a regular expression"):
        pattern_of(text)


class Exploded(Exception):
    pass


ATOMS = st.sampled_from(["a", "b", "[ab]", ".", r"\w", "ab", "(?:a|b)", "(?:ab|ba)", "(?:a|ab)"])
PATTERNS = st.lists(
    st.tuples(ATOMS, st.sampled_from(["", "?", "*", "+", "{0,3}", "{2,9}", "{0,40}"])), min_size=1, max_size=5
).map(lambda parts: "".join(f"(?:{atom}){repeat}" for atom, repeat in parts) + "!")


@pytest.mark.parametrize("subject", ["a" * 24, "ab" * 12])
@given(PATTERNS)
def test_what_is_taken_does_not_explode(subject, text):
    """Counted by a backtracking matcher of our own. Time that doubles with each character is beyond this for 24 of them."""
    try:
        pattern = pattern_of(text)
    except ValueError:
        return
    assert pattern.pattern.search(subject) is None
    assert _steps(text, subject) <= 24 * FEW_CHARS * len(text)


def _steps(text, subject):
    parts = re.findall(r"\(\?:((?:\(\?:[^)]*\)|[^()])*)\)(\?|\*|\+|\{\d+,\d+\})?", text[:-1])
    steps = 0

    def bounds(repeat):
        return {"": (1, 1), "?": (0, 1), "*": (0, len(subject)), "+": (1, len(subject))}.get(repeat) or tuple(
            int(n) for n in repeat.strip("{}").split(",")
        )

    def alternatives(atom):
        return {
            "(?:a|b)": ["a", "b"], "(?:ab|ba)": ["ab", "ba"], "(?:a|ab)": ["a", "ab"], "[ab]": ["a", "b"],
            ".": ["a", "b"], r"\w": ["a", "b"],
        }.get(atom, [atom])  # fmt: skip

    def match(part, count, at):
        nonlocal steps
        steps += 1
        if steps > 24 * FEW_CHARS * len(text):
            raise Exploded
        if part == len(parts):
            return
        atom, repeat = parts[part]
        least, most = bounds(repeat)
        if count < most:
            for word in alternatives(atom):
                if subject.startswith(word, at):
                    match(part, count + 1, at + len(word))
        if count >= least:
            match(part + 1, 0, at)

    for start in range(len(subject)):
        match(0, 0, start)
    return steps
