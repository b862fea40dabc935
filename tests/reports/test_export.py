"""Training rows: what is in them, what is left out and told, and that nobody else may read them."""

import json
import stat

import pytest

from balancer.accounting.outcome_store import Store
from balancer.reports.command import Unreadable, run
from tests.accounting.outcomes import outcome

THREE = [("small", 0.1), ("middle", 0.2), ("large", 0.3)]


def exported(log, to):
    return run(log, now=0.0, days=None, as_json=False, export_to=to)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "outcomes.db"
    store = Store(path)
    store.add(
        [
            outcome(0, prompt="a", propensity=0.975),
            outcome(1, prompt='b "quoted"\n', tier="large", propensity=0.025),
            outcome(2, prompt="c"),
            outcome(3, prompt="not rated"),
            outcome(4),
            outcome(5, prompt="f", tier="middle", options=THREE),
            outcome(6, prompt="g", options=[("small", 0.1)]),
            outcome(7, prompt="h", conversation=(3).to_bytes(8, "big")),
            outcome(8, prompt="i", conversation=b""),
            outcome(9, prompt="j", conversation=b""),
        ]
    )
    for n, rating, winner in ((0, 0.25, None), (1, 1.0, None), (2, None, "strong"), (4, 1.0, None)):
        store.rate(f"d{n}", "acme", 0.0, rating, winner, None)
    for n in range(5, 10):
        store.rate(f"d{n}", "acme", 0.0, 1.0, None, None)
    store.close()
    return path


def test_rated_prompts_become_training_rows(log, tmp_path):
    to = tmp_path / "rows.jsonl"
    said = exported(log, to)
    assert [json.loads(line) for line in to.read_text().splitlines()] == [
        {"prompt": "a", "served": "weak", "ok": 0.25, "p": 0.975},
        {"prompt": 'b "quoted"\n', "served": "strong", "ok": 1.0, "p": 0.025},
        {"prompt": "c", "winner": "strong"},
        {"prompt": "i", "served": "weak", "ok": 1.0, "p": 1.0},
        {"prompt": "j", "served": "weak", "ok": 1.0, "p": 1.0},
    ]
    assert said.splitlines() == [
        f"5 rated requests in {to}",
        "1 left out: their prompts were not kept (outcome_log_prompts)",
        "1 left out: later turns of a conversation, whose tier was not drawn anew",
        "2 left out: with one tier to choose from, or served by neither the weakest nor the strongest",
    ]
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".part"] == []


def test_a_file_that_cannot_be_written_is_told(log, tmp_path):
    with pytest.raises(Unreadable, match="cannot be written: No such file"):
        exported(log, tmp_path / "no" / "rows.jsonl")
