"""Bodies of feedback: what is taken, what is refused and by which field, and that nothing else ever happens."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.errors import Refused
from balancer.core.tiering.feedback import Feedback, read_feedback

ID = "d1"


def read(header_id=None, **fields):
    return read_feedback(json.dumps(fields).encode(), header_id)


@pytest.mark.parametrize(
    ("said", "rating", "winner"),
    [
        ({"rating": 0.25}, 0.25, None),
        ({"rating": 1}, 1.0, None),
        ({"rating": 0}, 0.0, None),
        ({"rating": "up"}, 1.0, None),
        ({"rating": "down"}, 0.0, None),
        ({"stars": 1}, 0.0, None),
        ({"stars": 4}, 0.75, None),
        ({"winner": "weak"}, None, "weak"),
        ({"winner": "tie", "rating": None}, None, "tie"),
    ],
)
def test_what_is_said(said, rating, winner):
    assert read(decision_id=ID, **said) == Feedback(ID, rating, winner)


def test_the_id_may_come_in_a_header():
    assert read("h", rating=1).decision_id == "h"
    assert read("h", decision_id="h", rating=1).decision_id == "h"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"decision_id": ID}, "rating"),
        ({"decision_id": ID, "rating": 1, "winner": "tie"}, "winner"),
        ({"decision_id": ID, "rating": 1, "stars": 5}, "stars"),
        ({"decision_id": ID, "rating": 5}, "rating"),
        ({"decision_id": ID, "rating": -0.1}, "rating"),
        ({"decision_id": ID, "rating": True}, "rating"),
        ({"decision_id": ID, "rating": "good"}, "rating"),
        ({"decision_id": ID, "rating": [1]}, "rating"),
        ({"decision_id": ID, "stars": 0}, "stars"),
        ({"decision_id": ID, "stars": 6}, "stars"),
        ({"decision_id": ID, "stars": "5"}, "stars"),
        ({"decision_id": ID, "winner": "large"}, "winner"),
        ({"decision_id": ID, "winner": ["tie"]}, "winner"),
        ({"decision_id": ID, "rating": 1, "comment": 3}, "comment"),
        ({"decision_id": ID, "score": 1}, "score"),
        ({"decision_id": "", "rating": 1}, "decision_id"),
        ({"decision_id": "x" * 129, "rating": 1}, "decision_id"),
        ({"decision_id": 7, "rating": 1}, "decision_id"),
        ({"rating": 1}, "decision_id"),
    ],
)
def test_what_is_wrong_is_refused_by_name(fields, param):
    with pytest.raises(Refused) as refused:
        read(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert "expected" in refused.value.message


def test_two_ids_must_agree():
    with pytest.raises(Refused) as refused:
        read("other", decision_id=ID, rating=1)
    assert refused.value.param == "decision_id"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"rating=up", b"\xff", b'{"rating": NaN, "decision_id": "d"}']
)
def test_what_is_no_feedback_at_all(body):
    with pytest.raises(Refused) as refused:
        read_feedback(body)
    assert refused.value.status == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["decision_id", "rating", "stars", "winner", "comment", "x"]) | st.text(max_size=4),
        st.sampled_from(["up", "tie", 0.5, 3, ID]) | json_values,
    )
)
def test_any_object_is_either_taken_or_refused(fields):
    try:
        feedback = read(**{name: value for name, value in fields.items() if name != "header_id"})
    except Refused as refused:
        assert refused.status == 400
    else:
        assert (feedback.rating is None) != (feedback.winner is None)
        assert feedback.rating is None or 0 <= feedback.rating <= 1
        assert feedback.decision_id


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_taken(body):
    try:
        assert read_feedback(body, ID).decision_id
    except Refused as refused:
        assert refused.status == 400
