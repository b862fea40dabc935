"""Pages and answers of any shape say what they can, or nothing: no number that cannot be, and nothing is raised."""

import asyncio
import json
import logging
import random

from hypothesis import given
from hypothesis import strategies as st

from balancer.accounting import access_log
from balancer.accounting.metrics import Metrics
from balancer.accounting.record import Record
from balancer.config.build import make_decider, make_replica
from balancer.core.types import EngineSample, Health
from balancer.frontend.own import OwnPages
from balancer.observers.replica_watch import ReplicaWatch
from balancer.vllm_api.answers import (
    MAX_TOKENS,
    classify_event,
    error_status,
    is_aborted,
    read_answer,
    tells_of_death,
)
from balancer.vllm_api.metrics import MAX_VALUE, scan
from tests.fakes.balancer import settings_for
from tests.fuzz.answers import OTHERS, STREAMS
from tests.fuzz.mutations import mutated
from tests.fuzz.test_resumed import COUNTS, NUMBER, shaped
from tests.vllm_api.test_metrics import PAGE

BODIES = [
    *(raw.partition(b"\r\n\r\n")[2] for raw in OTHERS.values()),
    *(event[6:].strip() for stream in STREAMS.values() for event in stream.events if event[:5] == b"data:"),
]
ANSWER = shaped(id=st.just("1"), usage=COUNTS, response=shaped(usage=COUNTS), message=shaped(usage=COUNTS))
DEEP = b'{"data": [{"id":' + b"[" * 1200


@given(mutated(BODIES) | ANSWER.map(lambda answer: json.dumps(answer).encode()))
def test_an_answer_tells_counts_that_can_be_or_none(body):
    answer_id, usage = read_answer(body)
    assert answer_id is None or isinstance(answer_id, str)
    for count in usage or ():
        assert count is None or (type(count) is int and 0 <= count <= 3 * MAX_TOKENS)
    classify_event(body)
    error_status(body)
    is_aborted(body)
    tells_of_death(body)


@given(mutated([b"\n".join(PAGE.split(b"\n")[at : at + 40]) for at in range(0, 880, 40)], most=8))
def test_a_metrics_page_tells_numbers_that_can_be_or_none(page):
    sample = scan(page, 1.0)
    for name in EngineSample.__slots__:
        value = getattr(sample, name)
        assert value is None or isinstance(value, bool) or 0 <= value <= MAX_VALUE, name


ENTRY = shaped(id=st.text(max_size=4), max_model_len=NUMBER, root=st.just("m"), parent=st.none())
MODELS = st.one_of(
    shaped(object=st.just("list"), data=st.lists(ENTRY, max_size=3)).map(
        lambda page: json.dumps(page).encode()
    ),
    mutated(
        [b'{"object":"list","data":[{"id":"m","object":"model","max_model_len":4096,"permission":[{}]}]}']
    ),
    st.just(DEEP),
)


class Told(ReplicaWatch):
    """Gets its pages from a test."""

    page = b""

    async def _get(self, path, timeout_s):
        return 200, self.page


@given(MODELS, MODELS)
def test_a_models_page_of_any_shape_is_read_or_changes_nothing(page, next_page):
    settings = settings_for(["http://a"])
    decider = make_decider(settings, random.Random(0).random)
    replica = make_replica(settings.replicas[0])
    decider.join(replica)
    failures = []
    watch = Told(
        replica, decider, None, settings, authorization=None, on_failure=lambda *what: failures.append(what)
    )
    for watch.page in (page, next_page):
        before, failures[:] = (replica.models, replica.model_entries), []
        assert asyncio.run(watch.read_models()) > 0
        if failures:
            assert (replica.models, replica.model_entries) == before
        assert replica.context_tokens is None or replica.context_tokens > 0
    replica.health = Health.HEALTHY
    pages = OwnPages(decider, Metrics(decider.fleet, "round_robin", decider.line), lambda: False)
    listed = json.loads(asyncio.run(pages.models(None)).body)["data"]
    assert {entry["id"] for entry in listed} == (replica.models or set())


RECORD = st.builds(
    Record,
    path=st.text(max_size=5),
    arrived_at=st.floats(0, 9),
    model=st.none() | st.text(max_size=5) | st.sampled_from(["\ud800", "a\nb", '"}', "\x1b[0m", "\u2028"]),
    replica=st.none() | st.text(max_size=5),
    reason=st.text(max_size=5),
    token_at=st.none() | st.floats(0, 9),
    predicted_ttft_s=st.none() | st.floats(),
    usage=ANSWER.map(lambda answer: read_answer(json.dumps(answer).encode())[1]),
)


@given(RECORD, st.none() | st.text(max_size=9) | st.sampled_from(["\udcff", 'x"\r\nforged', "\x00"]))
def test_a_request_is_one_line_of_the_access_log_whatever_it_held(record, request_id):
    lines = []
    handler = logging.Handler()
    handler.emit = lambda entry: lines.append(entry.getMessage())
    log, level = access_log.log, access_log.log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        record.request_id = request_id or ""
        access_log.write(record)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    (line,) = lines
    assert len(line.splitlines()) == 1
    assert not set(line) & {"\r", "\n", "\x00", "\x1b"}
    assert json.loads(line)["route"] == record.path


@given(st.lists(RECORD, max_size=5))
def test_a_page_of_our_own_metrics_is_readable_whatever_was_counted(records):
    decider = make_decider(settings_for(["http://a"]), random.Random(0).random)
    metrics = Metrics(decider.fleet, "round_robin", decider.line)
    for record in records:
        record.status = 200
        metrics.add(record)
    page, _ = metrics.render("")
    for line in page.decode().split("\n"):
        if line and line[0] != "#":
            float(line.rpartition(" ")[2])
