"""Who is best beyond noise, who is lost, and what was not measured, from runs whose truth is known."""

import numpy as np
import pytest

from benchmarks.compare.judge import losses, losses_table, verdicts
from benchmarks.compare.samples import E2E, TOKENS, TTFT, gathered, paired, samples
from benchmarks.compare.tables import tables
from benchmarks.goals import Status
from benchmarks.load.record import Outcome
from tests.benchmarks.compare.fakes import record

OURS, ROBIN, PEER = "balancer/predicted_latency", "balancer/round_robin", "vllm-router/cache_aware"
PLACES = (("chat", 0.5), ("chat", 0.9))
REPEATS = 3
LOWEST, LOW_LOAD, NO_E2E, NO_TOKENS = range(4)


def row(arm, place, repeat, ttft_s, *, e2e_s=10.0, tokens=10, unanswered=0, digest=None, **changed):
    rng = np.random.default_rng([repeat, round(100 * place[1])])
    noise = np.exp(0.3 * rng.normal(size=300))
    due_s = np.sort(rng.uniform(0, 100, 300))
    kept = {
        "start_s": 0.0, "end_s": 100.0, "asked": 300, "unanswered": unanswered,
        "due": [[at, 1000 * ttft_s * by, 1000 * e2e_s * by] for at, by in zip(due_s, noise, strict=True)],
        "ended": [[at, tokens] for at in due_s],
    }  # fmt: skip
    return {
        "workload": place[0], "load": place[1], "repeat": repeat, "arm": arm, "trouble": None, "valid": True,
        "digest": digest or f"{place} {repeat}", "samples": kept, **changed,
    }  # fmt: skip


def measured(by_arm, places=PLACES, **changed):
    return gathered(
        row(arm, place, repeat, ttft_s, **changed.get(arm, {}))
        for place in places
        for repeat in range(REPEATS)
        for arm, ttft_s in by_arm.items()
    )


def judged(found, places=PLACES, arms=(OURS, ROBIN, PEER)):
    return verdicts(found, OURS, places, arms)


def test_the_lowest_everywhere_meets_all():
    found = measured({OURS: 0.2, ROBIN: 1.0, PEER: 0.3})
    assert [verdict.status for verdict in judged(found)[:4]] == [Status.MET] * 4
    assert losses(found, OURS) == []


def test_no_difference_is_no_loss_and_a_difference_is_listed_with_its_noise():
    assert losses(measured({OURS: 0.2, PEER: 0.2}), OURS) == []
    found = measured({OURS: 0.25, ROBIN: 1.0, PEER: 0.2})
    lost = losses(found, OURS)
    assert [(loss.place, loss.figure, loss.arm, loss.rival) for loss in lost] == [
        (("chat", 0.9), TTFT, OURS, PEER),
        (("chat", 0.5), TTFT, OURS, PEER),
    ]
    assert all(loss.why.startswith("25 % higher [") for loss in lost)
    statuses = [verdict.status for verdict in judged(found)[:4]]
    assert statuses == [Status.MISSED, Status.MISSED, Status.MET, Status.MET]
    assert len(losses_table(lost).rows) == 2


def test_e2e_and_tokens_are_held_against_peers_alone_and_baselines_of_ours_are_not_judged():
    slow = {OURS: {"e2e_s": 12.0, "tokens": 8}, ROBIN: {"e2e_s": 30.0, "tokens": 2}}
    lost = losses(measured({OURS: 0.2, ROBIN: 0.2, PEER: 0.3}, **slow), OURS)
    assert {(loss.figure, loss.arm, loss.rival) for loss in lost} == {(E2E, OURS, PEER), (TOKENS, OURS, PEER)}
    better = {ROBIN: {"e2e_s": 5.0, "tokens": 20}}
    assert losses(measured({OURS: 0.2, ROBIN: 0.2, PEER: 0.3}, **better), OURS) == []


def test_who_leaves_requests_unanswered_is_no_rival_and_ours_is_lost_for_it():
    assert losses(measured({OURS: 0.3, PEER: 0.2}, **{PEER: {"unanswered": 30}}), OURS) == []
    lost = losses(measured({OURS: 0.2, PEER: 0.3}, **{OURS: {"unanswered": 30}}), OURS)
    assert {loss.figure for loss in lost} == {TTFT, E2E, TOKENS}
    assert {loss.why for loss in lost} == {"10.0% without an answer"}


def test_a_missing_cell_leaves_a_goal_open_and_a_lost_one_misses_it_anyway():
    part = measured({OURS: 0.2, ROBIN: 1.0, PEER: 0.3}, PLACES[:1])
    verdict = judged(part)[NO_E2E]
    assert (verdict.status, verdict.why) == (Status.NOT_MEASURED, "1 of 2 cells with all arms")
    assert judged(part)[LOW_LOAD].status is Status.MET
    assert judged(part)[LOWEST].status is Status.NOT_MEASURED
    lost = measured({OURS: 0.4, PEER: 0.3}, PLACES[:1])
    assert judged(lost)[LOW_LOAD].status is Status.MISSED


def test_a_peer_that_ran_nowhere_is_no_rival():
    found = measured({OURS: 0.2, PEER: 0.3})
    assert judged(found, arms=(OURS, PEER, "envoy/ring_hash"))[LOWEST].status is Status.MET
    alone = measured({OURS: 0.2})
    assert (judged(alone)[LOWEST].status, judged(alone)[LOWEST].why) == (Status.NOT_MEASURED, "no rival")


def test_the_published_claim_is_taken_past_the_knee_of_llm_ds_workloads():
    past = (("fresh_questions", 1.1),)
    met = measured({OURS: 0.1, ROBIN: 6.0}, past, **{ROBIN: {"e2e_s": 40.0}})
    ttft, e2e = verdicts(met, OURS, past, (OURS, ROBIN))[4:]
    assert (ttft.status, e2e.status) == (Status.MET, Status.MET)
    assert ttft.value == pytest.approx(1 / 60)
    missed = verdicts(measured({OURS: 0.1, ROBIN: 5.0}, past), OURS, past, (OURS, ROBIN))[4]
    assert missed.status is Status.MISSED
    before = (("fresh_questions", 1.0),)
    assert (
        verdicts(measured({OURS: 0.1, ROBIN: 6.0}, before), OURS, before, (OURS, ROBIN))[4].status
        is Status.NOT_MEASURED
    )


def test_different_scripts_are_refused_and_what_is_invalid_is_left_out():
    with pytest.raises(ValueError, match=r"chat at 0.5, repeat 0: .* played the same"):
        gathered([row(OURS, PLACES[0], 0, 0.1), row(PEER, PLACES[0], 0, 0.1, digest="other")])
    assert (
        gathered([row(OURS, PLACES[0], 0, 0.1, valid=False), row(PEER, PLACES[0], 0, 0.1, trouble="no")])
        == {}
    )


def test_only_repeats_that_both_have_are_compared():
    theirs = [row(PEER, PLACES[1], repeat, ttft_s) for repeat, ttft_s in ((1, 0.3), (2, 0.001))]
    found = gathered([row(OURS, PLACES[1], repeat, 0.2) for repeat in (0, 1)] + theirs)
    assert losses(found, OURS) == []
    arms = found[PLACES[1]]
    assert paired(arms[OURS], arms[PEER], TTFT) == (
        [arms[OURS].series[TTFT][1]],
        [arms[PEER].series[TTFT][1]],
    )


def test_samples_keep_answers_by_when_they_were_due_and_tokens_by_when_they_ended():
    early, late = record(5.0, 0.1), record(59.9, 0.2)
    early.measured = False
    kept = samples(
        [early, record(5.2, 1.0), late, record(20.0, 1.0, Outcome.SHED), record(21.0, 1.0, Outcome.LEFT)],
        5.5,
        60.0,
    )
    assert kept == {
        "start_s": 5.5, "end_s": 60.0, "asked": 3, "unanswered": 1,
        "due": [[5.2, 1000.0, 1500.0], [59.9, 200.0, 700.0]], "ended": [[5.6, 10], [6.7, 10]],
    }  # fmt: skip


def test_tables_put_the_noise_the_subject_and_the_simulator_beside_each_arm():
    found = measured({OURS: 0.2, PEER: 0.4}, **{PEER: {"prediction": {"p90_ttft_ms": 500.0}}})
    table = tables(found, OURS)[0]
    ours, peer = table.rows
    assert "[" in ours[1]
    assert ours[2] is None
    assert peer[2].startswith("2 x")
    assert peer[3] == "500"
    assert float(peer[4]) == pytest.approx(1.2, rel=0.1)
    assert peer[6] == peer[8] == "no difference"
