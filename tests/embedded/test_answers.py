"""The replica through its front door: what each API answers, whole and streamed."""

import base64
import struct

import aiohttp
import pytest

from tests.embedded.replica_client import CHAT, MESSAGES, RESPONSES, SLOW, TEXT, with_replica

RUNNING = "vllm:num_requests_running{"


def test_chat_whole_and_streamed_say_the_same():
    async def check(client):
        async with client.session.post(
            "/v1/chat/completions", json=CHAT, headers={"X-Request-Id": "mine"}
        ) as response:
            whole = await response.json()
        assert whole["id"] == "chatcmpl-mine"
        assert whole["object"] == "chat.completion"
        assert whole["choices"][0]["finish_reason"] == "length"
        assert whole["usage"]["completion_tokens"] == 5
        assert whole["usage"]["prompt_tokens_details"]["cached_tokens"] == 0

        events = await client.events(
            "/v1/chat/completions", {**CHAT, "stream_options": {"include_usage": True}}
        )
        (role, *deltas, usage), done = [data for _, data in events[:-1]], events[-1]
        assert done == (None, "[DONE]")
        assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert all("role" not in chunk["choices"][0]["delta"] for chunk in deltas)
        assert {chunk["id"] for chunk in (role, *deltas, usage)} == {role["id"]}
        assert {chunk["object"] for chunk in (role, *deltas, usage)} == {"chat.completion.chunk"}
        text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in deltas)
        assert text == whole["choices"][0]["message"]["content"]
        reasons = [chunk["choices"][0]["finish_reason"] for chunk in deltas]
        assert reasons == [None] * (len(deltas) - 1) + ["length"]
        assert usage["choices"] == []
        assert usage["usage"] == {
            "prompt_tokens": 11, "total_tokens": 16, "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 0},
        }  # fmt: skip

    with_replica(check)


def test_completions_take_texts_and_token_ids_one_or_many():
    async def check(client):
        _, tokenized = await client.post("/tokenize", {"prompt": "hello there"})
        for prompt, choices in [
            ("hello there", 1), (tokenized["tokens"], 1), (["hello there", "other"], 2), ([[5, 6], [7], [8, 9]], 3),
        ]:  # fmt: skip
            status, whole = await client.post("/v1/completions", {**TEXT, "prompt": prompt, "n": 2})
            assert status == 200, whole
            assert [choice["index"] for choice in whole["choices"]] == list(range(2 * choices))
            assert whole["usage"]["completion_tokens"] == 10 * choices
            events = await client.events("/v1/completions", {**TEXT, "prompt": prompt, "n": 2})
            texts = [""] * 2 * choices
            for _, chunk in events[:-1]:
                texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
            assert texts == [choice["text"] for choice in whole["choices"]]
        by_text = await client.post("/v1/completions", TEXT)
        by_ids = await client.post("/v1/completions", {**TEXT, "prompt": tokenized["tokens"]})
        assert by_text[1]["choices"][0]["text"] == by_ids[1]["choices"][0]["text"]
        assert (await client.post("/v1/completions", {"prompt": "x", "ignore_eos": True}))[1]["usage"][
            "completion_tokens"
        ] == 16

    with_replica(check)


def test_echo_token_ids_logprobs_and_continuous_usage():
    async def check(client):
        extra = {"echo": True, "return_token_ids": True, "logprobs": 1}
        _, whole = await client.post("/v1/completions", {**TEXT, **extra})
        choice = whole["choices"][0]
        assert choice["text"].startswith("hello there ")
        assert len(choice["token_ids"]) == len(choice["logprobs"]["tokens"]) == 5
        assert (await client.post("/detokenize", {"tokens": choice["prompt_token_ids"]}))[1] == {
            "prompt": "hello there"
        }
        options = {"include_usage": True, "continuous_usage_stats": True}
        events = await client.events("/v1/completions", {**TEXT, **extra, "stream_options": options})
        chunks = [data for _, data in events[:-1]]
        assert [token for chunk in chunks[:-1] for token in chunk["choices"][0]["token_ids"]] == choice[
            "token_ids"
        ]
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == choice["text"]
        assert chunks[0]["choices"][0]["prompt_token_ids"] == choice["prompt_token_ids"]
        assert [chunk["usage"]["completion_tokens"] for chunk in chunks][-2:] == [5, 5]
        chat = await client.events(
            "/v1/chat/completions",
            {**CHAT, "return_token_ids": True, "logprobs": True, "stream_options": options},
        )
        assert len(chat[0][1]["prompt_token_ids"]) == chat[0][1]["usage"]["prompt_tokens"] == 11
        assert chat[0][1]["usage"]["completion_tokens"] == 0
        entry = chat[1][1]["choices"][0]["logprobs"]["content"][0]
        assert bytes(entry["bytes"]).decode() == entry["token"]

    with_replica(check)


def test_a_chat_goes_on_from_a_part_of_its_answer_by_text_and_by_token_ids():
    async def check(client):
        chat = {**CHAT, "max_tokens": 40, "return_token_ids": True}
        events = [data for _, data in await client.events("/v1/chat/completions", chat)]
        deltas = [event["choices"][0] for event in events[1:-1]]
        given, rest = deltas[:15], "".join(choice["delta"]["content"] for choice in deltas[15:])
        ids = [token for choice in given for token in choice["token_ids"]]
        said = "".join(choice["delta"]["content"] for choice in given)

        left = {"max_tokens": 40 - len(ids), "add_generation_prompt": False, "continue_final_message": True}
        messages = [*CHAT["messages"], {"role": "assistant", "content": said}]
        by_text = {**CHAT, **left, "messages": messages}
        (_, first), *others, _ = await client.events("/v1/chat/completions", by_text)
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(data["choices"][0]["delta"]["content"] for _, data in others) == rest
        _, whole = await client.post("/v1/chat/completions", by_text)
        assert whole["choices"][0]["message"]["content"] == rest

        by_ids = {**TEXT, "prompt": events[0]["prompt_token_ids"] + ids, "max_tokens": 40 - len(ids)}
        _, whole = await client.post("/v1/completions", by_ids)
        assert whole["choices"][0]["text"] == rest
        _, tokenized = await client.post("/tokenize", {**left, "messages": messages})
        assert tokenized["tokens"] == by_ids["prompt"]

    with_replica(check)


def test_a_message_is_either_continued_or_answered():
    async def check(client):
        for body in (
            {"continue_final_message": True},
            {"continue_final_message": True, "add_generation_prompt": True},
        ):
            status, error = await client.post("/v1/chat/completions", {**CHAT, **body})
            assert status == 400
            assert "Cannot set both" in error["error"]["message"]

    with_replica(check)


def test_stop_strings_end_an_answer():
    async def check(client):
        _, plain = await client.post("/v1/chat/completions", {**CHAT, "max_tokens": 20})
        words = plain["choices"][0]["message"]["content"].split()
        for body in (
            {**CHAT, "max_tokens": 20, "stop": words[3]},
            {**CHAT, "max_tokens": 20, "stop": [words[3]]},
        ):
            _, stopped = await client.post("/v1/chat/completions", body)
            choice = stopped["choices"][0]
            assert choice["message"]["content"] == " ".join(words[:3]) + " "
            assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", words[3])
            events = await client.events("/v1/chat/completions", body)
            text = "".join(data["choices"][0]["delta"].get("content", "") for _, data in events[:-1])
            assert text == choice["message"]["content"]

    with_replica(check)


def test_the_next_turn_of_a_chat_hits_the_cache_and_a_salt_keeps_it_apart():
    async def check(client):
        question = "please tell me a long story about the sea " * 10
        first = {"messages": [{"role": "user", "content": question}], "max_tokens": 100, "ignore_eos": True}
        _, answer = await client.post("/v1/chat/completions", first)
        history = [*first["messages"], answer["choices"][0]["message"], {"role": "user", "content": "go on"}]
        second = {"messages": history, "max_tokens": 1}
        _, salted = await client.post("/v1/chat/completions", {**second, "cache_salt": "s"})
        _, follow_up = await client.post("/v1/chat/completions", second)
        assert salted["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        cached = follow_up["usage"]["prompt_tokens_details"]["cached_tokens"]
        known = answer["usage"]["total_tokens"] - 1
        assert cached == known // 16 * 16
        assert await client.metric("vllm:prefix_cache_hits_total") == cached
        assert await client.post("/reset_prefix_cache") == (200, {"success": True})
        _, again = await client.post("/v1/chat/completions", second)
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == 0

    with_replica(check)


def test_the_same_picture_is_the_same_prefix_and_another_is_not():
    def body(url):
        picture = {"type": "image_url", "image_url": {"url": url}}
        return {"messages": [{"role": "user", "content": [picture, {"type": "text", "text": "what?"}]}]}

    async def check(client):
        cached = []
        for url in ("data:image/png;base64,AAAA", "data:image/png;base64,AAAA", "data:image/png;base64,BBBB"):
            _, answer = await client.post("/v1/chat/completions", {**body(url), "max_tokens": 1})
            assert answer["usage"]["prompt_tokens"] > 256
            cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
        assert cached == [0, 256, 0]

    with_replica(check)


def test_messages_speak_anthropic():
    async def check(client):
        status, whole = await client.post("/v1/messages", {**MESSAGES, "system": "be brief"})
        assert (status, whole["type"], whole["stop_reason"]) == (200, "message", "max_tokens")
        events = await client.events(
            "/v1/messages", {**MESSAGES, "system": [{"type": "text", "text": "be brief"}]}
        )
        names = [name for name, _ in events]
        assert names[:2] == ["message_start", "content_block_start"]
        assert set(names[2:-3]) == {"content_block_delta"}
        assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        assert all(data["type"] == name for name, data in events)
        text = "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
        assert text == whole["content"][0]["text"]
        assert events[-2][1]["usage"] == whole["usage"] | events[-2][1]["usage"]
        _, counted = await client.post(
            "/v1/messages/count_tokens", {"model": "m", "messages": MESSAGES["messages"]}
        )
        assert counted["input_tokens"] == 11
        status, stopped = await client.post(
            "/v1/messages", {**MESSAGES, "max_tokens": 50, "stop_sequences": [" "]}
        )
        assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", " ")

    with_replica(check)


def test_responses_are_stored_and_continued():
    async def check(client):
        _, whole = await client.post("/v1/responses", RESPONSES)
        assert whole["status"] == "incomplete"
        assert whole["usage"]["output_tokens"] == 5
        assert await client.get(f"/v1/responses/{whole['id']}") == (200, whole)
        status, error = await client.post(f"/v1/responses/{whole['id']}/cancel")
        assert (status, error["error"]["type"]) == (400, "invalid_request_error")
        status, error = await client.get("/v1/responses/resp_unknown")
        assert (status, error["error"]["code"]) == (404, 404)

        follow = {**RESPONSES, "input": "and then?", "previous_response_id": whole["id"]}
        _, second = await client.post("/v1/responses", follow)
        spelled = [
            {"role": "user", "content": "hello there"},
            {
                "role": "assistant",
                "content": [{"type": "output_text", "text": whole["output"][0]["content"][0]["text"]}],
            },
            {"role": "user", "content": [{"type": "input_text", "text": "and then?"}]},
        ]
        _, same = await client.post("/v1/responses", {**RESPONSES, "input": spelled})
        assert same["output"][0]["content"] == second["output"][0]["content"]

        _, unstored = await client.post("/v1/responses", {**RESPONSES, "store": False})
        assert (await client.get(f"/v1/responses/{unstored['id']}"))[0] == 404

        events = await client.events("/v1/responses", RESPONSES)
        assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
        assert [name for name, _ in events if name != "response.output_text.delta"] == [
            "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
            "response.output_text.done", "response.content_part.done", "response.output_item.done",
            "response.completed",
        ]  # fmt: skip
        text = "".join(data["delta"] for name, data in events if name == "response.output_text.delta")
        assert text == whole["output"][0]["content"][0]["text"]
        assert events[-1][1]["response"]["usage"]["output_tokens"] == 5

    with_replica(check)


def test_a_background_response_can_be_cancelled():
    async def check(client):
        _, started = await client.post(
            "/v1/responses", {**RESPONSES, "max_output_tokens": 1000, "background": True}
        )
        assert started["status"] in {"queued", "in_progress"}
        await client.until(RUNNING, 1)
        assert (await client.get(f"/v1/responses/{started['id']}"))[1]["status"] == "in_progress"
        assert (await client.post(f"/v1/responses/{started['id']}/cancel"))[1]["status"] == "cancelled"
        assert await client.metric(RUNNING) == 0

    with_replica(check, **SLOW)


def test_pooling_routes_are_deterministic_and_ordered():
    async def check(client):
        status, answer = await client.post("/v1/embeddings", {"input": ["a", "b", "a"], "dimensions": 4})
        first, second, third = (entry["embedding"] for entry in answer["data"])
        assert first == third != second
        assert sum(number * number for number in first) == pytest.approx(1.0)
        _, packed = await client.post(
            "/v1/embeddings", {"input": "a", "dimensions": 4, "encoding_format": "base64"}
        )
        unpacked = struct.unpack("4f", base64.b64decode(packed["data"][0]["embedding"]))
        assert unpacked == pytest.approx(first)
        for path in ("/pooling", "/classify"):
            status, answer = await client.post(path, {"input": "a"})
            assert (status, len(answer["data"])) == (200, 1)
        scores = {}
        for path in ("/score", "/v1/score"):
            _, answer = await client.post(path, {"text_1": "q", "text_2": ["x", "y", "z"]})
            scores[path] = [entry["score"] for entry in answer["data"]]
        assert scores["/score"] == scores["/v1/score"]
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            _, answer = await client.post(path, {"query": "q", "documents": ["x", "y", "z"], "top_n": 2})
            ranked = [(result["relevance_score"], result["index"]) for result in answer["results"]]
            assert ranked == sorted(zip(scores["/score"], range(3), strict=True), reverse=True)[:2]
        assert (await client.post("/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}))[0] == 400
        assert await client.metric("vllm:prompt_tokens_total") > 0

    with_replica(check)


def test_transcriptions_take_a_form():
    async def check(client):
        def form(**fields):
            data = aiohttp.FormData(fields)
            data.add_field("file", b"RIFF" + b"\x01" * 70_000, filename="a.wav")
            return data

        texts = []
        for _ in range(2):
            async with client.session.post("/v1/audio/transcriptions", data=form(model="m")) as response:
                answer = await response.json()
                assert answer["usage"] == {"type": "duration", "seconds": 2}
                texts.append(answer["text"])
        assert texts[0] == texts[1] != ""
        async with client.session.post(
            "/v1/audio/transcriptions", data=form(response_format="text")
        ) as response:
            assert await response.text() == texts[0]
        async with client.session.post("/v1/audio/transcriptions", data=form(model="nope")) as response:
            assert response.status == 404
        async with client.session.post("/v1/audio/transcriptions", data={"model": "m"}) as response:
            assert response.status == 400

    with_replica(check)
