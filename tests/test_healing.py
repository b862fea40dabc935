"""JSON that a model got wrong: what is mended, what is left as it came, and what is told of it."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.types import RouteKind
from balancer.healing import MAX_ANSWER_BYTES, MAX_TEXT_CHARS, healer

CHAT = {"response_format": {"type": "json_object"}}
FENCED = '```json\n{"a": 1,}\n```'


def mend(answer, request=None, kind=RouteKind.CHAT):
    wanted = healer(kind, CHAT if request is None else request)
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return asyncio.run(wanted.mend(body))


def chat(*contents, finish="stop", **message):
    return {
        "id": "1",
        "choices": [
            {
                "index": i,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": finish,
            }
            for i, text in enumerate(contents)
        ],
        "usage": {"prompt_tokens": 1},
    }


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (FENCED, {"a": 1}),
        ("Sure, here it is: {'a': [True, None]}", {"a": [True, None]}),
        ('{"a": "x "quoted" y"}', {"a": 'x "quoted" y'}),
        ('{"city": "K\u00f6ln" "n": 12345678901234567890}', {"city": "K\u00f6ln", "n": 12345678901234567890}),
        ('{"a": {"b": 1}', {"a": {"b": 1}}),
    ],
)
def test_what_was_meant_is_found(text, meant):
    mended = mend(chat(text))
    assert (mended.healed, mended.failed) == (("choices.0",), ())
    answer = json.loads(mended.body)
    assert json.loads(answer["choices"][0]["message"]["content"]) == meant
    answer["choices"][0]["message"]["content"] = text
    assert answer == chat(text)
    assert mended.head == b"x-balancer-healed: choices.0\r\n"


@pytest.mark.parametrize("text", ['{"a": 1}', ' {"a": [1, 2]}\n', "[1]", "3"])
def test_what_parses_is_left_alone(text):
    assert mend(chat(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "I can't do that.",
        "{" * 5000,
        '{"a": 1}{"b": 2}',
        "x" * (MAX_TEXT_CHARS + 1) + "{'a': 1}",
        "no { here",
    ],
)
def test_what_cannot_be_mended_stays_and_is_told(text):
    mended = mend(chat(text))
    assert (mended.body, mended.healed, mended.failed) == (None, (), ("choices.0",))
    assert mended.head == b"x-balancer-heal-failed: choices.0\r\n"


def test_an_answer_cut_off_by_its_token_limit_is_not_passed_off_as_whole():
    mended = mend(chat('{"items": [1, 2', finish="length"))
    assert (mended.body, mended.failed) == (None, ("choices.0 (length)",))


def test_each_choice_is_its_own():
    mended = mend(chat(FENCED, '{"a": 2}', "none"))
    assert (mended.healed, mended.failed) == (("choices.0",), ("choices.2",))
    texts = [choice["message"]["content"] for choice in json.loads(mended.body)["choices"]]
    assert texts == ['{"a": 1}', '{"a": 2}', "none"]
    assert mended.head == b"x-balancer-healed: choices.0\r\nx-balancer-heal-failed: choices.2\r\n"


def test_a_repair_that_lacks_what_the_schema_requires_is_none():
    schema = {"type": "object", "required": ["a", "b"]}
    asked = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    assert mend(chat("{'a': 1}"), asked).failed == ("choices.0",)
    assert mend(chat("{'a': 1, 'b': 2}"), asked).healed == ("choices.0",)


def test_a_list_is_json_where_no_object_was_asked_for():
    asked = {"structured_outputs": {"json": {"type": "array"}}}
    assert json.loads(mend(chat("[1, 2,"), asked).body)["choices"][0]["message"]["content"] == "[1, 2]"
    assert mend(chat("[1, 2,")).failed == ("choices.0",)


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        {"text": {"format": {"type": "json_schema", "schema": {}}}},
        {"text": {"format": {"type": "json_object"}}},
        {"structured_outputs": {"json": "{}"}},
        {"structured_outputs": {"json_object": True}},
        {"guided_json": {}},
    ],
)
def test_all_ways_to_ask_for_json(asked):
    assert mend(chat(FENCED), asked).healed == ("choices.0",)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"response_format": {"type": "text"}},
        {"text": "plain", "structured_outputs": {"regex": "a+"}},
        CHAT | {"stream": True},
        [],
    ],
)
def test_who_did_not_ask_for_json_gets_what_came(asked):
    assert healer(RouteKind.CHAT, asked) is None
    assert healer(RouteKind.EMBEDDINGS, CHAT) is None


def test_arguments_of_calls_are_mended_and_content_beside_them_is_not():
    calls = [
        {"id": str(i), "type": "function", "function": {"name": "f", "arguments": text}}
        for i, text in enumerate(['{"a": 1}', "{'a': 1,}"])
    ]
    mended = mend(chat("some words", tool_calls=calls), {"tools": [{}], **CHAT})
    assert (mended.healed, mended.failed) == (("choices.0.tool_calls.1",), ())
    message = json.loads(mended.body)["choices"][0]["message"]
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"a": 1}', '{"a": 1}']
    assert message["content"] == "some words"


def test_completions_and_responses():
    answer = {"choices": [{"text": FENCED, "finish_reason": "stop"}]}
    assert mend(answer, {"guided_json": {}}, RouteKind.COMPLETIONS).healed == ("choices.0",)
    answer = {
        "status": "completed",
        "output": [
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "{"}]},
            {"type": "message", "content": [{"type": "output_text", "text": FENCED}]},
            {"type": "function_call", "arguments": "{'a': 1}"},
        ],
    }
    asked = {"text": {"format": {"type": "json_object"}}}
    mended = mend(answer, asked, RouteKind.RESPONSES)
    assert mended.healed == ("output.1.content.0", "output.2")
    cut = mend({**answer, "status": "incomplete"}, asked, RouteKind.RESPONSES)
    assert (cut.body, cut.failed) == (None, ("output.1.content.0 (length)", "output.2 (length)"))


def test_large_answers_and_what_is_no_answer_are_left_alone():
    assert mend(chat(FENCED, "x" * MAX_ANSWER_BYTES)) is None
    assert mend(b"not json") is None
    assert mend(b"[]") is None


leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.text(alphabet='{}[]",:\\ab1 \n', max_size=60))
def test_whatever_is_mended_is_json_afterwards(text):
    mended = mend(chat(text))
    if mended is not None and mended.body is not None:
        assert isinstance(json.loads(json.loads(mended.body)["choices"][0]["message"]["content"]), dict)


@given(st.dictionaries(st.sampled_from(["choices", "output", "status"]), values))
def test_any_answer_is_looked_at_without_a_fault(answer):
    mended = mend(answer, {**CHAT, "tools": [{}]})
    assert mended is None or mended.healed or mended.failed
