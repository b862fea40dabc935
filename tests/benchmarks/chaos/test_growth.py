"""A leak shows as a slope, noise does not, and what was not measured is not flat."""

from random import Random

import pytest

from benchmarks.chaos.growth import PER_REQUESTS, Sample, growth, slope
from benchmarks.chaos.soak import verdicts
from benchmarks.goals import Status


def samples(bytes_per_request=0.0, *, seconds=600, rate=300, fds=lambda at: 40, tasks=lambda at: None):
    """Memory that settles in the first fifth, and is noisy by half a megabyte ever after."""
    rng = Random(1)
    return [
        Sample(
            at_s=float(at),
            requests=at * rate,
            rss_bytes=int(
                60e6
                + 20e6 * min(1.0, 5 * at / seconds)
                + bytes_per_request * at * rate
                + rng.uniform(-5e5, 5e5)
            ),
            fds=fds(at),
            tasks=tasks(at),
        )
        for at in range(seconds)
    ]


def judged(*args, clean=True, **kwargs):
    found = growth(samples(*args, **kwargs), warm_up_s=kwargs.get("seconds", 600) / 5)
    if clean:
        found |= dict.fromkeys(("leaked", "truncated", "hung", "wrong"), 0.0)
    return {verdict.goal.figure: verdict.status for verdict in verdicts(found)}


def test_slope_of_a_line():
    assert slope([(x, 3 * x + 1) for x in range(10)]) == pytest.approx(3)
    assert slope([(1, 2), (2, 3)]) is None
    assert slope([(1, 2), (1, 3), (1, 4)]) is None


def test_flat_memory_is_flat():
    assert judged() == {
        "rss_mb_per_100k": Status.MET, "fds_growth": Status.MET, "tasks_growth": Status.NOT_MEASURED,
        "leaked": Status.MET, "truncated": Status.MET, "hung": Status.MET, "wrong": Status.MET,
    }  # fmt: skip


def test_twenty_bytes_a_request_are_a_leak():
    found = growth(samples(20), warm_up_s=120)
    assert found["rss_mb_per_100k"] == pytest.approx(20 * PER_REQUESTS / 1e6, rel=0.1)
    assert judged(20)["rss_mb_per_100k"] is Status.MISSED


def test_a_short_run_is_judged_by_how_much_it_grew():
    assert judged(20, seconds=60)["rss_growth_mb"] is Status.MET
    assert judged(1000, seconds=60)["rss_growth_mb"] is Status.MISSED
    assert "rss_mb_per_100k" not in judged(seconds=60)


def test_descriptors_and_tasks_that_pile_up():
    assert judged(fds=lambda at: 40 + at // 10)["fds_growth"] is Status.MISSED
    assert judged(tasks=lambda at: 9.0 + at / 10)["tasks_growth"] is Status.MISSED
    assert judged(tasks=lambda at: 9.0)["tasks_growth"] is Status.MET


def test_nothing_measured_is_nothing_met():
    assert growth([], 10) == {}
    assert {verdict.status for verdict in verdicts({})} == {Status.NOT_MEASURED}
