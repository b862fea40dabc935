import pytest

from balancer.core.decider import Decider
from balancer.core.fleet.fleet import Fleet
from balancer.core.fleet.health import HealthPolicy
from balancer.core.prefix.index import PrefixIndex
from balancer.core.scheduling import CacheAware, RoundRobin
from balancer.core.types import Health, RouteKind, Usage
from tests.core.states import replicas, request, sample


def decider(count=2, policy=None):
    fleet = replicas(count)
    return Decider(Fleet(fleet), policy or CacheAware(PrefixIndex(1000)), HealthPolicy()), fleet


def decide(made, *keys, tried=()):
    return made.decide(request(*keys), frozenset(tried), 0.0)


def held(made, keys):
    """Tokens of this prompt that the index believes in, by replica."""
    return {c.replica: c.matched_tokens for c in decide(made, *keys).candidates}


KEYS = (1, 2, 3)


def warmed():
    made, fleet = decider(1)
    made.dispatch(request(*KEYS), decide(made, *KEYS), 0.0).release(1.0)
    assert held(made, KEYS) == {"r0": 192}
    return made, fleet[0]


def test_an_attempt_is_charged_until_it_is_released():
    made, fleet = decider(1)
    charge = made.dispatch(request(*KEYS), decide(made, *KEYS), 0.0)
    assert (fleet[0].in_flight, fleet[0].pending_tokens) == (1, 192)
    charge.first_token(1.0)
    assert (fleet[0].in_flight, fleet[0].pending_tokens) == (1, 0)
    charge.release(2.0)
    assert (fleet[0].in_flight, fleet[0].pending_tokens) == (0, 0)


def test_a_replica_that_was_tried_is_not_tried_again():
    made, _ = decider(2)
    assert decide(made, *KEYS, tried=["r0"]).replica == "r1"


@pytest.mark.parametrize(
    ("before", "after", "restarted"),
    [
        ({"process_start_time_s": 100.0}, {"process_start_time_s": 200.0}, True),
        ({"process_start_time_s": 100.0}, {"process_start_time_s": 100.0}, False),
        ({"process_start_time_s": 100.0, "prompt_tokens": 9.0}, {"process_start_time_s": 200.0}, True),
        ({"prompt_tokens": 100.0}, {"prompt_tokens": 3.0}, True),
        ({"prefix_queries_tokens": 100.0}, {"prefix_queries_tokens": 3.0}, True),
        ({"prompt_tokens": 100.0}, {"prompt_tokens": 100.0}, False),
        ({"prompt_tokens": 100.0}, {"prompt_tokens": 900.0}, False),
        ({"prompt_tokens": 100.0}, {}, False),
        ({}, {"prompt_tokens": 100.0}, False),
        ({"running": 5.0}, {"running": 0.0}, False),
    ],
)
def test_a_restart_is_told_and_empties_the_index(before, after, restarted):
    made, state = warmed()
    assert made.sampled(state, sample(1.0, **before), 0) is False
    assert made.sampled(state, sample(2.0, **after), 0) is restarted
    assert held(made, KEYS) == {"r0": 0 if restarted else 192}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"process_start_time_s": 100.0}, {"process_start_time_s": 200.0}),
        ({"prompt_tokens": 100.0}, {"prompt_tokens": 3.0}),
    ],
)
def test_a_page_that_tells_nothing_does_not_hide_a_restart(before, after):
    made, state = warmed()
    made.sampled(state, sample(1.0, **before), 0)
    made.sampled(state, sample(2.0), 0)
    assert made.sampled(state, sample(3.0, **after), 0) is True


def test_a_closed_port_empties_the_index():
    made, state = warmed()
    assert made.failed(state, "refused", 1.0, refused=True) is True
    assert state.health is Health.UNHEALTHY
    assert held(made, KEYS) == {"r0": 0}


def test_a_dead_engine_empties_the_index_and_a_green_probe_does_not_bring_it_back():
    made, state = warmed()
    assert made.failed(state, "EngineDeadError", 1.0, dead=True) is True
    assert (state.health, state.gone) == (Health.EJECTED, True)
    assert held(made, KEYS) == {"r0": 0}
    assert made.probed(state, 2.0, 2.0) is False
    made.sampled(state, sample(3.0, process_start_time_s=100.0), 0)
    assert state.health is Health.EJECTED
    assert made.sampled(state, sample(4.0, process_start_time_s=200.0), 0) is True
    assert state.health is Health.HEALTHY


def test_a_replica_that_left_touches_nothing_of_its_successor():
    made, old = warmed()
    running = made.dispatch(request(*KEYS), decide(made, *KEYS), 1.0)
    made.sampled(old, sample(1.0, process_start_time_s=1.0), 1)
    made.leave(old)
    new = replicas(1)[0]
    made.join(new)
    assert new.slot == old.slot
    made.dispatch(request(*KEYS), decide(made, *KEYS), 2.0)
    assert held(made, KEYS) == {"r0": 192}
    made.sampled(old, sample(3.0, process_start_time_s=9.0, kv_capacity_tokens=64), 1)
    made.sampled(old, sample(4.0, asleep=True), 1)
    made.failed(old, "EngineDeadError", 5.0, dead=True)
    made.failed(old, "refused", 6.0, refused=True)
    running.release(7.0)
    assert held(made, KEYS) == {"r0": 192}
    assert (old.in_flight, old.pending_tokens, new.in_flight) == (0, 0, 1)
    assert made.fleet.in_flight == 1
    assert made.fleet.settle() == [old]
    assert made.fleet.settle() == []


def test_a_slow_replica_keeps_its_cache():
    made, state = warmed()
    for _ in range(3):
        made.failed(state, "slow", 1.0)
    assert state.health is Health.EJECTED
    assert held(made, KEYS) == {"r0": 192}
    assert made.answered(state, 2.0, sent_at=1.0) is True


def test_the_engines_capacity_bounds_the_index():
    made, state = warmed()
    made.sampled(state, sample(1.0, kv_capacity_tokens=128), 0)
    assert held(made, KEYS) == {"r0": 128}


CHAT_BODY = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "%s"}]}' % (b"x" * 300)


def test_no_more_of_a_request_is_read_than_the_policy_looks_at():
    aware, _ = decider()
    plain, _ = decider(policy=RoundRobin())
    assert aware.understand(RouteKind.CHAT, CHAT_BODY, None).block_keys
    view = plain.understand(RouteKind.CHAT, CHAT_BODY, None)
    assert (view.model, view.stream, view.block_keys) == ("m", True, [])


def test_a_form_is_read_as_a_form():
    made, _ = decider()
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--b--\r\n'
    assert made.understand(RouteKind.AUDIO, body, "multipart/form-data; boundary=b").model == "whisper"
    assert made.understand(RouteKind.AUDIO, CHAT_BODY, "application/json").model == "m"


def understood(made, body=CHAT_BODY):
    return made.understand(RouteKind.CHAT, body, None)


def test_answers_teach_how_many_bytes_a_token_has():
    made, _ = decider()
    untaught = understood(made).prompt_tokens
    for number in range(100):
        view = understood(made)
        charge = made.dispatch(view, made.decide(view, frozenset(), number), number)
        made.ended(charge, number, Usage(view.prompt_bytes // 2, 1), output_events=1)
        made.ended(charge, number, Usage(view.prompt_bytes * 2, 1))  # once is enough
    taught = understood(made)
    assert taught.prompt_tokens == pytest.approx(taught.prompt_bytes / 2, rel=0.05)
    assert untaught == pytest.approx(taught.prompt_bytes / 4, rel=0.05)
    assert understood(made, CHAT_BODY.replace(b'"m"', b'"n"')).prompt_tokens == untaught


def test_an_answer_that_tells_nothing_teaches_nothing():
    made, fleet = decider()
    view = understood(made)
    made.ended(made.dispatch(view, made.decide(view, frozenset(), 0.0), 0.0), 1.0, None)
    assert understood(made).prompt_tokens == view.prompt_tokens
    assert [state.in_flight for state in fleet] == [0, 0]
