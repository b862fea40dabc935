"""What is asked: conversations whose turns are hard or easy, and what a classifier makes of them. Pure.

    z       = sqrt(OWN) * of the conversation + sqrt(1 - OWN) * of the turn                   standard normal, both
    gain    = MOST_GAIN * F(z) ** 2                       what the strong model is better by, F: the normal distribution
    score   = F(KNOWN * z + sqrt(1 - KNOWN ** 2) * noise)               even over all turns, as a percentile should be
    spread  = what is left of F(z) when the score is known: its standard deviation, which a calibrated classifier tells

Half of all gains are below a quarter of the highest: most prompts need no strong model. One later turn in four only goes on
("yes, do that"): it is as hard as the turn before it, and a classifier that sees it alone knows nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import sqrt
from random import Random
from statistics import NormalDist, pstdev

from benchmarks.workloads import conversations
from benchmarks.workloads.conversations import CHAT, converse
from benchmarks.workloads.traffic import Session, Traffic, Writer, bursty, lognormal, poisson

KNOWN = 0.6
"""Correlation of a score with what it estimates: an APGR of 0.65, where an oracle has 0.75 and chance 0.5."""
OWN = 0.6
WEAK_QUALITY = 0.7
MOST_GAIN = 0.5
GOES_ON = 0.25
DOCUMENTS_FROM = 1 << 40
"""Their keys begin here."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Asked:
    """Of one turn: what the strong model is better by, and what the classifier says; `score` is None where it cannot."""

    gain: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Workload:
    """`capacity` is conversations a second at which each of these arms, asked for 30 %, has a P90 of TTFT of 2 s
    (`--calibrate`); of bursts it is that of chat.
    """

    name: str
    tells: str
    capacity: Mapping[str, float]
    documents: float = 0.0
    burst: bool = False


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("chat", "conversations of about 5 turns", {"turns": 16.0, "conversations": 22.2}),
        Workload(
            "documents",
            "one in four begins with a document of about 4,000 tokens",
            {"turns": 8.2, "conversations": 14.4},
            documents=0.25,
        ),
        Workload(
            "bursts",
            "3 times the hard conversations for 10 of every 40 s, else as chat",
            {"turns": 16.0, "conversations": 22.2},
            burst=True,
        ),
    )
}


@cache
def spread(known: float = KNOWN, draws: int = 20_000) -> float:
    """What is not known of a percentile, on average over the scores."""
    rng = Random(0)
    bins: list[list[float]] = [[] for _ in range(20)]
    for _ in range(draws):
        z = rng.gauss(0, 1)
        score = _scored(z, rng, known)
        bins[int(score * 20)].append(_NORMAL.cdf(z))
    return sum(len(each) * pstdev(each) for each in bins) / draws


def _scored(z: float, rng: Random, known: float) -> float:
    return _NORMAL.cdf(known * z + sqrt(1 - known * known) * rng.gauss(0, 1))


def traffic(
    workload: Workload, rate: float, seed: int, duration_s: float, settle_s: float
) -> tuple[Traffic, dict[str, tuple[Asked, ...]]]:
    """The same for every arm. What is asked stands by the session's user."""
    rng = Random(f"{workload.name} {seed}")
    sessions = conversations.chat(rng, rate * (1 - workload.documents), duration_s)
    sessions += _documents(rng, rate * workload.documents, duration_s)
    asked = {session.user: _asked(session, rng) for session in sessions}
    if workload.burst:
        hard = {user for user, turns in asked.items() if _mean(turns) > MOST_GAIN / 3}
        sessions = _burst(sessions, hard)
    return Traffic(sorted(sessions, key=lambda each: each.arrival_s), settle_s, duration_s), asked


def _documents(rng: Random, rate: float, duration_s: float) -> list[Session]:
    writer = Writer()
    if not rate:
        return []
    found = []
    for number, arrival in enumerate(poisson(rng, rate, duration_s)):
        document = writer.system(lognormal(rng, 4_000, 0.8, 500, 16_000))
        found.append(converse(rng, writer, CHAT, document, arrival, f"document {number}"))
    # keys of their own: a writer's are used once, and the chats have theirs
    return [replace(each, keys=tuple(DOCUMENTS_FROM + key for key in each.keys)) for each in found]


def _asked(session: Session, rng: Random) -> tuple[Asked, ...]:
    whole = rng.gauss(0, 1)
    found: list[Asked] = []
    for place in range(len(session.turns)):
        z = sqrt(OWN) * whole + sqrt(1 - OWN) * rng.gauss(0, 1)
        score = _scored(z, rng, KNOWN)
        if place and rng.random() < GOES_ON:
            found.append(Asked(found[-1].gain, None))
        else:
            found.append(Asked(MOST_GAIN * _NORMAL.cdf(z) ** 2, score))
    return tuple(found)


def _mean(turns: Sequence[Asked]) -> float:
    return sum(turn.gain for turn in turns) / len(turns)


def _burst(sessions: Sequence[Session], hard: set[str]) -> list[Session]:
    in_order = sorted(sessions, key=lambda each: each.arrival_s)
    moved = [each for each in in_order if each.user in hard]
    warped = bursty([each.arrival_s for each in moved], period_s=40, factor=3, share=0.25)
    dense = [replace(each, arrival_s=at_s) for each, at_s in zip(moved, warped, strict=True)]
    return [*(each for each in in_order if each.user not in hard), *dense]
