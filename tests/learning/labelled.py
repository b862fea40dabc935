"""Labelled requests for tests: some whose gain is in their words, and some whose gain nobody can see."""

import numpy as np

from balancer.learning.rows import Row, table

HARD = ("theorem", "integral", "polynomial", "compile", "deadlock", "asymptotic", "eigenvalue", "invariant")
EASY = ("breakfast", "holiday", "birthday", "weather", "recipe", "greeting", "football", "garden")
FILLER = (
    "please",
    "tell",
    "about",
    "the",
    "and",
    "with",
    "some",
    "more",
    "of",
    "this",
    "that",
    "my",
    "very",
    "other",
)
DOMAINS = ("one", "two", "three", "four")


def rows(count, seed=0, *, routable=True, models=("weak", "strong")):
    """Half of them hard. The strong model answers all; the weak one the easy, or, if not routable, a random half."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        hard = bool(rng.random() < 0.5)
        words = [*rng.choice(HARD if hard else EASY, 3), *rng.choice(FILLER, int(rng.integers(4, 12)))]
        rng.shuffle(words)
        fails = hard if routable else bool(rng.random() < 0.5)
        quality = {models[0]: float(not fails), models[-1]: float(rng.random() < 0.95)}
        for model in models[1:-1]:
            quality[model] = float(not fails or rng.random() < 0.5)
        made.append(Row(f"{' '.join(words)} {i}", quality, DOMAINS[i % len(DOMAINS)]))
    return made


def labelled(count, seed=0, *, routable=True, models=("weak", "strong")):
    named = {} if len(models) == 2 else {"models": models}
    return table(rows(count, seed, routable=routable, models=models), **named)


def logged(count, seed=0, strong=0.5):
    """As a log has them: one model served, drawn with its probability."""
    rng = np.random.default_rng(seed)
    made = []
    for row in rows(count, seed):
        served = "strong" if rng.random() < strong else "weak"
        p = strong if served == "strong" else 1 - strong
        made.append(Row(row.prompt, {served: row.quality[served]}, row.domain, p, logged=True))
    return made
