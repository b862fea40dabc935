"""The bundled score on the table of cases: hard and easy, steered and decorated, in many languages."""

import pytest

from balancer.config.classifiers import bundled
from balancer.core.tiering.text import read_text
from balancer.core.types import RouteKind
from tests.core.tiering.cases import CASES, TOLERANCE, Case

LEAST = 0.95
MIDDLE = 0.5


def scored(body, route=RouteKind.CHAT):
    return bundled("prior").score(read_text(route, body))


def is_right(case: Case):
    score = scored(case.body, case.route)
    match case.expected:
        case "unknown":
            return not score.known
        case "hard":
            return score.known and score.value >= MIDDLE
        case "easy":
            return score.known and score.value < MIDDLE
    plain = scored(case.plain)
    return score.known == plain.known and abs(score.value - plain.value) <= TOLERANCE


def test_the_table_is_large_enough():
    assert len({case.name for case in CASES}) == len(CASES) >= 60


def test_at_least_so_many_are_right():
    losers = [case.name for case in CASES if not is_right(case)]
    assert 1 - len(losers) / len(CASES) >= LEAST, losers


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.expected in {"same", "unknown"}], ids=lambda case: case.name[:40]
)
def test_decoration_and_steering_change_nothing(case):
    """These are no matter of weights: all of them are right."""
    assert is_right(case)


def test_all_that_is_hard_is_above_all_that_is_easy_for_the_most_part():
    """APGR's kin: the chance that a hard case has the higher score."""
    hard = [scored(case.body, case.route).value for case in CASES if case.expected == "hard"]
    easy = [scored(case.body, case.route).value for case in CASES if case.expected == "easy"]
    above = sum(one > other for one in hard for other in easy)
    assert above / (len(hard) * len(easy)) >= 0.95
