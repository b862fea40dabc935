"""A stream that breaks anywhere, gone on with by another engine: the client must not be able to tell."""

import json
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.types import RouteKind
from balancer.vllm_api import events as sse
from balancer.vllm_api.resume import going_on, is_sound, with_ids
from balancer.vllm_api.splice import Splice, WithoutIds, ending
from balancer.vllm_api.tape import FOLD_BYTES, Tape

CHAT, COMPLETIONS = RouteKind.CHAT, RouteKind.COMPLETIONS
PROMPT_IDS = [900, 901, 902]
TEXTS = ["Hel", "lo", " wor", "", "ld é", "\n", "", "", "日", " end", "\n\n", " x "]


class Engine:
    """Greedy, and certain of its answer: piece by piece, of which an empty one is part of a character."""

    def __init__(self, pieces, id_="cmpl-2", created=2, lumps=(1,)):
        self.pieces = pieces
        self.lumps = lumps  # so many tokens an event, in turn
        self.id, self.created = id_, created
        self.asked = []

    def stream(self, kind, body):
        """The events of the answer to a request, which may go on from a part of it."""
        self.asked.append(body)
        chat = kind is CHAT
        start, prompt_ids, again = self._start(chat, body)
        tokens = [*([again] if again else []), *self.pieces[start:]]
        limit = body.get("max_completion_tokens", body.get("max_tokens", None if chat else 16))
        finish = "stop" if limit is None or len(tokens) < limit else "length"
        tokens = tokens if limit is None else tokens[:limit]
        ids = body.get("return_token_ids")
        usage = {"prompt_tokens": len(prompt_ids), "completion_tokens": 0}
        if chat:
            yield self._event(
                [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
                **({"prompt_token_ids": prompt_ids} if ids else {}),
            )
        number = 0
        for most in cycle(self.lumps):
            if number >= len(tokens):
                break
            lump = min(most, len(tokens) - number)
            usage["completion_tokens"] += lump
            piece = "".join(tokens[number : number + lump])
            place = {"delta": {"content": piece}} if chat else {"text": piece}
            last = number + lump == len(tokens)
            choice = {"index": 0, **place, "finish_reason": finish if last else None}
            if ids:
                choice["token_ids"] = list(range(start + number, start + number + lump))
                if not chat and not number:
                    choice["prompt_token_ids"] = prompt_ids
            number += lump
            yield self._event([choice])
        options = body.get("stream_options") or {}
        if options.get("include_usage"):
            usage["total_tokens"] = sum(usage.values())
            yield self._event([], usage=usage)
        yield sse.DONE

    def _start(self, chat, body):
        """How much of the answer the prompt has already, its ids, and what it has not of the last piece: the template took
        whitespace, which comes again.
        """
        if not chat and isinstance(body["prompt"], list):
            start = len(body["prompt"]) - len(PROMPT_IDS)
            # vLLM's detokenizer would give the whole prompt as the first piece of the answer
            assert not start or self.pieces[start - 1] != "", "gone on from the middle of a character"
            return start, body["prompt"], ""
        if chat:
            given_text = body["messages"][-1]["content"] if body.get("continue_final_message") else ""
        else:
            given_text = body["prompt"].removeprefix("Say: ")
        start = next(
            n for n in range(len(self.pieces) + 1) if "".join(self.pieces[:n]).startswith(given_text)
        )
        return start, [*PROMPT_IDS, *range(start)], "".join(self.pieces[:start])[len(given_text) :]

    def _event(self, choices, **more):
        chunk = {
            "id": self.id,
            "object": "x",
            "created": self.created,
            "model": "m",
            "choices": choices,
            **more,
        }
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def ask(kind, **more):
    prompt = {"messages": [{"role": "user", "content": "Say"}]} if kind is CHAT else {"prompt": "Say: "}
    return {"model": "m", "stream": True, "temperature": 0, **prompt, **more}


def told(raw):
    """What the client understood: text, finish reasons, usages, envelopes, whether it was ended."""
    text, finishes, usages, envelopes, roles = "", [], [], set(), 0
    data = sse.payloads(raw)
    for each in data:
        if each == b"[DONE]":
            continue
        chunk = json.loads(each)
        assert "prompt_token_ids" not in chunk
        envelopes.add((chunk["id"], chunk["created"], chunk["model"]))
        if not chunk["choices"]:
            usages.append(chunk["usage"])
        for choice in chunk["choices"]:
            assert not choice.keys() & {"token_ids", "prompt_token_ids"}
            text += choice.get("text") or choice.get("delta", {}).get("content") or ""
            roles += "role" in choice.get("delta", {})
            if choice["finish_reason"]:
                finishes.append(choice["finish_reason"])
    assert len(envelopes) == 1
    return text, finishes, usages, roles, data[-1] == b"[DONE]"


def relayed(kind, body, pieces, breaks, *, exact, context_tokens=None, lumps=(1,)):
    """What the client gets, if the stream breaks after so many events, again and again."""
    raw = json.dumps(body).encode()
    rewrite, splice = None, None
    if exact:
        raw, rewrite = with_ids(body, raw), WithoutIds()
    asked_kind, asked = kind, json.loads(raw)
    tape, out = Tape(), b""
    for leg, after in enumerate([*breaks, None]):
        events = list(Engine(pieces, f"cmpl-{leg}", leg, lumps).stream(asked_kind, asked))
        whole = after is None or after >= len(events)
        if splice is not None:
            out += splice.begin()
        given = b"".join(events if whole else events[:after])
        tape.feed(given)
        out += (splice or rewrite).feed(given) if splice or rewrite else given
        if whole:
            return out
        delivered = tape.delivered()
        rest = going_on(kind, body, delivered, context_tokens=context_tokens)
        assert rest is not None
        if rest.body is None:
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return out + ending(delivered, rest, chat=kind is CHAT, usage=usage)
        asked_kind = CHAT if rest.path.endswith("chat/completions") else COMPLETIONS
        asked = json.loads(rest.body)
        tape.rewind(rest.text)
        splice = Splice(delivered, rest, chat=kind is CHAT, ids=False)
    raise AssertionError


pieces = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=30)


@pytest.mark.parametrize("kind", [CHAT, COMPLETIONS])
@given(
    pieces=pieces,
    breaks=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    limit=st.integers(1, 40),
    usage=st.booleans(),
    lumps=st.lists(st.integers(1, 4), min_size=1, max_size=5),
)
def test_by_ids_nobody_can_tell(kind, pieces, breaks, limit, usage, lumps):
    body = ask(kind, max_tokens=limit, **({"stream_options": {"include_usage": True}} if usage else {}))
    undisturbed = WithoutIds().feed(b"".join(Engine(pieces, "cmpl-0", 0).stream(kind, body)))
    out = relayed(kind, body, pieces, breaks, exact=True, lumps=lumps)
    assert told(out) == told(undisturbed)


@pytest.mark.parametrize("kind", [CHAT, COMPLETIONS])
@given(
    pieces=pieces,
    breaks=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    limit=st.none() | st.integers(1, 40),
)
def test_by_text_nothing_is_lost_or_repeated(kind, pieces, breaks, limit):
    body = ask(kind) if limit is None else ask(kind, max_tokens=limit)
    undisturbed = b"".join(Engine(pieces, "cmpl-0", 0).stream(kind, body))
    text, finishes, _, roles, ended = told(relayed(kind, body, pieces, breaks, exact=False))
    whole, whole_finishes, _, whole_roles, _ = told(undisturbed)
    assert (roles, ended, len(finishes)) == (whole_roles, True, 1)
    if all(piece and piece == piece.rstrip() for piece in pieces):  # tokens and text run in step
        assert (text, finishes) == (whole, whole_finishes)
    else:
        assert text.startswith(whole) or whole.startswith(text)


def test_usage_counts_all_legs():
    body = ask(CHAT, max_tokens=9, stream_options={"include_usage": True})
    for exact in (True, False):
        for after in range(1, 12):
            *_, usages, roles, ended = told(relayed(CHAT, body, list("abcdefghijk"), [after], exact=exact))
            assert usages == [{"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}], after
            assert (roles, ended) == (1, True)


def test_what_an_earlier_usage_told_of_the_prompt_holds():
    tape = Tape()
    chunk = {"id": "1", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]}
    chunk["usage"] = {"prompt_tokens": 7, "completion_tokens": 1}
    tape.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert going_on(CHAT, ask(CHAT), tape.delivered()).prompt_tokens == 7


def test_a_chat_without_a_limit_goes_on_to_the_end_of_its_context():
    tape = Tape()
    asked = ask(CHAT) | {"return_token_ids": True}
    tape.feed(b"".join(list(Engine(list("abcdef")).stream(CHAT, asked))[:4]))
    rest = going_on(CHAT, ask(CHAT), tape.delivered(), context_tokens=100)
    assert json.loads(rest.body)["max_tokens"] == 100 - len(PROMPT_IDS) - 3
    assert json.loads(rest.body)["prompt"] == [*PROMPT_IDS, 0, 1, 2]
    # not known: by text, where no limit is needed
    rest = going_on(CHAT, ask(CHAT), tape.delivered())
    assert json.loads(rest.body)["messages"][-1] == {"role": "assistant", "content": "abc"}


@pytest.mark.parametrize(
    "more",
    [
        {"stop": ["x"]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
    ],
)
def test_where_ids_do_not_say_all_text_is_gone_on_from(more):
    tape = Tape()
    asked = ask(CHAT, max_tokens=9) | {"return_token_ids": True}
    tape.feed(b"".join(list(Engine(list("abcdef")).stream(CHAT, asked))[:4]))
    rest = json.loads(going_on(CHAT, ask(CHAT, max_tokens=9) | more, tape.delivered()).body)
    assert (rest["continue_final_message"], rest["add_generation_prompt"], rest["max_tokens"]) == (
        True,
        False,
        6,
    )
    assert "prompt" not in rest


def test_an_answer_that_the_client_began_goes_on():
    body = ask(CHAT, continue_final_message=True, add_generation_prompt=False)
    body["messages"].append({"role": "assistant", "content": "I say "})
    tape = Tape()
    tape.feed(b"".join(list(Engine(list("abcdef")).stream(CHAT, ask(CHAT)))[:3]))
    rest = json.loads(going_on(CHAT, body, tape.delivered()).body)
    assert rest["messages"][-1] == {"role": "assistant", "content": "I say ab"}
    assert len(rest["messages"]) == 2


def test_a_minimum_is_what_is_left_of_it():
    tape = Tape()
    tape.feed(b"".join(list(Engine(list("abcdef")).stream(CHAT, ask(CHAT)))[:4]))
    assert json.loads(going_on(CHAT, ask(CHAT, min_tokens=5), tape.delivered()).body)["min_tokens"] == 2
    assert json.loads(going_on(CHAT, ask(CHAT, min_tokens=2), tape.delivered()).body)["min_tokens"] == 0


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"n": [1]},
        {"best_of": 3},
        {"tools": [{"type": "function"}]},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "a"}},
        {"guided_json": {}},
        {"echo": True},
        {"use_beam_search": True},
        {"temperature": None},
        {"temperature": 0.7},
        {"temperature": False},
        {"frequency_penalty": 0.5},
        {"prompt_logprobs": 1},
        {"truncate_prompt_tokens": 10},
        {"thinking_token_budget": 10},
        {"messages": []},
        {"messages": "x"},
    ],
)
def test_what_is_not_sound(more):
    assert is_sound(CHAT, ask(CHAT), sampled=False)
    assert not is_sound(CHAT, ask(CHAT) | more, sampled=False)


@pytest.mark.parametrize("prompt", [["a", "b"], [[1], [2]], [], None, 7, [1, "a"]])
def test_a_completion_has_one_prompt(prompt):
    assert not is_sound(COMPLETIONS, ask(COMPLETIONS, prompt=prompt), sampled=False)
    for one in ("a", ["a"], [1, 2], [[1, 2]]):
        assert is_sound(COMPLETIONS, ask(COMPLETIONS, prompt=one), sampled=False)


def test_sampled_answers_are_gone_on_with_where_that_is_allowed():
    body = ask(CHAT, temperature=0.7, frequency_penalty=0.5)
    assert not is_sound(CHAT, body, sampled=False)
    assert is_sound(CHAT, body, sampled=True)
    assert not is_sound(CHAT, body | {"n": 2}, sampled=True)


def test_ids_of_a_prompt_cannot_be_gone_on_from_by_text():
    tape = Tape()
    tape.feed(b"".join(list(Engine(list("abc")).stream(COMPLETIONS, ask(COMPLETIONS)))[:2]))
    assert going_on(COMPLETIONS, ask(COMPLETIONS, prompt=[1, 2]), tape.delivered()) is None


@pytest.mark.parametrize(
    "delta",
    [{"reasoning": "hm"}, {"reasoning_content": "hm"}, {"tool_calls": [{"index": 0}]}, {"refusal": "no"}],
)
def test_more_than_text_is_not_gone_on_from(delta):
    tape = Tape()
    for choice in ({"index": 0, "delta": {"content": "a"}}, {"index": 0, "delta": delta}):
        chunk = {"id": "1", "created": 1, "model": "m", "choices": [choice]}
        tape.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert going_on(CHAT, ask(CHAT), tape.delivered()) is None


@given(st.lists(st.binary(max_size=60).filter(lambda piece: piece.strip() != b"[DONE]"), max_size=8))
def test_what_is_no_chunk_is_not_gone_on_from(pieces):
    tape = Tape()
    for piece in pieces:
        tape.feed(b"data: " + piece.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n")
    delivered = tape.delivered()
    assert delivered.text == ""
    assert not delivered.sound or not b"".join(pieces).strip()


def test_a_long_stream_is_kept_as_text_alone():
    tape = Tape()
    body = ask(CHAT)
    words = [f"word{number} " for number in range(5_000)]
    held = []
    for event in Engine(words).stream(CHAT, body):
        tape.feed(event)
        held.append(len(tape._events))
    assert max(held) <= FOLD_BYTES
    delivered = tape.delivered()
    assert (delivered.text, delivered.tokens, delivered.finish_reason) == ("".join(words), 5_000, "stop")


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4))
def test_a_request_with_ids_asked_for_keeps_its_bytes(more):
    body = {"model": "m"} | more
    raw = b"  " + json.dumps(body, indent=1).encode()
    asked = with_ids(body, raw)
    assert json.loads(asked) == body | {"return_token_ids": True}
    assert asked.endswith(raw.strip()[1:])


def test_what_has_no_end_is_not_lost():
    """An event that is too long to be kept is given as it comes, in parts."""
    event = b"data: " + json.dumps({"choices": [{"token_ids": [1], "text": "x" * 100}]}).encode() + b"\n\n"
    for at in range(1, len(event) - 1):
        assert WithoutIds().feed(event[:at]) == event[:at]


def test_a_long_prompts_ids_are_kept_as_they_came():
    tape = Tape()
    chunk = {
        "id": "1",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "a"}, "token_ids": [5]}],
    }
    chunk["prompt_token_ids"] = list(range(200_000))
    tape.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert isinstance(tape._prompt_ids, bytes)
    delivered = tape.delivered()
    assert (delivered.prompt_ids, delivered.ids) == (list(range(200_000)), [5])
