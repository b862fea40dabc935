"""Rhythms: rates over time, the shape of gaps, and scripts that are sent in another one."""

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.arrivals import Piece, Rates, arrival_times, rates, reshaped, sped
from benchmarks.workloads.script import CHAT_PATH, Ask, Conversation, Script

RATE = st.floats(0.01, 1000)
PIECES = st.lists(st.builds(Piece, duration_s=st.floats(0.1, 100), first=RATE, last=RATE), max_size=4)


def script(count, spacing_s=1.0, start_s=0.0, then=None):
    each = (Conversation(n * spacing_s, f"c{n}", (Ask(CHAT_PATH, {}),)) for n in range(count))
    return Script("s", tuple(each), start_s, count * spacing_s, then)


@given(PIECES, RATE)
def test_rates_are_read_as_they_are_written(pieces, final):
    text = ",".join(f"{piece.first!r}..{piece.last!r}@{piece.duration_s!r}" for piece in pieces)

    assert rates(f"{text},{final!r}" if pieces else f"{final!r}") == Rates(tuple(pieces), final)


def test_what_follows_the_last_piece_goes_on_as_it_ended():
    assert rates("4@60,2..20@120") == Rates((Piece(60, 4, 4), Piece(120, 2, 20)), 20)


@pytest.mark.parametrize(
    "text",
    ["", "x", "0", "-1", "nan", "inf", "1e999", "4,8", "2..4", "4@", "4@0", "@3", "..4@3", "4@60,", "1@2@3"],
)
def test_rates_that_cannot_be_read(text):
    with pytest.raises(ValueError, match="rate: expected RATE"):
        rates(text)


@given(PIECES, RATE, st.lists(st.floats(0, 1e5), min_size=2, max_size=9))
def test_time_never_goes_back(pieces, final, arrivals):
    rhythm = Rates(tuple(pieces), final)
    times = [rhythm.reached_s(count) for count in sorted(arrivals)]

    assert times == pytest.approx(sorted(times))


@pytest.mark.parametrize(
    ("text", "arrivals", "time_s"),
    [
        ("4", 8, 2),
        ("4@10,8", 40, 10),
        ("4@10,8", 48, 11),
        ("0.5..1.5@10,1", 10, 10),
        ("1..3@4,3", 3, 2),
        ("3..1@4", 5, 2),
    ],
)
def test_when_so_many_have_arrived(text, arrivals, time_s):
    assert rates(text).reached_s(arrivals) == pytest.approx(time_s)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_vary_as_the_shape_of_their_gamma_says(burstiness):
    times = arrival_times(Random(1), 20_000, rates("10"), burstiness)
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    variation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) / mean

    assert mean == pytest.approx(0.1, rel=0.01)
    assert variation == pytest.approx(1 / math.sqrt(burstiness), rel=0.05)


def test_infinite_burstiness_is_even():
    times = arrival_times(Random(1), 5, rates("2"), math.inf)

    assert times == pytest.approx([0.25, 0.75, 1.25, 1.75, 2.25])


@given(st.integers(0, 40), st.integers(0, 40), RATE, st.sampled_from([0.1, 1.0, math.inf]))
def test_a_reshaped_script_keeps_its_conversations_and_what_is_measured(count, warming, rate, burstiness):
    before = script(count, start_s=min(warming, count))
    after = reshaped(before, rates(repr(rate)), burstiness=burstiness)

    assert [each.name for each in after.conversations] == [each.name for each in before.conversations]
    times = [each.arrival_s for each in after.conversations]
    assert times == sorted(times)
    assert after.end_s == pytest.approx(count / rate)
    warm = min(warming, count)
    assert after.start_s == ((*times, after.end_s)[warm] if warm else 0.0)
    assert all(time_s < after.end_s for time_s in times)


def test_conversations_keep_their_order_in_time_and_not_in_the_file():
    before = script(3)
    backwards = reshaped(replace(before, conversations=before.conversations[::-1]), rates("1"))

    assert backwards == reshaped(before, rates("1"))


def test_the_same_seed_is_the_same_load():
    digests = [reshaped(script(9), rates("3"), seed=seed).digest() for seed in (1, 1, 2)]

    assert digests[0] == digests[1] != digests[2]


def test_stages_have_rates_of_their_own():
    with pytest.raises(ValueError, match="expected a workload of one stage"):
        reshaped(script(2, then=script(2)), rates("1"))


@pytest.mark.parametrize("burstiness", [0.0, -1.0, math.nan])
def test_burstiness_is_positive(burstiness):
    with pytest.raises(ValueError, match="burstiness: expected more than 0"):
        arrival_times(Random(1), 2, rates("1"), burstiness)


def test_a_replay_at_twice_the_speed():
    fast = sped(script(4, start_s=2.0, then=script(2)), 2.0)

    assert [each.arrival_s for each in fast.conversations] == [0.0, 0.5, 1.0, 1.5]
    assert (fast.start_s, fast.end_s, fast.then.end_s) == (1.0, 2.0, 1.0)


@pytest.mark.parametrize("speed", [0.0, -1.0, math.inf, math.nan])
def test_speed_is_positive(speed):
    with pytest.raises(ValueError, match="speed: expected more than 0"):
        sped(script(1), speed)
