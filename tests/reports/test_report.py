"""The report of logs whose truth is known, in numbers, in words and as JSON; and what it says when it can't know."""

import json
import re

import pytest

from balancer.accounting.outcome_store import Reading, Store
from balancer.reports.command import Unreadable, run
from balancer.reports.drift import Judged
from balancer.reports.report import report
from balancer.reports.rows import read_rows
from tests.accounting.outcomes import outcome
from tests.reports.logs import MONDAY, simulate


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outcomes.db"


def only(path):
    with Reading(path) as reading:
        (of,) = report(read_rows(reading))
    return of


def words(path, **more):
    return run(path, **{"now": MONDAY, "days": None, "as_json": False, "export_to": None} | more)


def write(path, *rows):
    store = Store(path)
    store.add(rows)
    store.close()


def test_quality_is_what_the_log_does_not_show(path):
    truth = simulate(path, 3000, share=0.1)
    quality = only(path).quality
    for found, true in (
        (quality.as_served, truth.served),
        (quality.all_weak, truth.weak),
        (quality.all_strong, truth.strong),
        (quality.loss, truth.strong - truth.served),
        (quality.gain, truth.strong - truth.weak),
    ):
        assert found.low <= true <= found.high
        assert found.high - found.low < 0.12
    # what each tier was rated hides almost half of it: the strong one had the hard ones
    assert quality.tiers["large"].value - quality.tiers["small"].value < 0.6 * (truth.strong - truth.weak)


def test_savings_are_counted(path):
    simulate(path, 500)
    of = only(path)
    n, large = of.requests, of.tiers["large"]
    assert n == 1500
    assert of.savings.priced == n
    assert of.savings.usd == pytest.approx(large * 0.001 + (n - large) * 0.0001)
    assert of.savings.usd_all_strong == pytest.approx(n * 0.001)
    assert of.savings.usd_all_weak == pytest.approx(n * 0.0001)
    assert of.shares.strong == pytest.approx(large / n)
    assert of.shares.low < 0.3 < of.shares.high + 0.1
    assert sum(each[1] for each in of.shares.days) == n
    assert [each[0] for each in of.shares.days] == [20_000, 20_001]


def test_requests_without_a_choice_have_no_share(path):
    one = [("small", 0.0001)]
    write(
        path, outcome(0), outcome(1, tier="large"), *(outcome(number, options=one) for number in range(2, 9))
    )
    shares = only(path).shares
    assert (shares.free, shares.strong, shares.asked) == (2, 0.5, "share 0.3")


def test_unknown_prices_are_left_out_and_said(path):
    write(path, outcome(0, usd=None), outcome(1, options=[("small", 0.1), ("large", None)]))
    assert only(path).savings.priced == 0
    assert "saved         not known" in words(path)


def test_without_exploration_it_says_that_it_does_not_know(path):
    simulate(path, 300, share=0.0)
    quality = only(path).quality
    assert quality.rated == 900
    assert quality.randomised == 0
    assert (quality.all_strong, quality.loss) == (None, None)
    assert "is not known: of 900 rated requests 0 were chosen with some chance" in words(path)


def test_the_first_choice_of_a_conversation_is_what_was_drawn(path):
    """Whatever later turns were sent to, and whatever they told of their odds."""
    simulate(path, 2000, share=0.1)
    before = only(path).quality
    store = Store(path)
    store._db.execute(
        "UPDATE decisions SET tier = 'large', propensity = 0.001 WHERE seq NOT IN "
        "(SELECT min(seq) FROM decisions GROUP BY conversation)"
    )
    store.close()
    after = only(path).quality
    assert (after.all_weak, after.all_strong, after.loss) == (before.all_weak, before.all_strong, before.loss)


def test_conversations_that_were_not_drawn_are_left_out(path):
    simulate(path, 300, share=0.5)
    store = Store(path)
    numbers = range(5000, 5100)
    store.add([outcome(n, reason="rule", propensity=0.5) for n in numbers])
    for n in numbers:
        store.rate(f"d{n}", "acme", 0.0, 0.0, None, None)
    store.close()
    quality = only(path).quality
    assert (quality.rated, quality.randomised) == (1000, 900)


@pytest.mark.parametrize("seed", range(5))
def test_too_few_draws_are_told_and_not_judged(path, seed):
    simulate(path, 200, share=0.02, seed=seed)
    assert only(path).quality.loss.low is None
    assert not only(path).quality.all_strong.enough
    assert "too few to compare" in words(path)


def test_without_ratings_it_says_so(path):
    simulate(path, 50, rated=0.0)
    assert "quality       not known: nothing was rated" in words(path)


def test_a_gain_that_is_not_there_is_doubted(path):
    simulate(path, 2000, share=1.0, rated=0.0)
    store = Store(path)
    for number in range(6000):
        store._db.execute(
            "INSERT INTO feedback SELECT seq, at, ?, NULL, NULL FROM decisions WHERE id = ?",
            (number % 2, f"d{number}"),
        )
    store.close()
    assert "no gain of large over small is shown" in words(path)


def test_risk_counts_what_went_to_the_weak_tier(path):
    write(
        path,
        outcome(0, score=0.1),
        outcome(1, score=0.65),  # within its spread of 0.1 of the threshold
        outcome(2, score=0.9, status=502, ended_by="refusal"),
        outcome(3, tier="large", score=0.9),
        outcome(4, options=[("small", 0.1)]),
    )
    store = Store(path)
    for decision, rating in (("d0", 0.25), ("d1", 0.5), ("d3", 0.0)):
        store.rate(decision, "acme", 0.0, rating, None, None)
    store.close()
    risk = only(path).risk
    assert (risk.weak, risk.borderline, risk.rated, risk.displeased, risk.failed) == (3, 2, 2, 1, 1)


def test_fallbacks_are_counted_by_reason(path):
    left = [("small", "saturated"), ("large", "timeout")]
    write(path, outcome(0, left=left), outcome(1, left=left[:1]), outcome(2, virtual="best", left=left[1:]))
    with Reading(path) as reading:
        auto, best = report(read_rows(reading))
    assert auto.fallbacks == {"large": {"timeout": 1}, "small": {"saturated": 2}}
    assert best.fallbacks == {"large": {"timeout": 1}}
    assert "fell back     from small: 2 saturated" in words(path)


def test_drift_is_told(path):
    write(
        path,
        *(outcome(n, score=(n % 100) / 100) for n in range(2000)),
        *(outcome(n, score=0.5 + (n % 100) / 200) for n in range(2000, 2500)),
    )
    assert only(path).drift.judged is Judged.CHANGED
    assert "changed (PSI" in words(path)


def test_a_conversation_is_one_score(path):
    write(path, *(outcome(n, conversation=b"same") for n in range(2000)))
    assert only(path).drift.judged is Judged.UNKNOWN


def test_arms_are_compared_by_each_outcome(path):
    simulate(path, 1200, arms=True)
    found = {each.outcome: each for each in only(path).arms}
    assert found.keys() == {"rating", "answered", "ttft_s", "usd"}
    assert found["rating"].arms == ("a", "b")
    assert sum(found["rating"].counts) == 1200  # conversations
    assert not found["rating"].verdict.decided
    assert "test          try, rating: a mean" in words(path)


def test_a_better_arm_is_named(path):
    write(
        path, *(outcome(n, arm=f"try/{'ab'[n % 2]}", ttft_s=1.0 + (n % 2) + n % 7 / 10) for n in range(300))
    )
    ttft = next(each for each in only(path).arms if each.outcome == "ttft_s")
    assert ttft.verdict.decided
    assert ttft.verdict.low > 0
    assert re.search(r"TTFT: a median 1\.\d of 150, b 2\.\d of 150", words(path))
    assert "decided, a is better" in words(path)


def test_shadow_mode_tells_what_would_have_been(path):
    large = {"tier": "large", "reason": "shadow", "usd": 0.001}
    write(path, *(outcome(n, shadow="small", **large) for n in range(3)), outcome(3, shadow="large", **large))
    shadow = only(path).shadow
    assert (shadow.requests, shadow.tiers, shadow.same) == (4, {"small": 3, "large": 1}, 1)
    assert shadow.usd == pytest.approx(0.004)
    assert shadow.usd_then == pytest.approx(0.0013)
    assert "would have sent small 3 (75.0%), large 1 (25.0%); 25.0% went there anyway" in words(path)


def test_side_by_side_is_counted(path):
    write(path, *(outcome(n) for n in range(3)))
    store = Store(path)
    for n, winner in enumerate(("strong", "strong", "tie")):
        store.rate(f"d{n}", "acme", 0.0, None, winner, None)
    store.close()
    assert only(path).quality.wins == {"strong": 2, "tie": 1}
    assert "better was: strong 2, tie 1" in words(path)


def test_an_empty_log_says_so(path):
    Store(path).close()
    assert words(path).startswith("Nothing is logged yet")


def test_only_the_last_days(path):
    write(path, outcome(0, at=MONDAY - 2 * 86_400), outcome(1, at=MONDAY - 3600))
    assert "1 requests" in words(path, days=1)
    assert "2 requests" in words(path, days=3)


def test_json_says_the_same(path):
    simulate(path, 400, arms=True)
    (told,) = json.loads(words(path, as_json=True))["virtual_models"]
    of = only(path)
    assert told["name"] == "auto"
    assert told["requests"] == of.requests
    assert told["savings"]["usd"] == pytest.approx(of.savings.usd)
    assert told["quality"]["as_served"]["value"] == pytest.approx(of.quality.as_served.value)
    assert {each["outcome"] for each in told["arms"]} == {"rating", "answered", "ttft_s", "usd"}


def test_no_log_is_told(path):
    for make in (lambda: None, lambda: path.write_text("x" * 1000)):
        make()
        with pytest.raises(Unreadable, match=r"outcomes\.db: expected an outcome log"):
            words(path)


def test_a_balancer_may_be_writing(path):
    store = Store(path)
    store.add([outcome(0)])
    store._db.execute("BEGIN IMMEDIATE")
    store._db.execute("DELETE FROM decisions")
    assert "1 requests" in words(path)
    store._db.execute("ROLLBACK")
    store.close()
