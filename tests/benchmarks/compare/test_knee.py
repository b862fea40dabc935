"""The search finds the knee of clusters that are known, and stays bounded with those that are noisy or have none."""

import asyncio
from array import array
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare.knee import Level, Point, point, search
from benchmarks.load.record import Outcome, Record

LEVEL = Level(ttft_p90_s=2.0)


def cluster(knee, noise=0.0, seed=0):
    """TTFT explodes past the knee, which wanders from run to run."""
    rng = Random(seed)

    async def measure(rate):
        over = rate / (knee * 2.718 ** rng.gauss(0, noise))
        return Point(rate, 0.2 if over <= 1 else 2 * over**4, 1.0, min(1.0, 1 / over))

    return measure


@given(st.floats(-4, 4), st.floats(0.01, 1_000))
def test_a_knee_without_noise_is_found_within_the_tolerance(octaves, guess):
    true = guess * 2**octaves
    found = asyncio.run(search(cluster(true), LEVEL, guess, most_runs=20))
    assert found.rate == pytest.approx(true, rel=0.06)
    assert found.low <= found.rate <= found.high
    assert len(found.points) <= 20


def test_a_noisy_knee_is_found_nearly_always_and_in_few_runs():
    errors, runs = [], []
    for seed in range(60):
        found = asyncio.run(search(cluster(7.0, 0.08, seed), LEVEL, 5.0))
        errors.append(abs(found.rate / 7.0 - 1))
        runs.append(len(found.points))
    errors.sort()
    assert errors[len(errors) // 2] < 0.05
    assert errors[int(0.9 * len(errors))] < 0.15
    assert max(runs) <= 12


def test_one_wrong_answer_is_outvoted():
    clean = cluster(10.0)
    asked = []

    async def measure(rate):
        asked.append(rate)
        return Point(rate, 99.0, 0.5, 0.5) if len(asked) == 1 else await clean(rate)

    found = asyncio.run(search(measure, LEVEL, 5.0, most_runs=20))
    assert found.rate == pytest.approx(10.0, rel=0.06)


@pytest.mark.parametrize(("knee", "said"), [(1e-9, "none of 8"), (1e9, "all of 8")])
def test_a_knee_out_of_reach_is_said(knee, said):
    with pytest.raises(ValueError, match=f"knee: expected a rate that keeps TTFT P90 <= 2 s .*{said}"):
        asyncio.run(search(cluster(knee), LEVEL, 5.0, most_runs=8))


@pytest.mark.parametrize(
    "bad", [Point(1, None, 1, 1), Point(1, 2.1, 1, 1), Point(1, 1, 0.98, 1), Point(1, 1, 1, 0.8)]
)
def test_a_level_is_kept_in_all_its_parts(bad):
    assert LEVEL.kept(Point(1, 2.0, 0.99, 0.9))
    assert not LEVEL.kept(bad)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="guess: expected a rate above 0"):
        asyncio.run(search(cluster(1), LEVEL, 0.0))
    with pytest.raises(ValueError, match="answered: expected more than 0"):
        Level(1.0, answered=0)
    with pytest.raises(ValueError, match="ttft_p90_s: expected more than 0"):
        Level(0.0)


def record(due_s, ttft_s, ended_s, outcome=Outcome.ANSWERED, *, measured=True):
    times = array("d", () if ttft_s is None else [due_s + ttft_s])
    return Record("c", 0, "", "/", due_s, measured, token_s=times, ended_s=ended_s, outcome=outcome)


def test_a_point_counts_answers_by_when_they_were_due_and_the_drain_by_when_they_ended():
    records = [
        record(1, 0.5, 10, measured=False),
        record(10, 1.0, 12),
        record(11, 3.0, 25),
        record(12, None, 13, Outcome.SHED),
        record(13, 0.1, 14, Outcome.LEFT),
    ]
    found = point(5.0, records, 10.0, 20.0)
    assert found == Point(5.0, 3.0, 2 / 3, 2 / 3)
    assert point(5.0, [], 0.0, 1.0) == Point(5.0, None, 0.0, 0.0)
