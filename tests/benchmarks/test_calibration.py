"""The calibration's arithmetic: points, plan, model, fit and comparison, with no vLLM at hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.calibration.comparison import compare, error_figures, tables, verdicts
from benchmarks.calibration.fit import fit, non_negative_least_squares
from benchmarks.calibration.modelled import Costs, Setting, modelled
from benchmarks.calibration.plan import plan
from benchmarks.calibration.points import Call, Course, Kind, Measured, Outcome, Piece, Point, figures
from benchmarks.goals import Status

SETTING = Setting(
    block_size=32, kv_capacity_tokens=10_208, max_model_len=4096, max_num_seqs=16, max_num_batched_tokens=2048
)
COSTS = Costs(3e-3, 60e-6, 5e-8, 1e-4, 5e-7, 6e-3, 1e-6)
FITTED = [point for point in plan(SETTING) if not point.held_out]


def course(*token_s: float, sent_s: float = 0.0) -> Course:
    return Course(sent_s, list(token_s))


def calls(count: int, prompt: int, output: int) -> tuple[Call, ...]:
    return tuple(Call(0.0, (Piece(900 + index, prompt),), output) for index in range(count))


def measured_as_modelled(points: list[Point], costs: Costs, times: float = 1.0) -> dict[str, Measured]:
    measured = {}
    for point in points:
        outcome = modelled(point, costs, SETTING)
        found = {name: times * value for name, value in figures(point.kind, outcome.courses).items()}
        cached = [each.cached_tokens for each in outcome.courses]
        measured[point.name] = Measured(
            found, {name: [value] for name, value in found.items()}, cached, outcome.preemptions
        )
    return measured


def test_figures_of_each_kind():
    assert figures(Kind.COLD, [course(1.5, sent_s=1.0)]) == {"TTFT": 0.5}
    # From 2 (the last first token) to 5 (the first last token): 3 s, 3 tokens of one and 3 of the other.
    both = [course(1, 2, 3, 4, 5), course(2, 3, 4, 5, 6)]
    assert figures(Kind.DECODE, both) == {"ITL": 1.0}
    assert figures(Kind.CHUNKED, [course(1, 2, 5, 6), course(7.0, sent_s=2.0)]) == {
        "TTFT of the long prompt": 5.0,
        "stall of the others": 3.0,
    }
    assert figures(Kind.PREEMPTED, [course(1, 9), course(2, 4)]) == {"time of the batch": 9}
    assert figures(Kind.MIXED, [course(1, 3), course(4, sent_s=2)]) == {
        "TTFT P50": 1,
        "TTFT P90": 2,
        "ITL P50": 2,
    }


def test_sequences_that_never_decode_together_have_no_itl():
    assert figures(Kind.DECODE, [course(1, 2), course(3, 4)]) == {}


def test_a_prompt_is_the_same_wherever_its_pieces_are():
    head, tail = Piece(1, 40), Piece(2, 8)
    assert (
        Call(0.0, (head, tail), 1).prompt() == Call(9.0, (head,), 1).prompt() + Call(0.0, (tail,), 1).prompt()
    )


def test_the_plan_is_seeded_and_its_points_have_names_of_their_own():
    points = plan(SETTING)

    assert points == plan(SETTING)
    assert len({point.name for point in points}) == len(points)
    assert {point.kind for point in points} == set(Kind)


def test_points_to_fit_on_are_of_alike_calls_at_once():
    for point in FITTED:
        assert len({(call.at_s, call.prompt_tokens, call.output_tokens) for call in point.calls}) == 1
        assert point.calls[0].at_s == 0
    assert {point.kind for point in FITTED} == {Kind.COLD, Kind.CACHED, Kind.DECODE}


def test_a_plan_leaves_out_what_a_setting_has_no_room_for():
    short = plan(replace(SETTING, max_model_len=1024))
    assert short
    assert all(c.prompt_tokens + c.output_tokens <= 1024 for point in short for c in point.calls)

    few = plan(replace(SETTING, max_num_seqs=4))
    assert max(len(point.calls) for point in few if point.kind in {Kind.DECODE, Kind.CHUNKED}) == 4


def test_a_modelled_ttft_is_the_request_and_the_steps_of_its_prompt():
    (cold,) = modelled(Point("", Kind.COLD, calls(1, 3000, 1)), COSTS, SETTING).courses

    request = COSTS.request_s + 3000 * COSTS.request_s_per_token
    attention = COSTS.attention_s_per_token_context * 3000**2 / 2
    assert cold.ttft_s == pytest.approx(
        request + 2 * COSTS.base_s + 3000 * COSTS.prefill_s_per_token + attention
    )
    assert cold.cached_tokens == 0


def test_a_warmed_prompt_is_cached_up_to_its_last_block():
    again = calls(1, 1024, 1)

    (warm,) = modelled(Point("", Kind.CACHED, again, warming=again), COSTS, SETTING).courses

    assert warm.cached_tokens == 1024 - 32


def test_an_overcommitted_batch_is_preempted_and_still_gets_every_token():
    outcome = modelled(Point("", Kind.PREEMPTED, calls(16, 512, 256)), COSTS, SETTING)

    assert outcome.preemptions
    assert [len(each.token_s) for each in outcome.courses] == [256] * 16


def test_a_later_call_meets_a_busy_engine():
    late = Call(0.2, (Piece(1, 2500),), 1)
    outcome = modelled(Point("", Kind.CHUNKED, (*calls(4, 256, 200), late)), COSTS, SETTING)

    found = figures(Kind.CHUNKED, outcome.courses)
    prefill_of_a_full_step = COSTS.prefill_s_per_token * (SETTING.max_num_batched_tokens - 4)
    assert found["stall of the others"] > prefill_of_a_full_step
    assert found["TTFT of the long prompt"] > found["stall of the others"]


def cost(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high)


@settings(max_examples=15, deadline=None)
@given(
    st.builds(
        Costs,
        cost(1e-4, 2e-2),
        cost(1e-6, 1e-3),
        cost(1e-11, 1e-7),
        cost(1e-6, 1e-3),
        cost(1e-9, 1e-6),
        cost(1e-4, 2e-2),
        cost(1e-8, 1e-5),
    )
)
def test_the_fit_finds_the_costs_that_made_the_points(costs):
    measured = {name: each.figures for name, each in measured_as_modelled(FITTED, costs).items()}

    found = fit(FITTED, measured, SETTING)

    for (
        point
    ) in FITTED:  # its figures rather than its costs: one that hides behind a larger one is not told apart
        model = figures(point.kind, modelled(point, found, SETTING).courses)
        assert model == pytest.approx(measured[point.name], rel=1e-6)
    assert found.base_s == pytest.approx(costs.base_s, rel=1e-3)
    assert found.prefill_s_per_token == pytest.approx(costs.prefill_s_per_token, rel=1e-3)


def test_the_fit_bears_noise():
    rng = np.random.default_rng(1)
    measured = {
        name: {figure: value * rng.normal(1, 0.03) for figure, value in each.figures.items()}
        for name, each in measured_as_modelled(FITTED, COSTS).items()
    }

    found = fit(FITTED, measured, SETTING)

    points = plan(SETTING)
    rows, _ = compare(points, measured_as_modelled(points, COSTS), found, SETTING)
    assert error_figures(rows)["error_p50"] < 5


def test_the_fit_does_not_look_at_what_is_held_out():
    points = plan(SETTING)
    figures_of = {name: each.figures for name, each in measured_as_modelled(points, COSTS).items()}
    spoiled = figures_of | {
        point.name: dict.fromkeys(figures_of[point.name], 100.0) for point in points if point.held_out
    }

    assert fit(points, spoiled, SETTING) == fit(points, figures_of, SETTING)


def test_too_few_figures_to_fit_on_are_refused():
    with pytest.raises(ValueError, match="expected at least 7 figures to fit on, got 1"):
        fit(FITTED, {FITTED[0].name: {"TTFT": 0.1}}, SETTING)


ENTRIES = st.integers(-1000, 1000).map(lambda number: number / 100)


@given(st.lists(st.lists(ENTRIES, min_size=3, max_size=3), min_size=3, max_size=8), st.data())
def test_least_squares_are_not_negative_and_no_neighbour_is_better(rows, data):
    matrix = np.array(rows)
    target = np.array(data.draw(st.lists(ENTRIES, min_size=len(rows), max_size=len(rows))))

    def error(solution):
        return float(np.sum((matrix @ solution - target) ** 2))

    found = non_negative_least_squares(matrix, target)

    assert (found >= 0).all()
    for index in range(3):
        for change in (-1e-3, 1e-3):
            neighbour = found.copy()
            neighbour[index] = max(0.0, neighbour[index] + change)
            assert error(found) <= error(neighbour) + 1e-6


def test_a_model_that_is_right_has_no_error_and_one_a_quarter_too_quick_says_so():
    points = plan(SETTING)

    exact, counts = compare(points, measured_as_modelled(points, COSTS), COSTS, SETTING)
    quick, _ = compare(points, measured_as_modelled(points, COSTS, times=1.25), COSTS, SETTING)

    assert error_figures(exact)["error_p100"] == pytest.approx(0)
    assert all(row.error == pytest.approx(-0.2) for row in quick)
    assert all(count.same_cached_tokens == count.calls for count in counts)
    assert [verdict.status for verdict in verdicts(exact)] == [Status.MET]


def test_errors_are_told_of_held_out_figures_only():
    points = plan(SETTING)
    measured = measured_as_modelled(points, COSTS) | measured_as_modelled(FITTED, COSTS, times=3)

    rows, _ = compare(points, measured, COSTS, SETTING)

    assert error_figures(rows)["error_p100"] == pytest.approx(0)


def test_a_goal_is_missed_beyond_its_bound_and_open_without_figures():
    points = plan(SETTING)
    rows, _ = compare(points, measured_as_modelled(points, COSTS, times=1.3), COSTS, SETTING)

    assert [verdict.status for verdict in verdicts(rows)] == [Status.MISSED]
    assert [verdict.status for verdict in verdicts([])] == [Status.NOT_MEASURED]


def test_other_counts_are_told_and_missing_ones_are_left_open():
    points = [Point("one", Kind.PREEMPTED, calls(2, 64, 4)), Point("two", Kind.COLD, calls(1, 64, 1))]
    known = Measured.of(
        Kind.PREEMPTED, [Outcome([Course(0.0, [1.0], 0), Course(0.0, [2.0], 32)], preemptions=7)]
    )
    unknown = Measured.of(Kind.COLD, [Outcome([course(1.0)])])

    rows, counts = compare(points, {"one": known, "two": unknown}, COSTS, SETTING)

    assert [(count.same_cached_tokens, count.measured_preemptions) for count in counts] == [
        (1, 7),
        (None, None),
    ]
    shown = tables(rows, counts, COSTS)[-1].markdown()
    assert "| calls with the same cached tokens | 1 of 2 |" in shown
    assert "| preemptions, one | 7 / 0 |" in shown


def test_medians_of_rounds_are_kept_with_the_rounds():
    outcomes = [Outcome([course(at_s)]) for at_s in (3.0, 1.0, 2.0)]

    kept = Measured.of(Kind.COLD, outcomes)

    assert kept.figures == {"TTFT": 2.0}
    assert kept.rounds == {"TTFT": [3.0, 1.0, 2.0]}
