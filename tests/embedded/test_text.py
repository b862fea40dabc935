"""Tokenizer and continuation: what their docstrings promise holds."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancer.embedded.continuation import Limits, continuation
from balancer.embedded.prompts import Message, render_chat
from balancer.embedded.tokenizer import (
    CONTINUING,
    END_OF_TEXT,
    FULL_STOP,
    OPENING,
    SPECIAL_IDS,
    VOCAB_SIZE,
    Tokenizer,
)

ENGLISH = """The quick brown fox jumps over the lazy dog, and nobody in the village remembers when it began.
A balancer that knows what every replica holds can send a conversation back to where it is warm; one that
does not will pay for the same prompt again and again."""

texts = st.text(max_size=60) | st.text(alphabet=" \n\tab.!é", max_size=20)
prompts = st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=1, max_size=40)


def test_english_is_about_four_bytes_a_token():
    assert 3.5 < len(ENGLISH) / len(Tokenizer().encode(ENGLISH)) < 5.5


@given(texts)
def test_text_survives_and_no_text_makes_a_control_token(text):
    tokenizer = Tokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(SPECIAL_IDS <= token < VOCAB_SIZE for token in ids)
    assert Tokenizer().encode(text) == ids


def test_every_generated_token_has_its_own_id_and_another_process_can_decode_it():
    generated = [*CONTINUING, *OPENING, FULL_STOP]
    assert len({token for token, _ in generated}) == len({piece for _, piece in generated}) == len(generated)
    assert [Tokenizer().decode([token]) for token, _ in generated] == [piece for _, piece in generated]
    assert Tokenizer().decode([77_777_777]) == "\ufffd"


@given(texts, st.integers(1, 40))
@example("ends in a space ", 5)
@example("ends in a stop.", 5)
@example("two\n\n", 5)
@example("the", 5)
def test_appending_an_answer_to_its_prompt_appends_its_tokens(text, count):
    tokenizer = Tokenizer()
    ids = tokenizer.encode(text) or [END_OF_TEXT]
    answer = continuation(ids, Limits(count, ignore_eos=True))
    if ids != [END_OF_TEXT]:
        assert tokenizer.encode(text + answer.text) == ids + answer.token_ids
    assert tokenizer.decode(answer.token_ids) == answer.text


@given(prompts, st.integers(2, 60), st.data())
def test_going_on_from_a_part_of_the_answer_gives_the_rest(prompt, count, data):
    whole = continuation(prompt, Limits(count))
    cut = data.draw(st.integers(0, len(whole.token_ids) - 1))
    rest = continuation([*prompt, *whole.token_ids[:cut]], Limits(count - cut))
    assert rest.token_ids == whole.token_ids[cut:]
    assert rest.finish_reason == whole.finish_reason


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), texts), min_size=1), st.data())
def test_a_chat_that_is_continued_by_the_text_of_its_answer_gives_the_rest(turns, data):
    messages = [Message(role=role, content=content) for role, content in turns]
    prompt = render_chat(Tokenizer(), messages)
    whole = continuation(prompt, Limits(data.draw(st.integers(2, 300))))
    cut = data.draw(st.integers(1, len(whole.token_ids) - 1)) if len(whole.token_ids) > 1 else 0
    said = Message(role="assistant", content="".join(whole.pieces[:cut]))
    options = {"add_generation_prompt": False, "continue_final_message": True}
    continued = render_chat(Tokenizer(), [*messages, said], **options)
    assert continued == prompt + whole.token_ids[:cut]
    assert continuation(continued, Limits(300)).text.startswith("".join(whole.pieces[cut:]))


@given(prompts)
def test_prompts_and_choices_differ(prompt):
    limits = Limits(30, ignore_eos=True)
    assert continuation(prompt, limits).token_ids == continuation(prompt, limits).token_ids
    assert continuation(prompt, limits).token_ids != continuation([*prompt, 5000], limits).token_ids
    assert continuation(prompt, limits).token_ids != continuation(prompt, limits, 1).token_ids


def test_lengths_have_their_mean_and_obey_the_limits():
    lengths = [len(continuation([seed], Limits(5000)).token_ids) for seed in range(300, 800)]
    assert 170 < sum(lengths) / len(lengths) < 230
    short = next(seed for seed in range(300, 800) if len(continuation([seed], Limits(5000)).token_ids) < 20)
    natural = continuation([short], Limits(5000))
    assert natural.finish_reason == "stop"
    assert natural.token_ids[-1] == END_OF_TEXT
    assert len(continuation([short], Limits(5000, min_tokens=30)).token_ids) > 30
    forced = continuation([short], Limits(50, ignore_eos=True))
    assert (len(forced.token_ids), forced.finish_reason) == (50, "length")


@given(prompts, st.integers(0, 20), st.integers(1, 5))
def test_a_stop_string_ends_the_text_before_it_and_the_tokens_with_it(prompt, start, length):
    plain = continuation(prompt, Limits(40, ignore_eos=True))
    stop = plain.text[start : start + length]
    stopped = continuation(prompt, Limits(40, ignore_eos=True, stop=("never in there", stop)))
    assert stopped.text == plain.text[: plain.text.index(stop)]
    assert stopped.stop_reason == stop
    assert stopped.finish_reason == "stop"
    assert len(stopped.pieces) == len(stopped.token_ids)
    assert plain.token_ids[: len(stopped.token_ids)] == stopped.token_ids
    assert stop in "".join(plain.pieces[: len(stopped.token_ids)])
    assert stop not in "".join(plain.pieces[: len(stopped.token_ids) - 1])


def test_sentences_end_now_and_then():
    ids = continuation([1000], Limits(2000, ignore_eos=True)).token_ids
    assert 0.03 < ids.count(FULL_STOP[0]) / len(ids) < 0.1


def test_stop_strings_wait_for_min_tokens_and_stop_tokens_end_the_answer():
    plain = continuation([1000], Limits(40, ignore_eos=True))
    late = continuation([1000], Limits(40, min_tokens=20, ignore_eos=True, stop=(" ",)))
    assert len(late.token_ids) == 21
    third = plain.token_ids[2]
    stopped = continuation([1000], Limits(40, ignore_eos=True, stop_token_ids=frozenset({third})))
    assert stopped.token_ids == plain.token_ids[:3]
    assert stopped.stop_reason == third
    assert stopped.text == "".join(plain.pieces[:2])


@pytest.mark.parametrize("text", ["\ud800", "\x00", "\u200b\u2028"])
def test_odd_characters_are_text_too(text):
    tokenizer = Tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text
