"""Outcome logs whose truth is known: conversations with a difficulty, two tiers, a score, and ratings of some."""

import random
from dataclasses import dataclass

from balancer.accounting.outcome_store import Store
from balancer.core.tiering.draw import draw
from tests.accounting.outcomes import outcome

MONDAY = 20_000 * 86_400.0


@dataclass(frozen=True)
class Truth:
    """Mean ratings, of every conversation whether rated or not."""

    weak: float
    strong: float
    served: float


def quality(tier, difficulty):
    """The probability that a tier's answer is good."""
    return 0.95 - 0.1 * difficulty if tier == "large" else 0.95 - 0.6 * difficulty


def simulate(
    path,
    conversations=2000,
    *,
    seed=1,
    share=0.05,
    threshold=0.7,
    rated=1.0,
    turns=3,
    arms=False,
    text=None,
    **more,
):
    """Writes a log; conversations are explored with probability `share`, and each turn is rated with probability `rated`. Ratings
    of a conversation agree more than chance.
    """
    rng = random.Random(seed)
    rows, ratings = [], []
    weak = strong = served = 0.0
    number = 0
    for talk in range(conversations):
        key = rng.randbytes(8)
        difficulty = rng.random()
        score = min(1.0, max(0.0, difficulty + rng.gauss(0, 0.15)))
        preferred = int(score >= threshold)
        dice = draw(key, "explore")
        option = preferred if dice >= share else int(dice / share * 2)
        tier = ("small", "large")[option]
        mood = rng.random()
        weak, strong = weak + quality("small", difficulty), strong + quality("large", difficulty)
        served += (
            quality(("small", "large")[preferred], difficulty) * (1 - share)
            + share * (quality("small", difficulty) + quality("large", difficulty)) / 2
        )
        for _ in range(turns):
            good = mood if rng.random() < 0.5 else rng.random()
            usd = {"small": 0.0001, "large": 0.001}
            values = {
                "at": MONDAY + number * 60.0,
                "conversation": key,
                "score": score,
                "threshold": threshold,
                "tier": tier,
                "reason": "explore" if dice < share else "score",
                "explored": dice < share,
                "propensity": share / 2 + (1 - share) * (option == preferred),
                "ttft_s": rng.expovariate(1.0) * (2.0 if tier == "large" else 1.0),
                "usd": usd[tier],
                "options": list(usd.items()),
                "arm": ("try/a", "try/b")[talk % 2] if arms else "",
                "prompt": None if text is None else text.format(number),
                **more,
            }
            rows.append(outcome(number, **values))
            if rng.random() < rated:
                ratings.append((f"d{number}", float(good < quality(tier, difficulty))))
            number += 1
    store = Store(path)
    store.add(rows)
    for decision, rating in ratings:
        store._db.execute(
            "INSERT INTO feedback SELECT seq, at + 5, ?, NULL, NULL FROM decisions WHERE id = ?",
            (rating, decision),
        )
    store.close()
    return Truth(weak / conversations, strong / conversations, served / conversations)
