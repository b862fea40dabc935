"""What becomes of a request, for each way in which a server can answer it or not."""

import asyncio
import time

import pytest

from benchmarks.load.record import Outcome, Record
from benchmarks.load.stream import StreamClient
from benchmarks.load.target import Target, address, completed
from tests.benchmarks.load.scripted import (
    DONE,
    END,
    ROLE,
    SSE,
    always,
    chunk,
    event,
    never,
    said,
    serving,
    stream,
    whole,
)

CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "hi"}]}


def fresh():
    return Record("c", 0, "", CHAT, 0.0, measured=True)


async def asked(server, body=BODY, path=CHAT, base="", leaves_after_s=None, times=1, **options):
    client = StreamClient(Target(f"http://127.0.0.1:{server.port}{base}", "m", **options), time.monotonic())
    try:
        records = [fresh() for _ in range(times)]
        for record in records:
            text = await client.ask(client.wire(path, body, "c", stream=True), record, leaves_after_s)
        return records[-1] if times == 1 else records, text
    finally:
        client.close()


def ask(answer, **options):
    async def main():
        async with serving(answer) as server:
            return *await asked(server, **options), server

    return asyncio.run(main())


def test_a_stream_fills_its_record():
    usage = event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
    body = SSE.replace(b"\r\n\r\n", b"\r\nX-Balancer-Replica: r1\r\n\r\n")
    body += ROLE + said("Hel") + said("lo") + usage + DONE + END

    record, text, server = ask(always(body))

    assert (record.outcome, record.error, record.status, text) == (Outcome.ANSWERED, "", 200, "Hello")
    assert (record.prompt_tokens, record.output_tokens, record.cached_tokens) == (7, 2, None)
    assert record.replica == "r1"
    assert len(record.token_s) == 2
    assert 0 < record.sent_s <= record.headers_s <= record.token_s[0] <= record.token_s[1] <= record.ended_s
    assert server.asked[0].body == {
        **BODY, "model": "m", "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip


def test_time_runs_to_the_first_content_and_not_to_the_role():
    async def answer(request, writer):
        writer.write(SSE + ROLE + chunk(b": waiting\n\n"))
        await heard.wait()
        writer.write(said("x") + DONE + END)

    async def main():
        nonlocal heard
        heard = asyncio.Event()
        async with serving(answer) as server:
            client = StreamClient(Target(f"http://127.0.0.1:{server.port}", "m"), time.monotonic())
            record = fresh()
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                asking = group.create_task(client.ask(client.wire(CHAT, BODY, "c", stream=True), record))
                while record.headers_s is None:
                    await asyncio.sleep(0)
                assert not record.token_s
                before = time.monotonic()
                heard.set()
                await asking
            client.close()
            return record, before - client._began_s

    heard = None
    record, before_s = asyncio.run(main())
    assert record.token_s[0] >= before_s


@pytest.mark.parametrize(
    ("answer", "outcome", "error"),
    [
        (always(whole({"error": {"message": "full"}}, "503 Busy")), Outcome.SHED, "status 503: full"),
        (always(whole({}, "429 Slow down")), Outcome.SHED, "status 429"),
        (always(whole({"message": "no"}, "400 Bad")), Outcome.REFUSED, "status 400"),
        (always(whole(b"<p>", "502 Bad", "text/html")), Outcome.FAILED, "status 502"),
        (always(whole(b"", "307 Elsewhere")), Outcome.FAILED, "status 307: a body that is not JSON"),
        (always(SSE + event({"error": {"message": "full", "code": 503}}) + END), Outcome.SHED, "full"),
        (always(SSE + event({"error": {"message": "long", "code": 400}}) + END), Outcome.REFUSED, "long"),
        (always(SSE + said("x") + event({"error": {"message": "died"}}) + END), Outcome.FAILED, "died"),
        (always(SSE + said("x") + END), Outcome.FAILED, "no end mark"),
        (always(SSE + ROLE + DONE + END), Outcome.FAILED, "no content"),
        (always(SSE + said("x"), close=True), Outcome.FAILED, "connection lost"),
        (always(b"", close=True), Outcome.FAILED, "connection lost"),
        (always(SSE + said("x") + DONE, close=True), Outcome.ANSWERED, ""),
        (always(b"SSH-2.0\r\n"), Outcome.FAILED, "not HTTP: Expected HTTP/, RTSP/ or ICE/"),
        (always(stream("x"), close=True), Outcome.ANSWERED, ""),
        (always(b"HTTP/1.0 200 OK\r\n\r\nfree text", close=True), Outcome.ANSWERED, ""),
    ],
)  # fmt: skip
def test_each_end_is_told_apart(answer, outcome, error):
    record, _, _ = ask(answer)

    assert (record.outcome, record.error) == (outcome, error)
    assert record.ended_s is not None


@pytest.mark.parametrize(
    ("answer", "error"), [(never, "no answer in time"), (always(SSE + said("x")), "no end in time")]
)
def test_patience_ends(answer, error):
    async def both(request, writer):
        await answer(request, writer)
        await never(request, writer)

    record, _, _ = ask(both, patience_s=0.2)

    assert (record.outcome, record.error) == (Outcome.TIMED_OUT, error)


def test_a_client_that_leaves_takes_its_connection_along():
    async def answer(request, writer):
        writer.write(SSE + said("x"))
        try:
            while True:
                writer.write(said("x"))
                await asyncio.sleep(0.01)
                await writer.drain()
        finally:
            gone.set()

    async def main():
        nonlocal gone
        gone = asyncio.Event()
        async with serving(answer) as server, asyncio.timeout(30):
            client = StreamClient(Target(f"http://127.0.0.1:{server.port}", "m"), time.monotonic())
            record = fresh()
            text = await client.ask(client.wire(CHAT, BODY, "c", stream=True), record, leaves_after_s=0.2)
            await gone.wait()
            client.close()
        return record, text

    gone = None
    record, text = asyncio.run(main())
    assert (record.outcome, record.error, text) == (Outcome.LEFT, "", "")
    assert len(record.token_s) >= 1


def test_an_answer_that_ends_before_its_client_leaves_is_one():
    record, _, _ = ask(always(stream("x")), leaves_after_s=60.0)

    assert record.outcome is Outcome.ANSWERED


def test_nobody_listening():
    async def main():
        async with serving(never) as server:
            pass
        return await asked(server)

    record, _ = asyncio.run(main())
    assert record.outcome is Outcome.FAILED
    assert record.error.startswith("cannot connect")


def test_tokens_that_are_no_text_are_an_answer():
    """Two bytes of a character, and then the limit."""
    usage = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
    record, _, _ = ask(always(SSE + ROLE + usage + DONE + END))

    assert (record.outcome, record.output_tokens, record.ttft_s) == (Outcome.ANSWERED, 2, None)


def test_answers_that_are_not_streamed_have_no_first_token():
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    record, _, server = ask(
        always(whole({"data": [], "usage": usage})), path="/v1/embeddings", body={"input": "x"}
    )

    assert record.outcome is Outcome.ANSWERED
    assert (list(record.token_s), record.ttft_s, record.tpot_s) == ([], None, None)
    assert record.prompt_tokens == 3
    assert server.asked[0].body == {"input": "x", "model": "m"}


def test_connections_are_kept():
    _, _, server = ask(always(stream("x")), times=3)

    assert [request.connection for request in server.asked] == [1, 1, 1]


def test_a_kept_connection_that_closes_without_a_byte_is_tried_once_more():
    async def answer(request, writer):
        if request.connection == 1 and len(server_asked) == 1:
            raise ConnectionError
        server_asked.append(request)
        writer.write(stream("x"))

    server_asked = []
    records, _, server = ask(answer, times=2)

    assert [record.outcome for record in records] == [Outcome.ANSWERED] * 2
    assert [request.connection for request in server.asked] == [1, 1, 2]
    assert len(records[1].token_s) == 1


def test_a_fresh_connection_that_closes_without_a_byte_is_not():
    record, _, server = ask(always(close=True))

    assert record.outcome is Outcome.FAILED
    assert len(server.asked) == 1


def test_what_comes_on_an_idle_connection_is_nobodys():
    async def answer(request, writer):
        writer.write(stream("x") + whole({}, "408 Too late"))

    records, _, server = ask(answer, times=2)

    assert [record.status for record in records] == [200, 200]
    assert [request.connection for request in server.asked] == [1, 2]
    assert [record.outcome for record in records] == [Outcome.ANSWERED] * 2


@pytest.mark.parametrize(
    ("base", "path"),
    [("", CHAT), ("/", CHAT), ("/v1", CHAT), ("/v1/", CHAT), ("/a/b", "/a/b" + CHAT), ("/a/v1", "/a" + CHAT)],
)
def test_a_base_url_may_have_a_prefix_or_v1(base, path):
    _, _, server = ask(always(stream("x")), base=base)

    assert server.asked[0].path == path


def test_key_and_session_travel_as_headers():
    _, _, server = ask(always(stream("x")), api_key="secret", session_header="X-Session-Id")

    headers = server.asked[0].headers
    assert (headers["authorization"], headers["x-session-id"]) == ("bearer secret", "c")


@pytest.mark.parametrize(
    "url", ["", "x:80", "ftp://x", "http://", "http://x:port", "http://x:99999", "http://x?a=1"]
)
def test_a_target_that_cannot_be_one(url):
    with pytest.raises(ValueError, match="target: expected http"):
        address(url)


def test_addresses():
    assert (address("https://x").port, address("https://x").tls is not None) == (443, True)
    assert (address("http://[::1]:81/").host, address("http://[::1]:81/").port) == ("::1", 81)


@pytest.mark.parametrize("option", [{"api_key": "a\nb"}, {"session_header": "a\r\nb: c"}])
def test_headers_cannot_be_broken(option):
    with pytest.raises(ValueError, match="expected printable ASCII"):
        StreamClient(Target("http://x", "m", **option), 0.0)


@pytest.mark.parametrize(
    ("path", "body", "added"),
    [
        (CHAT, {"stream": False}, {}),
        (CHAT, {"stream_options": {"x": 1}}, {"stream": True, "stream_options": {"x": 1, "include_usage": True}}),
        ("/v1/completions", {}, {"stream": True, "stream_options": {"include_usage": True}}),
        ("/v1/messages", {}, {"stream": True}),
        ("/v1/responses", {}, {"stream": True}),
        ("/v1/embeddings", {}, {}),
    ],
)  # fmt: skip
def test_what_the_client_adds(path, body, added):
    assert completed(path, body, "m", stream=True) == {**body, "model": "m", **added}
