"""An engine that has work and stands still is ejected; one that only takes long is not."""

import pytest

from balancer.core.types import Decision, Fault, Health, ReplicaId, RouteKind, Usage
from tests.core.fleet.scene import Scene
from tests.core.states import request


def test_an_engine_that_stands_still_while_it_has_work_is_ejected_and_back_when_it_moves():
    scene = Scene()
    scene.pages[0]["running"] = 1.0
    scene.second(10)
    assert scene.fault is None
    scene.second(2)
    assert (scene.states[0].health, scene.fault) == (Health.EJECTED, Fault.STALLED)
    scene.decider.probed(scene.states[0], scene.now, scene.now)
    assert scene.states[0].health is Health.EJECTED
    scene.pages[0]["generation_tokens"] += 1
    scene.second()
    assert scene.states[0].health is Health.HEALTHY
    scene.second(20)  # its steps are slow, it seems
    assert scene.states[0].health is Health.HEALTHY


def test_one_that_froze_before_it_counted_the_request_is_ejected():
    scene = Scene()
    scene.second(5)
    charge = scene.send(0, stream=False)
    scene.second(9)
    assert scene.fault is None
    scene.second(2)
    assert scene.fault is Fault.STALLED
    charge.release(scene.now, Usage(1, 1))
    scene.second()
    assert scene.states[0].health is Health.HEALTHY


@pytest.mark.parametrize("moves", ["generation_tokens", "kv_usage", "prefix_queries_tokens", "preemptions"])
def test_a_long_prefill_moves(moves):
    scene = Scene()
    scene.send(0)
    for number in range(40):
        scene.pages[0] |= {moves: 0.001 * number, "running": 1.0}
        scene.second()
    assert scene.fault is None


def test_a_step_may_be_as_long_as_was_predicted():
    scene = Scene()
    scene.pages[0]["running"] = 1.0
    scene.send(0, predicted_s=8.0)
    scene.second(22)
    assert scene.fault is None
    scene.second(4)
    assert scene.fault is Fault.STALLED


def test_idle_slow_readers_and_pages_that_tell_nothing_are_no_standstill():
    scene = Scene()
    scene.send(0).first_token(0.0)  # its client reads slowly; the engine has long been done
    scene.second(60)
    assert scene.fault is None
    scene.pages[0] = {"running": 1.0}
    scene.second(60)
    assert scene.fault is None


@pytest.mark.parametrize("route", [RouteKind.OTHER, RouteKind.TOKENIZE])
def test_what_the_engine_never_sees_is_no_work(route):
    """An idle socket, for one."""
    scene = Scene()
    asked = request()
    asked.route = route
    scene.decider.dispatch(asked, Decision(ReplicaId("r0"), "test"), 0.0)
    scene.second(60)
    assert scene.fault is None


def test_one_that_restarted_warms_up():
    scene = Scene()
    scene.pages[0]["process_start_time_s"] = 1.0
    scene.second(2)
    assert scene.states[0].warm_from_s is None
    scene.pages[0]["process_start_time_s"] = 100.0
    scene.second()
    assert scene.states[0].warm_from_s == scene.now


def test_readings_that_fail_now_and_then_are_no_standstill():
    scene = Scene()
    scene.pages[0]["running"] = 1.0
    for _ in range(6):
        scene.second(8)
        scene.second(1, unanswered=(0,))
    assert scene.fault is None


def test_a_frozen_process_answers_for_nothing():
    scene = Scene()
    scene.second(3)
    scene.send(0)
    scene.second(9, unanswered=(0,))
    assert scene.fault is None
    scene.second(3, unanswered=(0,))
    assert scene.fault is Fault.STALLED


def test_a_frozen_process_that_owes_nothing_is_the_probes_matter():
    scene = Scene()
    scene.second(60, unanswered=(0,))
    assert scene.fault is None


def test_one_that_owes_a_first_token_while_others_give_theirs_is_ejected():
    scene = Scene()
    scene.pages[0] = {}  # its metrics tell nothing
    scene.send(0)
    scene.serve(1, 29)
    assert scene.fault is None
    scene.serve(1, 2)
    assert scene.fault is Fault.NO_FIRST_TOKEN


def test_nobody_is_ejected_when_all_are_slow():
    scene = Scene()
    scene.pages[0] = {}
    scene.send(0)
    scene.second(60)
    scene.serve(1, 2)
    assert scene.fault is None


def test_one_that_gives_others_their_tokens_is_not_ejected_for_one():
    scene = Scene()
    scene.pages[0] = {}
    scene.send(0)
    for _ in range(60):
        scene.serve(1)
        scene.serve(0)
    assert scene.fault is None
