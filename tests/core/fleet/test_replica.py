"""What a replica tells of itself, and how far that is believed."""

import pytest

from balancer.core.fleet.replica import SAMPLE_MAX_AGE_S
from tests.core.states import replica, sample


@pytest.mark.parametrize(
    ("signals", "asked", "now", "foreign"),
    [
        ({"running": 5.0, "waiting": 2.0}, 3, 3, 4),
        ({"running": 5.0}, 0, 0, 5),
        ({}, 0, 0, 0),
        ({"running": 1.0, "waiting": 0.0}, 4, 4, 0),
        ({"running": 4.0}, 4, 1, 0),  # ours ended while the page was read
        ({"running": 4.0}, 1, 4, 0),  # ours began while the page was read
    ],
)
def test_load_counts_what_the_engine_has_beyond_ours(signals, asked, now, foreign):
    state = replica()
    state.in_flight = now
    state.sampled(sample(100.0, **signals), asked)
    assert state.load(100.0) == now + foreign


def test_an_old_reading_says_nothing_of_the_load_now():
    state = replica()
    state.sampled(sample(100.0, running=7.0), 0)
    assert state.load(100.0 + SAMPLE_MAX_AGE_S) == 7
    assert state.load(100.1 + SAMPLE_MAX_AGE_S) == 0


def test_a_page_without_the_signals_makes_nobody_look_busier_or_idler_than_known():
    state = replica()
    state.in_flight = 3
    state.sampled(sample(100.0), 3)
    assert state.load(100.0) == 3


def test_what_is_not_known_is_neither_yes_nor_no():
    assert replica(models=None).serves("m") is None
    assert replica(models=None).serves(None) is True
    assert replica(models=()).serves("m") is False
    assert replica().serves("m") is True


@pytest.mark.parametrize(
    ("lengths", "context_tokens"),
    [([], None), ([None], None), ([4096, 2048], 2048), ([0, -1, True, 10.5, "9"], None), ([-1, 4096], 4096)],
)
def test_the_shortest_context_that_can_be_is_the_one_that_counts(lengths, context_tokens):
    state = replica()
    state.model_entries = tuple({"id": "m", "max_model_len": length} for length in lengths)
    assert state.context_tokens == context_tokens
