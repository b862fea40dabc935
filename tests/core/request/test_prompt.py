"""Prompts that render alike have canonical bytes that begin alike, and the other way round."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.request.prompt import canonical_prompt, first_user_turn, namespace
from balancer.core.types import RouteKind

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "messages", "tools", "system", "instructions", "input", "prompt", "query", "queries", "text_1", "role",
    "content", "text", "type", "tool_calls", "function_call",
)  # fmt: skip
NAMED = st.recursive(
    JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
BODY = st.dictionaries(st.sampled_from(FIELDS), NAMED, max_size=6)
PART = st.one_of(
    TEXT.map(lambda text: {"type": "text", "text": text}),
    st.binary(min_size=1, max_size=6).map(
        lambda raw: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{raw.hex()}"}}
    ),
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool"]),
        "content": st.one_of(TEXT, st.lists(PART, max_size=3)),
    },
    optional={"tool_calls": st.just([{"id": "1", "function": {"name": "f", "arguments": "{}"}}])},
)
MESSAGES = st.lists(MESSAGE, max_size=6)


def chat(messages, **more):
    return canonical_prompt(RouteKind.CHAT, {"messages": messages, **more})


def user(content):
    return [{"role": "user", "content": content}]


@given(st.sampled_from(RouteKind), BODY)
def test_no_shape_of_body_raises(route, body):
    assert isinstance(canonical_prompt(route, body), bytes)
    assert isinstance(first_user_turn(route, body), bytes)


@given(MESSAGES, MESSAGE)
def test_a_growing_conversation_keeps_its_bytes(messages, more):
    assert chat([*messages, more]).startswith(chat(messages))


@given(MESSAGES, MESSAGES)
def test_conversations_that_differ_have_bytes_that_differ(one, other):
    def flat(messages):
        """As rendered: adjacent text parts are one text, an absent list of parts is an empty text."""
        return [
            (message["role"], _joined(message["content"]), bool(message.get("tool_calls")))
            for message in messages
        ]

    assert (chat(one) == chat(other)) == (flat(one) == flat(other))


def _joined(content):
    if isinstance(content, str):
        return content
    joined = []
    for part in content:
        if "text" in part and joined and isinstance(joined[-1], str):
            joined[-1] += part["text"]
        elif "text" not in part or part["text"]:
            joined.append(part.get("text") or part["image_url"]["url"].encode())
    return (
        "" if not joined else joined[0] if len(joined) == 1 and isinstance(joined[0], str) else tuple(joined)
    )


@given(TEXT)
def test_a_string_is_one_text_part(text):
    assert chat(user(text)) == chat(user([{"type": "text", "text": text}])) == chat(user([text]))


@given(st.binary(min_size=1, max_size=9), st.binary(min_size=1, max_size=9))
def test_images_are_told_apart_by_their_bytes(one, other):
    def image(raw):
        url = f"data:image/png;base64,{raw.hex()}"
        return chat(
            user([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what?"}])
        )

    assert (image(one) == image(other)) == (one == other)


def test_images_are_told_apart_by_their_url():
    def image(url):
        return chat(user([{"type": "image_url", "image_url": {"url": url}}]))

    assert image("https://a.example/1.png") != image("https://a.example/2.png")


def test_tools_come_first():
    tools = [{"type": "function", "function": {"name": "search"}}]
    short, long = chat(user("a"), tools=tools), chat(user("a") * 2, tools=tools)
    assert long.startswith(short)
    assert short.index(b"search") < short.index(b"user")
    assert chat(user("a"), tools=[]) == chat(user("a"))


def test_lone_surrogates_are_text_as_any():
    lone, other = chat(user("\ud800")), chat(user("\ud801"))
    assert lone != other
    assert chat(user("\ud800x")).startswith(lone)
    assert chat(user([{"type": "odd", "value": "\ud800"}])) != chat(
        user([{"type": "odd", "value": "\ud801"}])
    )


@given(st.lists(st.integers(0, 2**32 - 1), max_size=9), st.lists(st.integers(0, 2**32 - 1), max_size=9))
def test_token_ids_keep_their_prefixes(ids, more):
    def completion(prompt):
        return canonical_prompt(RouteKind.COMPLETIONS, {"prompt": prompt})

    assert completion(ids + more).startswith(completion(ids))
    assert len(completion(ids)) == 4 * len(ids)
    if ids:
        assert completion([ids, more]).startswith(completion(ids))


@pytest.mark.parametrize("ids", [[-1], [2**32], [1.5], [None, 1], [{}], [[-1], "x"]])
def test_ids_that_are_none_count_for_nothing(ids):
    assert isinstance(canonical_prompt(RouteKind.COMPLETIONS, {"prompt": ids}), bytes)


def test_the_same_question_in_every_api():
    responses = canonical_prompt(RouteKind.RESPONSES, {"instructions": "be kind", "input": "hi"})
    listed = canonical_prompt(RouteKind.RESPONSES, {"instructions": "be kind", "input": user("hi")})
    anthropic = canonical_prompt(RouteKind.MESSAGES, {"system": "be kind", "messages": user("hi")})
    openai = chat([{"role": "system", "content": "be kind"}, *user("hi")])
    assert responses == listed == anthropic == openai


def test_a_call_and_its_output_are_part_of_the_prompt():
    def responses(output):
        items = [*user("hi"), {"type": "function_call_output", "call_id": "1", "output": output}]
        return canonical_prompt(RouteKind.RESPONSES, {"input": items})

    assert responses("1") != responses("2")


def test_a_system_prompt_is_not_the_users_words():
    assert chat([{"role": "system", "content": "x"}]) != chat(user("x"))


@given(MESSAGES, st.lists(MESSAGE, max_size=3))
def test_a_conversation_is_named_by_its_first_user_turn(messages, more):
    start = [*messages, *user("first of all")]
    body = {"messages": start}
    longer = {"messages": [*start, *more]}
    assert first_user_turn(RouteKind.CHAT, body) == first_user_turn(RouteKind.CHAT, longer)


@given(TEXT, TEXT, st.none() | TEXT, st.none() | TEXT)
def test_namespaces_differ_by_model_and_salt(model, other, salt, pepper):
    same = namespace(model, salt) == namespace(other, pepper)
    assert same == ((model, salt or "") == (other, pepper or ""))


def test_a_salt_of_the_wrong_type_is_none():
    assert namespace("m", 7) == namespace("m", None)
    assert namespace("\ud800", "\ud800")
