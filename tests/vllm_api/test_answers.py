"""Usage in every dialect says the same: all prompt tokens, those of them that were cached, those that came out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.types import Usage
from balancer.vllm_api.answers import read_answer, read_usage

COUNTS = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, Usage(9, 2)),
        ({"prompt_tokens": 9, "total_tokens": 9}, Usage(9, 0)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(9, 2)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(9, 0, 4)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0}}, Usage(9, 0, 0)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": None}}, Usage(9, 0)),
        ({"input_tokens": 9, "output_tokens": 2}, Usage(9, 2)),
        (
            {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}},
            Usage(9, 2, 4),
        ),
        ({"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 4}, Usage(9, 2, 4)),
        ({"input_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3}, Usage(9, 0, 4)),
        ({"input_tokens": 6, "cache_creation_input_tokens": 3}, Usage(9, 0)),
        (
            {"input_tokens": 9, "cache_read_input_tokens": None, "cache_creation_input_tokens": None},
            Usage(9, 0),
        ),
        ({"output_tokens": 2}, None),
        ({"prompt_tokens": "9"}, None),
        ({"prompt_tokens": True}, None),
        ({"prompt_tokens": -1, "completion_tokens": 1}, None),
        ({"prompt_tokens": 10**400, "completion_tokens": 1}, None),
        ({"prompt_tokens": 9, "completion_tokens": 10**400}, Usage(9, 0)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": -4}}, Usage(9, 0)),
        ([9], None),
        (None, None),
    ],
)
def test_usage(usage, told):
    assert read_usage(usage) == told


@given(COUNTS, COUNTS, COUNTS, st.booleans())
def test_a_prompt_is_as_long_in_every_dialect(fresh, read, created, tells_created):
    prompt = fresh + read + (created if tells_created else 0)
    messages = {"input_tokens": fresh, "cache_read_input_tokens": read}
    if tells_created:
        messages["cache_creation_input_tokens"] = created
    chat = {"prompt_tokens": prompt, "prompt_tokens_details": {"cached_tokens": read}}
    responses = {"input_tokens": prompt, "input_tokens_details": {"cached_tokens": read}}
    assert read_usage(messages) == read_usage(chat) == read_usage(responses) == Usage(prompt, 0, read)


@pytest.mark.parametrize(
    "answer",
    [
        {"id": "x", "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
        {
            "type": "response.completed",
            "response": {"id": "x", "usage": {"input_tokens": 9, "output_tokens": 2}},
        },
        {"type": "message_start", "message": {"id": "x", "usage": {"input_tokens": 9, "output_tokens": 2}}},
    ],
)
def test_the_envelope_makes_no_difference(answer):
    assert read_answer(json.dumps(answer).encode()) == ("x", Usage(9, 2))


@given(st.binary(max_size=60))
def test_what_cannot_be_read_tells_nothing(body):
    read_answer(body)
    read_answer(b'{"id": 3, "usage": ' + body + b"}")
    assert read_answer(b'{"usage"') == (None, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "input_tokens",
        "output_tokens",
        "completion_tokens",
        "prompt_tokens_details",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    ]
)


@given(st.dictionaries(NAMES, JSON))
def test_usage_of_any_shape_raises_nothing(usage):
    told = read_usage(usage)
    assert told is None or all(isinstance(count, int | None) for count in told)
