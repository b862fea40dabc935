"""`balancer tier train`, `evaluate` and `calibrate`, through the entry point."""

import json
import os
from pathlib import Path

import pytest

from balancer.cli import main
from balancer.core.tiering.types import Classifier, Score
from balancer.learning.command import ON_PRIOR, Data, Means, run_evaluate, run_floor, run_share, run_train
from balancer.learning.files import load
from balancer.learning.prompts import as_text
from tests.learning.labelled import HARD, logged, rows

DATA = Path(__file__).parents[1] / "data" / "tiers"
DAY = "2026-11-28"


@pytest.fixture
def run(capsys, monkeypatch):
    for name in [name for name in os.environ if name.upper().startswith("BALANCER_")]:
        monkeypatch.delenv(name)

    def run(*argv):
        with pytest.raises(SystemExit) as left:
            main(("tier", *map(str, argv)))
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return run


def lines(path, made):
    """Rows as a file of JSON lines."""
    with path.open("w") as file:
        for row in made:
            labels = dict(row.quality)
            if row.logged:
                ((served, ok),) = row.quality.items()
                labels = {"served": served, "ok": ok, "p": row.p}
            file.write(json.dumps({"prompt": row.prompt, "domain": row.domain, **labels}) + "\n")
    return path


@pytest.fixture
def data(tmp_path):
    return lines(tmp_path / "rows.jsonl", rows(200, seed=1))


@pytest.fixture
def others(tmp_path):
    return lines(tmp_path / "others.jsonl", rows(300, seed=2))


def test_train_evaluate_calibrate(run, data, others, tmp_path):
    out = tmp_path / "mine.npz"
    code, said, err = run("train", data, "--out", out, "--date", DAY, "--usd", "0.1,1")
    assert (code, err) == (0, "")
    assert "200 rows, leave one domain out; all weak" in said
    assert said.splitlines()[-1] == f"wrote {out}"
    assert "of the cost of all strong: 90% quality for" in said
    code, said, _ = run("evaluate", others, "--router", out)
    assert code == 0
    assert "300 rows, rows it was not trained on" in said
    code, said, _ = run("calibrate", out, others, "--strong-share", 0.3)
    assert code == 0
    assert said.startswith("For 30.0% strong model calls for mine, threshold = 0.")
    code, said, _ = run("calibrate", out, "--quality-floor", 0.9)
    assert code == 0
    assert said.startswith("For 90% of the strong model's quality for mine, threshold = 0.")
    assert "with 95 % confidence, 200 rows" in said
    meta = load(out).metadata
    assert (meta.date, meta.rows, meta.data[0].file, meta.data[0].rows) == (DAY, 200, "rows.jsonl", 200)
    assert len(meta.data[0].sha256) == 64
    served = load(out).classifier()
    assert served.score(as_text(f"please tell {HARD[0]} and {HARD[1]} {HARD[2]}")).value > 0.5


def test_the_same_data_seed_and_date_are_the_same_file(run, data, tmp_path):
    for name in "ab":
        assert run("train", data, "--out", tmp_path / name, "--date", DAY)[0] == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_pair_that_cannot_be_routed_is_written_and_not_enabled(run, tmp_path):
    out = tmp_path / "no.npz"
    path = DATA / "mmlupro.csv.gz"
    code, said, _ = run("train", path, "--out", out)
    assert code == 1
    assert "this pair can't be routed from the prompt" in said
    assert said.splitlines()[-1] == f"wrote {out}, not enabled: it will not be served. --force enables it"
    assert "can't be routed" in load(out).metadata.refusal
    assert not load(out).metadata.enabled
    code, said, _ = run("train", path, "--out", out, "--force", "--json")
    assert code == 0
    told = json.loads(said)
    assert (told["enabled"], told["forced"]) == (True, True)
    assert "can't be routed" in told["refusal"]
    assert run("evaluate", path)[0] == 1


@pytest.mark.parametrize("kind", ["logistic", "mf", "knn", "sw"])
def test_every_kind_is_trained_and_served(run, data, others, tmp_path, kind):
    out = tmp_path / "mine.npz"
    assert run("train", data, "--out", out, "--router", kind, "--split", "folds")[0] == 0
    code, said, _ = run("evaluate", others, "--router", out, "--json")
    assert (code, json.loads(said)["rows"]) == (0, 300)
    found = load(out).classifier()
    hard, easy = (
        found.score(as_text(row.prompt))
        for row in sorted(rows(40, seed=3), key=lambda r: r.quality["weak"])[::39]
    )
    assert hard.value > easy.value


def test_a_log_is_enough(run, tmp_path):
    path = lines(tmp_path / "log.jsonl", logged(500, seed=1))
    code, said, _ = run("train", path, "--out", tmp_path / "mine.npz", "--split", "folds", "--json")
    assert code == 0
    assert json.loads(said)["models"] == ["weak", "strong"]


def test_more_than_two_models(run, tmp_path):
    path = lines(tmp_path / "rows.jsonl", rows(300, models=("s", "m", "l")))
    code, said, _ = run(
        "train", path, "--out", tmp_path / "mine.npz", "--models", "s,m,l", "--usd", "1,2,5", "--json"
    )
    assert code == 0
    assert json.loads(said)["usd"] == {"s": 1.0, "m": 2.0, "l": 5.0}
    score = (
        load(tmp_path / "mine.npz").classifier().score(as_text(f"{HARD[0]} {HARD[1]} with some {HARD[2]}"))
    )
    qualities = dict(score.qualities)
    assert qualities["s"] < qualities["m"] < qualities["l"]


def test_rows_that_were_trained_on_do_not_judge(run, data, others, tmp_path):
    out = tmp_path / "mine.npz"
    run("train", data, "--out", out)
    code, _, err = run("evaluate", data, "--router", out)
    assert code == 2
    assert "was trained on all of these rows: judge it on others, or name its kind, boosted" in err
    code, said, _ = run("evaluate", data, others, "--router", out)
    assert code == 0
    assert f"note: 200 rows left out: {out} was trained on them" in said
    code, said, _ = run("calibrate", out, data, "--strong-model-pct", 0.3, "--json")
    assert (code, json.loads(said)["threshold"]) == (0, 0.7)
    assert run("calibrate", out, data, "--quality-floor", 0.9)[0] == 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["evaluate", "no.jsonl"], "No such file or directory"),
        (["evaluate", "bad.jsonl"], "bad.jsonl:1: prompt: expected text here, or messages"),
        (
            ["evaluate", "rows.jsonl", "--router", "bert"],
            "--router: expected one of boosted, ridge, logistic, mf, knn, sw",
        ),
        (["evaluate", "rows.jsonl", "--router", "rows.npz"], "No such file"),
        (["evaluate", "rows.jsonl", "--weak", "a"], "no row tells of a: the models are strong, weak"),
        (["evaluate", "rows.jsonl", "--usd", "1"], "--usd: expected a price for each of weak, strong"),
        (["evaluate", "rows.jsonl", "--usd", "1,x"], "expected numbers and commas"),
        (["train", "rows.jsonl", "--out", "no/x.npz"], "No such file"),
        (["train", "rows.jsonl", "--out", "x.npz", "--date", "today"], "expected a day as YYYY-MM-DD"),
        (
            ["train", "rows.jsonl", "--out", "x.npz", "--router", "mf", "--embeddings", "http://x"],
            "needs --embeddings-model",
        ),
        (["train", "rows.jsonl", "--out", "x.npz", "--router", "mf", "--encoder", "my-encoder"], "encoder"),
        (
            ["train", "rows.jsonl", "--out", "x.npz", "--embeddings-key-env", "NO_SUCH"],
            "the environment has no NO_SUCH",
        ),
        (
            ["calibrate", "rows.jsonl", "--quality-floor", "0.9"],
            "expected a file that `balancer tier train` wrote",
        ),
        (["calibrate", "rows.jsonl"], "expected either --strong-share or --quality-floor"),
        (["calibrate", "rows.jsonl", "--quality-floor", "0.9", "--strong-share", "0.3"], "expected either"),
    ],
    ids=range(15),
)
def test_what_is_wrong_is_said_with_code_2(run, data, tmp_path, monkeypatch, argv, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "bad.jsonl").write_text("{}\n")
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert "Traceback" not in err


class Lengths(Classifier):
    name = "lengths"

    def score(self, text):
        return Score(min(1.0, text.last_bytes / 200))


def test_a_router_on_the_prior_remembers_that(data, others, tmp_path):
    import datetime as dt

    out = tmp_path / "mine.npz"
    on_prior = Means(on_prior=True, bundled=Lengths)
    said = run_train(Data([data]), on_prior, out, "ridge", date=dt.date(2026, 11, 28))
    assert f"note: {ON_PRIOR}" in said.text
    stored = load(out)
    assert stored.metadata.prior
    assert stored.classifier(Lengths()).score(as_text("the integral of this polynomial")).known
    means = Means(bundled=Lengths)
    assert run_evaluate(Data([others]), means, str(out)).code == 0
    assert "For 40.0%" in run_share(Data([others]), means, out, 0.4).text
    assert "For 90%" in run_floor(Data([others]), means, out, 0.9).text
