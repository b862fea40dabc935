from pathlib import Path

import numpy as np
import pytest

from balancer.learning.evaluate import SplitBy, completed, evaluate, placed, splits, weights
from balancer.learning.formats import read
from balancer.learning.metrics import curve
from balancer.learning.prompts import prompts
from balancer.learning.routers import ROUTERS
from balancer.learning.rows import BadData, Row, table
from tests.learning.labelled import labelled, logged, rows

DATA = Path(__file__).parents[1] / "data" / "tiers"


def judged(known, **options):
    return evaluate(ROUTERS["ridge"], prompts(known.prompts), known, **{"draws": 200, **options})


def test_a_pair_that_can_be_routed_is_accepted():
    found = judged(labelled(300))
    assert found.split == "leave one domain out"
    assert found.verdict.routable
    assert found.measures.apgr.low > 0.6
    assert found.over_length.low > 0


def test_a_pair_that_cannot_is_refused():
    found = judged(labelled(300, routable=False))
    assert not found.verdict.routable
    assert "this pair can't be routed from the prompt" in found.verdict.why


@pytest.mark.parametrize("split", list(SplitBy))
def test_mmlu_pro_is_refused(split):
    """Llama-3.1 8B and 70B: with 9,600 labels an APGR of .545 at best, where prompt length has .514."""
    found = judged(table(read(DATA / "mmlupro.csv.gz")), by=split)
    assert not found.verdict.routable


def test_router_arena_is_accepted_on_requests_of_the_same_kinds():
    found = judged(table(read(DATA / "routerarena.csv.gz")), by=SplitBy.FOLDS)
    assert found.verdict.routable
    assert found.measures.apgr.value == pytest.approx(0.67, abs=0.03)


def test_a_strong_model_that_is_none_is_not_routed_to():
    known = labelled(200)
    swapped = table([type(row)(row.prompt, {"weak": 0.9, "strong": 0.9}, row.domain) for row in rows(200)])
    assert judged(known).verdict.routable
    assert "strong is not shown to be better than weak" in judged(swapped).verdict.why


def test_what_prompt_length_knows_as_well_is_no_router():
    """Half of the prompts are twice as long, and these are the hard ones."""
    made = [
        type(row)(row.prompt * (1 + int(row.quality["weak"] == 0)), row.quality, row.domain)
        for row in rows(300, routable=False)
    ]
    found = judged(table(made))
    assert found.length.apgr.value > 0.7
    assert not found.verdict.routable
    assert "not above prompt length" in found.verdict.why


def test_too_few_rows():
    with pytest.raises(BadData, match="40 rows can't judge a router"):
        judged(labelled(40))


def test_the_split_is_by_domains_where_rows_name_them():
    known = labelled(100)
    assert splits(known, None, 0)[0] == "leave one domain out"
    assert splits(known, SplitBy.FOLDS, 0)[0] == "5 folds"
    nameless = table([type(row)(row.prompt, row.quality) for row in rows(100)])
    assert splits(nameless, None, 0)[0] == "5 folds"


def test_no_row_is_judged_by_what_learned_from_it():
    """Labels that are noise can only be told by who has seen them."""
    known = labelled(200, routable=False)
    found = judged(known)
    assert abs(np.corrcoef(found.gains, known.gain)[0, 1]) < 0.25


def test_a_domain_is_not_put_last_for_being_left_out():
    """Who sees nothing in prompts says the mean of the others, which is lowest where the domain that is left out is highest."""
    shares = {"a": 0.1, "b": 0.4, "c": 0.6, "d": 0.9}
    rng = np.random.default_rng(0)
    made = [
        Row(f"{word} {i}", {"weak": float(rng.random() > share), "strong": 1.0}, word)
        for i in range(100)
        for word, share in shares.items()
    ]
    found = judged(table(made))
    assert found.measures.apgr.value > 0.4


def test_the_numbers_of_domains_are_given_where_they_judge():
    known = labelled(60)
    seen = prompts(known.prompts)
    assert placed(seen, known, SplitBy.FOLDS) is seen
    given = placed(seen, known, None).domains
    assert all(
        (given[i] == given[j]) == (known.domains[i] == known.domains[j]) for i in range(9) for j in range(9)
    )


def test_a_log_is_completed_without_bias():
    """On average what is completed is the truth, however wrong the router's own expectations are."""
    truth = labelled(3000, seed=7)
    log = table(logged(3000, seed=7, strong=0.2))
    assert log.prompts == truth.prompts
    for guess in (np.full((3000, 2), 0.9), np.zeros((3000, 2)), truth.quality):
        found = completed(log, guess)
        assert found.mean(axis=0) == pytest.approx(truth.quality.mean(axis=0), abs=0.05)
        score = truth.gain + np.random.default_rng(0).normal(0, 0.5, 3000)
        expected = curve(score, truth.weak, truth.strong).apgr
        assert curve(score, found[:, 0], found[:, 1]).apgr == pytest.approx(expected, abs=0.06)


def test_a_log_can_be_judged():
    found = judged(table(logged(1200, strong=0.5)))
    assert found.verdict.routable
    assert found.rows == 1200


def test_a_logged_row_counts_for_as_many_as_were_served_elsewhere():
    log = table(logged(50, strong=0.2))
    assert set(weights(log).round(3).tolist()) == {5.0, 1.25}
    assert weights(labelled(50)).tolist() == [1.0] * 50
