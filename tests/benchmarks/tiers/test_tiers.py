"""The protocols on prompts that were made up, where what gains is known."""

import csv
import gzip
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from balancer.config.classifiers import bundled
from balancer.core.tiering.score import Prior
from balancer.core.tiering.types import Text
from benchmarks.__main__ import app
from benchmarks.goals import Status
from benchmarks.tiers.data import FILES, load
from benchmarks.tiers.figures import judged, tables
from benchmarks.tiers.promises import floor_broken, held_share

WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
]


def made_up(rng, source, task, columns, rows):
    """Prompts with "prove" are hard for the weak model; each source has words of its own."""
    for number in range(rows):
        hard = rng.random() < 0.5
        words = [f"{source}{number}", *rng.choice(WORDS, 8 + 8 * hard)]
        prompt = " ".join([task, *words, "prove why" if hard else "name it"])
        weak, strong = float(rng.random() < (0.2 if hard else 0.8)), float(rng.random() < 0.85)
        yield {"source": source, "task": task, "prompt": prompt, columns[0]: weak, columns[1]: strong}


def write(path, rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("tiers")
    routellm = ("mixtral_8x7b", "gpt4_1106")
    rows = [
        row
        for source, task, count in (
            *(("routellm-mmlu", subject, 15) for subject in "abcdefghij"),
            ("routellm-gsm8k", "gsm", 80),
        )
        for row in made_up(rng, source, task, routellm, count)
    ]
    write(path / "routellm_eval.csv.gz", [{**row, "contaminated": int(i == 0)} for i, row in enumerate(rows)])
    arena = ("claude-3-haiku-20240307", "gemini-2.0-flash-001")
    write(path / "routerarena_2models.csv.gz", list(made_up(rng, "routerarena", "x", arena, 120)))
    return path


def test_rows_are_read(directory):
    data = load(directory, check=False)
    assert len(data.prompts) == 230 - 1 + 120
    assert sorted(set(data.families.tolist())) == ["gsm", "mmlu", "routerarena"]
    assert set(data.weak.tolist()) == {0.0, 1.0}


def test_another_file_is_refused(directory):
    with pytest.raises(ValueError, match="expected sha256"):
        load(directory)


def test_a_family_is_held_out_with_all_its_questions(directory):
    data = load(directory, check=False)
    keys = data.keys.copy()
    keys[data.of("routerarena")[0]] = keys[data.of("routellm-mmlu")[0]]
    shared = type(data)(
        data.prompts, data.sources, data.tasks, keys, data.weak, data.strong, data.weaker, data.stronger
    )
    left = shared.without(["mmlu"])
    assert "mmlu" not in set(shared.families[left].tolist())
    assert data.of("routerarena")[0] not in left
    assert data.of("routerarena")[1] in left


def test_the_command_measures_and_shows(directory, tmp_path):
    result, weights = tmp_path / "tiers.json", tmp_path / "prior.npz"
    done = CliRunner().invoke(
        app, ["tiers", "--data", str(directory), "--quick", "--json", str(result), "--weights", str(weights)]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(result.read_text())
    held = {row["title"]: row for row in found["rows"] if row["title"].startswith("held out/")}
    assert set(held) == {"held out/routellm-mmlu", "held out/routellm-gsm8k", "held out/routerarena"}
    for row in held.values():
        assert row["apgr"]["value"] > 0.6
        assert 0.25 <= row["held_share"] <= 0.35
    with np.load(weights) as arrays:
        prior = Prior(arrays)
    hard, easy = "alpha beta gamma delta epsilon zeta prove why " * 2, "alpha beta name it"
    assert prior.score(Text(hard, len(hard))).value > prior.score(Text(easy, len(easy))).value
    shown = CliRunner().invoke(app, ["tiers", "--render", str(result)])
    assert shown.exit_code == 0
    assert "MT-Bench, held out" in shown.output
    unseen = next(row for row in found["rows"] if row["title"] == "MMLU, unseen subjects")
    assert unseen["apgr"]["value"] > 0.6


def test_without_data_there_is_nothing_to_measure():
    done = CliRunner().invoke(app, ["tiers"])
    assert done.exit_code == 2
    assert next(iter(FILES)) in done.output


def test_no_goal_is_met_that_was_not_measured():
    result = {"rows": [], "labels": {}, "speed": {}}
    assert {one.status for one in judged(result)} == {Status.NOT_MEASURED}
    assert tables(result)[0].title == "Goals"


@pytest.mark.parametrize(
    "scores", [np.zeros(50), np.arange(50.0), np.repeat([0.1, 0.9], 25)], ids=("ties", "all", "two")
)
def test_a_share_is_held_whatever_the_scores(scores):
    assert held_share(scores) == pytest.approx(0.3, abs=0.03)


def test_a_floor_holds_where_the_score_says_nothing():
    rng = np.random.default_rng(0)
    weak, strong = (rng.random(400) < 0.6).astype(float), (rng.random(400) < 0.8).astype(float)
    broken, _, share = floor_broken(rng.random(400), weak, strong, runs=40)
    assert broken <= 0.1
    assert share > 0.6


def test_the_bundled_weights_are_of_these_features():
    assert bundled("prior").score(Text("Prove it by induction.", 22)).known
