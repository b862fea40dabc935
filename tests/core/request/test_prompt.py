"""Where the prompt stands in each body, what comes before its turns, and what keeps prompts apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.prefix.blocks import BLOCK_BYTES
from balancer.core.request.pieces import IMAGE_TOKENS, WEIGHED_PIECES, json_bytes
from balancer.core.request.prompt import Prompt, canonical_prompt, namespace
from balancer.core.types import RouteKind
from tests.core.request.bodies import (
    BODY,
    TEXT,
    anthropic,
    canonical,
    chat,
    common_bytes,
    completion,
    responses,
    user,
)


@given(st.sampled_from(RouteKind), BODY)
def test_no_shape_of_body_raises(route, body):
    assert isinstance(canonical_prompt(route, body), Prompt)


FUNCTION = {"name": "search", "description": "d", "parameters": {"type": "object", "properties": {}}}
CHAT_TOOL = {"type": "function", "function": FUNCTION}


def test_tools_come_first():
    short, long = chat(user("a"), tools=[CHAT_TOOL]), chat(user("a") * 2, tools=[CHAT_TOOL])
    assert long.startswith(short)
    assert short.index(b"search") < short.index(b"user")
    assert chat(user("a"), tools=[]) == chat(user("a"), tools=None) == chat(user("a"))


def test_the_same_tool_in_every_api():
    flat = {"type": "function", **FUNCTION}
    schema = {"name": "search", "description": "d", "input_schema": FUNCTION["parameters"]}
    openai = chat(user("a"), tools=[CHAT_TOOL])
    assert responses("a", tools=[flat]) == openai
    assert anthropic(user("a"), tools=[{**schema, "cache_control": {"type": "ephemeral"}}]) == openai


@pytest.mark.parametrize(
    "other",
    [
        {"name": "find"},
        {"description": "e"},
        {"parameters": {"properties": {}, "type": "object"}},  # rendered in the order of its keys
        {"strict": True},
    ],
)
def test_tools_that_differ(other):
    changed = {"type": "function", "function": {**FUNCTION, **other}}
    assert chat(user("a"), tools=[changed]) != chat(user("a"), tools=[CHAT_TOOL])


def test_built_in_tools_differ_by_their_settings():
    assert responses("a", tools=[{"type": "mcp", "server_label": "a"}]) != responses(
        "a", tools=[{"type": "mcp", "server_label": "b"}]
    )


LONG = user("x" * 1000)


@pytest.mark.parametrize(
    "setting",
    [
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"reasoning_effort": "low"},
        {"documents": [{"title": "t", "text": "x"}]},
        {"chat_template": "{{ messages }}"},
        {"mm_processor_kwargs": {"max_pixels": 1}},
        {"add_special_tokens": True},
    ],
)
def test_what_a_template_may_render_first_keeps_prompts_apart_from_the_first_block_on(setting):
    assert common_bytes(chat(LONG), chat(LONG, **setting)) < BLOCK_BYTES
    assert chat(LONG + LONG, **setting).startswith(chat(LONG, **setting))


@pytest.mark.parametrize(
    "setting",
    [
        {"add_generation_prompt": False},
        {"continue_final_message": True},
        {"tool_choice": "none"},
        {"chat_template_kwargs": {}},
        {"chat_template_kwargs": None, "documents": None, "reasoning_effort": None},
        {"documents": []},
        {"add_special_tokens": False},
        {"temperature": 0, "user": "u", "metadata": {"a": "b"}, "stream": True},
    ],
)
def test_what_renders_last_or_not_at_all_is_left_out(setting):
    assert chat(LONG, **setting) == chat(LONG)


def test_settings_have_no_order():
    one, other = {"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1}
    assert chat(LONG, chat_template_kwargs=one) == chat(LONG, chat_template_kwargs=other)


def test_reasoning_effort_in_every_api():
    low = chat(user("a"), reasoning_effort="low")
    assert chat(user("a"), chat_template_kwargs={"reasoning_effort": "low"}) == low
    assert responses("a", reasoning={"effort": "low"}) == low
    assert anthropic(user("a"), output_config={"effort": "low"}) == low
    assert anthropic(user("a"), thinking={"type": "disabled"}) == chat(user("a"), reasoning_effort="none")
    assert anthropic(user("a"), thinking={"type": "adaptive"}) == chat(user("a"))


def test_stored_turns_stand_between_instructions_and_input():
    first, second = (responses("go on", instructions="be kind", previous_response_id=i) for i in ("r1", "r2"))
    assert first != second
    assert common_bytes(first, second) > len(responses([], instructions="be kind"))


IDS = st.lists(st.integers(0, 2**32 - 1), max_size=9)


@given(IDS, IDS)
def test_token_ids_keep_their_prefixes_and_their_count(ids, more):
    assert completion(ids + more).data.startswith(completion(ids).data)
    assert len(completion(ids).data) == 4 * len(ids)
    if ids:
        assert completion(ids).tokens == len(ids)
        assert completion([ids, more]).tokens == len(ids) + len(more)
        assert completion([ids, more]).data.startswith(completion(ids).data)
        assert canonical_prompt(RouteKind.COMPLETIONS, {"token_ids": ids}) == completion(ids)


@pytest.mark.parametrize("ids", [[-1], [2**32], [1.5], [None, 1], [{}], [[-1], "x"]])
def test_ids_that_are_none_count_for_nothing(ids):
    assert isinstance(completion(ids).data, bytes)


@given(TEXT, TEXT)
def test_a_list_begins_as_its_first_prompt_does(one, other):
    assert completion([one]) == completion(one)
    assert completion([one, other]).data.startswith(completion(one).data)
    assert (completion([one, other]) == completion([other, one])) == (one == other)
    assert completion([one, other]) != completion([one + other])
    assert completion([one]).tokens is None
    assert completion([[1], one]).tokens is None


def test_prompts_of_embeddings():
    plain = completion("x", prompt_embeds=None)
    one = completion("x", prompt_embeds="QUJD" * 9000)
    assert plain.data != one.data != completion("x", prompt_embeds="QUJE" * 9000).data
    assert len(one.data) < 100
    assert completion([1, 2], prompt_embeds="QUJD").tokens is None
    assert completion(None, prompt_embeds=["QUJD", "QUJE"]) != completion(
        None, prompt_embeds=["QUJE", "QUJD"]
    )


def test_equal_ids_of_other_pictures():
    def generate(image_hash):
        return canonical(
            RouteKind.COMPLETIONS,
            token_ids=[7] * 99,
            features={"mm_hashes": {"image": [image_hash]}, "kwargs_data": 1},
        )

    assert generate("a") == generate("a") != generate("b")


def test_a_bare_completion_has_no_bos():
    assert (
        completion("x", add_special_tokens=False)
        != completion("x")
        == completion("x", add_special_tokens=True)
    )


def test_every_chat_of_a_batch():
    def batch(*chats):
        return canonical(RouteKind.OTHER, messages=list(chats))

    assert batch(user("a"), user("b")).startswith(batch(user("a")))
    assert batch(user("a"), user("b")) != batch(user("a") + user("b")) != batch(user("b"), user("a"))


def test_pooled_prompts_count_as_work():
    assert canonical(RouteKind.EMBEDDINGS, input="x" * 99) == b"x" * 99
    assert canonical(RouteKind.EMBEDDINGS, messages=user("a")) == chat(user("a"))
    short, long = (canonical(RouteKind.SCORING, query="q", documents=["d" * 99] * n) for n in (1, 5))
    assert long.startswith(short[:-1])
    assert len(long) >= 5 * 99
    assert short == canonical(RouteKind.SCORING, text_1="q", text_2="d" * 99)


def test_what_the_engine_never_sees_has_no_prompt():
    assert canonical(RouteKind.TOKENIZE, messages=user("a"), prompt="x") == b""


def image(url, **more):
    return {"type": "image_url", "image_url": {"url": url}, **more}


@given(st.binary(min_size=1, max_size=9), st.binary(min_size=1, max_size=9))
def test_images_are_told_apart_by_their_bytes(one, other):
    def asked(raw):
        return chat(user([image(f"data:image/png;base64,{raw.hex()}"), {"type": "text", "text": "what?"}]))

    assert (asked(one) == asked(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (image("https://a.example/1.png"), image("https://a.example/2.png")),
        (image(None, uuid="1"), image(None, uuid="2")),
        (image("data:,A", uuid="1"), image("data:,A", uuid="2")),
        (
            {"type": "input_audio", "input_audio": {"data": "A"}},
            {"type": "input_audio", "input_audio": {"data": "B"}},
        ),
        ({"type": "audio_url", "audio_url": {"url": "A"}}, {"type": "video_url", "video_url": {"url": "A"}}),
        (
            {"type": "image_embeds", "image_embeds": {"a": "A"}},
            {"type": "image_embeds", "image_embeds": {"a": "B"}},
        ),
        ({"type": "prompt_embeds", "data": "A"}, {"type": "prompt_embeds", "data": "B"}),
        ({"type": "odd", "x": 1}, {"type": "odd", "x": 2}),
    ],
)
def test_media_that_differ(one, other):
    assert chat(user([one, "what?"])) == chat(user([{**one, "cache_control": {}}, "what?"]))
    assert chat(user([one, "what?"])) != chat(user([other, "what?"]))
    assert chat(user(["before", one])) != chat(user([one, "before"]))


@pytest.mark.parametrize(
    "same",
    [
        image("data:image/jpeg;base64,QUJD"),
        {"type": "image_url", "image_url": "data:image/png;base64,QUJD"},
        {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "auto"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
    ],
)
def test_one_picture_however_it_is_sent(same):
    assert chat(user([same])) == chat(user([image("data:image/png;base64,QUJD")]))


def test_a_picture_sent_once_and_named_again():
    assert chat(user([image("data:,A", uuid="1")])) == chat(user([image(None, uuid="1")]))


def test_a_picture_weighs_what_its_tokens_weigh():
    small, large = (chat(user([image("data:image/png;base64," + "A" * size)])) for size in (10, 10**6))
    assert len(small) == len(large)
    assert len(small) // 4 == pytest.approx(IMAGE_TOKENS, rel=0.05)


def test_a_small_body_of_many_pictures_stays_small():
    def prompt(count):
        return chat(user([image(str(number)) for number in range(count)]))

    assert len(prompt(WEIGHED_PIECES * 10)) < 4 * IMAGE_TOKENS * WEIGHED_PIECES
    assert prompt(WEIGHED_PIECES + 1).startswith(prompt(WEIGHED_PIECES))
    assert prompt(WEIGHED_PIECES + 1) != prompt(WEIGHED_PIECES)


@given(TEXT, TEXT, st.none() | TEXT, st.none() | TEXT)
def test_namespaces_differ_by_model_and_salt(model, other, salt, pepper):
    same = namespace(model, salt) == namespace(other, pepper)
    assert same == ((model, salt or "") == (other, pepper or ""))


def test_a_salt_of_the_wrong_type_is_none():
    assert namespace("m", 7) == namespace("m", None)
    assert namespace("\ud800", "\ud800")


def test_what_cannot_be_written_as_json_is_nothing():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert json_bytes(deep) == b""
    assert json_bytes({"x": 2**70}) != json_bytes({"x": 2**71})
    assert json_bytes(float("nan")) == json_bytes(None)
