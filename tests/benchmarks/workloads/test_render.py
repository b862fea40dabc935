"""Words for lengths: equal keys are equal bytes, nothing else is shared, and counts are what was drawn."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.scheduling.indexed import BLOCK_TOKENS
from balancer.embedded.prompts import Message, render_chat
from balancer.embedded.tokenizer import Tokenizer
from benchmarks.workloads import WORKLOADS, Session, Traffic
from benchmarks.workloads.render import render
from benchmarks.workloads.scale import scaled
from benchmarks.workloads.script import COMPLETIONS_PATH, Conversation, Script
from benchmarks.workloads.texts import Template, Texts, spell
from benchmarks.workloads.traffic import EMPTY, Text, Writer, ask_once

EMBEDDED = Texts(1.0, Template(prompt=9, system=5, turn=11))
"""What `calibrate` finds of an embedded replica (test_calibrate)."""


def rendered(*sessions: Session, texts: Texts = EMBEDDED, seed: int = 1, **how) -> Script:
    return render(Traffic(list(sessions), 0.0, 10.0), texts, name="made", seed=seed, **how)


def prompts(script: Script) -> list[str]:
    """Of each conversation, all that its first request says."""
    return [
        " ".join(message["content"] for message in each.asks[0].body["messages"])
        for each in script.conversations
    ]


def common_words(one: str, other: str) -> int:
    words = list(zip(one.split(), other.split(), strict=False))
    return next((place for place, (a, b) in enumerate(words) if a != b), len(words))


def once(user: str, text: Text, **more) -> Session:
    return ask_once(0.0, user, text, 10, **more)


@given(
    common=st.integers(0, 400),
    one=st.integers(100, 400),
    other=st.integers(100, 400),
    ratio=st.floats(0.3, 1.5),
)
def test_two_prompts_begin_alike_as_far_as_their_keys_say(common, one, other, ratio):
    writer = Writer()
    stem = writer.append(EMPTY, common)
    first, second = writer.append(stem, one), writer.append(stem, other)
    texts = replace(EMBEDDED, words_per_token=ratio)
    shared = common_words(*prompts(rendered(once("a", first), once("b", second), texts=texts)))
    blocks = len(set(first.keys) & set(second.keys))
    assert blocks * max(1, texts.words(BLOCK_TOKENS)) <= shared
    assert shared <= blocks * texts.words(BLOCK_TOKENS) + 3  # words that are alike by chance


@given(tokens=st.integers(1, 400), scale=st.sampled_from([1, 16, 64]))
def test_a_system_prompt_is_the_same_to_its_last_word_for_all_that_have_it_and_for_no_other(tokens, scale):
    writer = Writer()
    same, different = writer.system(tokens), writer.system(tokens)
    texts = [writer.append(system, 3_000) for system in (same, same, different)]
    traffic = Traffic([once(str(n), text) for n, text in enumerate(texts)], 0.0, 10.0)
    script = render(scaled(traffic, scale), EMBEDDED, name="made", seed=1)
    systems = [each.asks[0].body["messages"][0] for each in script.conversations]
    assert [message["role"] for message in systems] == ["system"] * 3
    assert systems[0] == systems[1] != systems[2]
    assert len(systems[0]["content"].split()) == max(1, tokens // scale)
    users = [each.asks[0].body["messages"][1]["content"] for each in script.conversations]
    assert len(set(users)) == 3


def test_what_repeats_is_the_same_to_its_last_word_and_what_does_not_ends_in_words_of_its_own():
    text = Writer().append(EMPTY, 300)
    repeated = prompts(rendered(once("a", text, repeats=True), once("a", text, repeats=True)))
    assert repeated[0] == repeated[1]
    one, other = prompts(rendered(once("a", text), once("a", text)))
    assert 256 <= common_words(one, other) < 260


def test_a_longer_text_begins_with_the_shorter_one_and_another_name_is_another_text():
    assert spell("a", 50).startswith(spell("a", 20) + " ")
    assert spell("a", 20) != spell("b", 20)
    assert spell("a", 0) == ""


def tokens_of(conversation: Conversation) -> list[tuple[int, int]]:
    """(tokens of the whole prompt by the embedded tokenizer, tokens meant) of each request."""
    tokenizer, said, counts = Tokenizer(), [], []
    for ask in conversation.asks[:4]:
        if ask.path == COMPLETIONS_PATH:
            counts.append((len(tokenizer.encode(ask.body["prompt"])), ask.prompt_tokens))
            continue
        said += [Message(**message) for message in ask.body["messages"]]
        counts.append((len(render_chat(tokenizer, said)), ask.prompt_tokens))
        said.append(Message(role="assistant", content=" ".join(["word"] * ask.output_tokens)))
    return counts


@pytest.mark.parametrize("name", sorted(set(WORKLOADS) - {"tiers"}))
def test_every_prompt_has_as_many_tokens_as_were_drawn(name):
    workload = WORKLOADS[name]
    traffic = workload.at(0.5 * workload.capacity, 1, seed=1, duration_s=200, settle_s=10)
    script = render(replace(traffic, sessions=traffic.sessions[:3], then=None), EMBEDDED, name=name, seed=1)
    for conversation in script.conversations:
        for counted, meant in tokens_of(conversation):
            assert counted == pytest.approx(meant, rel=0.01, abs=EMBEDDED.template.turn)


def test_bodies_bound_their_answers_and_leave_model_and_stream_to_the_client():
    (conversation,) = rendered(once("a", Text(100, ()))).conversations
    (ask,) = conversation.asks
    assert ask.body.keys() == {"messages", "max_tokens", "temperature", "ignore_eos"}
    assert (ask.body["max_tokens"], ask.output_tokens, ask.prompt_tokens) == (10, 10, 100)
    (other,) = rendered(once("a", Text(100, ())), ignore_eos=False).conversations
    assert "ignore_eos" not in other.asks[0].body


def test_a_script_has_all_of_its_traffic_background_stages_and_labels():
    traffic = scaled(WORKLOADS["sub_agents"].at(0.3, 1, seed=1, duration_s=60, settle_s=10), 16)
    script = render(traffic, EMBEDDED, name="sub_agents", seed=1)
    for session, conversation in zip(traffic.sessions, script.conversations, strict=True):
        assert (session.arrival_s, session.user) == (conversation.arrival_s, conversation.name)
        for turn, ask in zip(session.turns, conversation.asks, strict=True):
            assert (turn.think_s, len(turn.background)) == (ask.think_s, len(ask.background))
    children = [c for each in script.conversations for ask in each.asks for c in ask.background]
    assert {ask.label for child in children for ask in child.asks} == {"sub-agent"}
    texts = [child.asks[0].body["messages"][1]["content"] for child in children]
    assert len(set(texts)) == len(texts)

    ladder = scaled(WORKLOADS["ladder"].traffic(1.0, 1, 1), 16)
    fill, *stages = render(ladder, EMBEDDED, name="ladder", seed=1).stages()
    assert fill.start_s == fill.end_s, "nothing of it is measured"
    assert [stage.name for stage in stages][:2] == ["3 qps", "10 qps"]
    known = {each.asks[0].body["messages"][1]["content"] for each in fill.conversations}
    assert {each.asks[0].body["messages"][1]["content"] for each in stages[-1].conversations} <= known


def test_routes_and_recorded_texts_are_sent_as_what_they_are():
    mixed = render(WORKLOADS["mixed_routes"].at(3.0, 1, 1, duration_s=20), EMBEDDED, name="mixed", seed=1)
    labels = {ask.label for each in mixed.conversations for ask in each.asks}
    assert labels == {"chat", "chat, whole", "completion", "completion, whole"}
    for conversation in mixed.conversations:
        for ask in conversation.asks:
            assert ask.label.endswith(", whole") != ask.stream
            assert ("prompt" in ask.body) == (ask.path == COMPLETIONS_PATH)
    tiers = render(WORKLOADS["tiers"].traffic(0.5, 1, 1), EMBEDDED, name="tiers", seed=1)
    assert {ask.label for each in tiers.conversations for ask in each.asks} == {"easy", "hard"}


@given(scale=st.integers(2, 100), seed=st.integers(0, 20))
def test_scaled_traffic_keeps_its_times_its_turns_and_what_is_shared(scale, seed):
    workload = WORKLOADS[Random(seed).choice(["chat", "agents", "sub_agents", "fresh_questions"])]
    traffic = workload.at(0.2, 1, seed, duration_s=60, settle_s=10)
    small = scaled(traffic, scale)
    for before, after in zip(traffic.sessions, small.sessions, strict=True):
        assert (before.arrival_s, before.user) == (after.arrival_s, after.user)
        assert after.keys == before.keys[scale - 1 :: scale]
        said = 0
        for old, new in zip(before.turns, after.turns, strict=True):
            assert new.prompt_tokens > said
            assert new.prompt_tokens >= old.prompt_tokens // scale
            said = new.prompt_tokens + new.output_tokens
            assert len(new.background) == len(old.background)


def test_scale_is_a_whole_number_from_one_on():
    traffic = Traffic([], 0.0, 1.0)
    assert scaled(traffic, 1) is traffic
    with pytest.raises(ValueError, match="--scale"):
        scaled(traffic, 0)
