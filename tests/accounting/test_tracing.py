"""Traces as the SDK keeps them: whose child a request is, whether it is traced at all, and an end that waits for nobody."""

import asyncio
import random
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from balancer.accounting import genai_names as names
from balancer.accounting.record import Record
from balancer.accounting.tracing import Tracing
from balancer.core.types import Decision, RequestView, RouteKind, Usage
from tests.fakes.loops import async_test

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")


def memory(sample=1.0, seed=0):
    exporter = InMemorySpanExporter()
    return Tracing(SimpleSpanProcessor(exporter), sample, random.Random(seed)), exporter


def record():
    return Record("/v1/chat/completions", 100.0, 99.5, method="POST")


def head(*parents, state=()):
    sent = [(b"Host", b"h"), *((b"Traceparent", each.encode()) for each in parents)]
    return sent + [(b"tracestate", each.encode()) for each in state]


def parents(headers):
    return [value for name, value in headers if name.lower() == b"traceparent"]


@pytest.mark.parametrize(
    ("given_", "is_child"),
    [
        ([f"00-{TRACE}-{SPAN}-01"], True),
        ([f"00-{TRACE}-{SPAN}-03"], True),
        ([f"cc-{TRACE}-{SPAN}-01-later"], True),
        ([], False),
        ([f"00-{TRACE}-{SPAN}-01"] * 2, False),
        ([f"ff-{TRACE}-{SPAN}-01"], False),
        ([f"00-{'0' * 32}-{SPAN}-01"], False),
        ([f"00-{TRACE}-{'0' * 16}-01"], False),
        ([f"00-{TRACE.upper()}-{SPAN}-01"], False),
        ([f"00-{TRACE}-{SPAN}"], False),
        (["nonsense"], False),
    ],
)
def test_whose_child_a_request_is(given_, is_child):
    tracing, exporter = memory()
    trace, _ = tracing.begin(head(*given_, state=["a=1", "b=2"]), told := record(), scheme="http")
    trace.end(told)
    (span,) = exporter.get_finished_spans()
    assert (told.trace_id == TRACE) is is_child
    assert (span.parent is not None) is is_child
    assert dict(span.context.trace_state) == ({"a": "1", "b": "2"} if is_child else {})


def test_who_says_that_it_is_not_traced_is_left_alone():
    tracing, exporter = memory()
    sent = head(f"00-{TRACE}-{SPAN}-00", state=["a=1"])
    trace, headers = tracing.begin(sent, told := record(), scheme="http")
    assert (trace, told.trace_id) == (None, "")
    assert headers is sent
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("sample", [0.0, 0.3, 1.0])
def test_the_share_of_those_without_a_parent(sample):
    tracing, _ = memory(sample)
    found = [tracing.begin(head(), record(), scheme="http") for _ in range(2000)]
    traced = sum(trace is not None for trace, _ in found) / len(found)
    assert traced == pytest.approx(sample, abs=0.04)
    told = [parents(headers) for trace, headers in found if trace is None]
    assert all(len(each) == 1 and SENT.fullmatch(each[0]) and each[0].endswith(b"-00") for each in told)
    assert len({each[0] for each in told}) == len(told)


@given(
    st.lists(st.binary(max_size=70), max_size=3),
    st.lists(st.binary(max_size=40), max_size=3),
    st.sampled_from([0.0, 1.0]),
)
def test_whatever_comes_the_replica_gets_one_parent_that_is_sound(given_, state, sample):
    tracing, exporter = memory(sample)
    sent = [*((b"traceparent", each) for each in given_), *((b"tracestate", each) for each in state)]
    trace, headers = tracing.begin(sent, told := record(), scheme="https")
    if trace is not None:
        headers = trace.sends(
            headers, told, RequestView(RouteKind.CHAT, "m"), "http://a:1", external=False, decided_at=100.5
        )
        trace.end(told)
        assert len(exporter.get_finished_spans()) == 3
    (parent,) = parents(headers)
    assert SENT.fullmatch(parent)


def test_times_are_wall_times_a_monotonic_clock_apart():
    tracing, exporter = memory()
    trace, headers = tracing.begin(head(), told := record(), scheme="http")
    trace.waited(100.25, Decision("r0", "held"))
    told.sends(Decision("r0", "freed", 3, 0.5), 100.0, 101.0)
    trace.sends(
        headers, told, RequestView(RouteKind.COMPLETIONS, "m"), "http://a:1", external=False, decided_at=100.5
    )
    trace.sent("answered", 200, heard_at=102.0, token_at=103.0, usage=Usage(9, 4, 7))
    told.status, told.ended_at = 200, 105.0
    trace.end(told)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    request = spans["POST /v1/chat/completions"]

    def since(at_ns):
        return pytest.approx((at_ns - request.start_time) / 1e9, abs=1e-6)

    assert since(request.end_time) == 5.5
    assert since(spans["admission"].start_time) == 0.75
    assert since(spans["text_completion "].start_time) == 1.5
    assert since(spans["stream"].start_time) == 2.5
    assert since(spans["stream"].events[0].timestamp) == 3.5
    used = {
        names.INPUT_TOKENS: 9,
        names.OUTPUT_TOKENS: 4,
        names.CACHED_TOKENS: 7,
        names.TIME_TO_FIRST_CHUNK: 2.0,
    }
    assert used.items() <= dict(spans["text_completion "].attributes).items()


@pytest.mark.parametrize(
    ("status", "ended_by", "error"),
    [
        (200, "answer", None), (404, "refusal", None), (499, "client", None), (503, "refusal", "503"),
        (200, "replica", "replica"), (200, "timeout", "timeout"), (499, "slow_client", "slow_client"), (0, "answer", "_OTHER"),
    ],
)  # fmt: skip
def test_what_is_an_error(status, ended_by, error):
    tracing, exporter = memory()
    trace, _ = tracing.begin(head(), told := record(), scheme="http")
    told.status, told.ended_by = status, ended_by
    trace.end(told)
    (span,) = exporter.get_finished_spans()
    assert span.attributes.get(names.ERROR_TYPE) == error
    assert span.status.is_ok is (error is None)


@async_test
async def test_the_end_waits_for_a_collector_that_hangs_no_longer_than_it_may():
    hangs = threading.Event()

    class Hanging(SpanProcessor):
        ended = False

        def shutdown(self):
            hangs.wait()
            self.ended = True

    processor = Hanging()
    try:
        async with asyncio.timeout(10):
            await Tracing(processor, 1.0).close(0.01)
        assert not processor.ended
    finally:
        hangs.set()
