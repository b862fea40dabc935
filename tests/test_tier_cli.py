"""`balancer tier`, through the entry point."""

import json
import os

import pytest

from balancer.accounting.outcome_store import Store
from balancer.cli import main
from tests.accounting.outcomes import outcome


@pytest.fixture
def run(capsys, monkeypatch):
    for name in [name for name in os.environ if name.upper().startswith("BALANCER_")]:
        monkeypatch.delenv(name)

    def run(*argv):
        with pytest.raises(SystemExit) as left:
            main(("tier", *argv))
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return run


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "outcomes.db"
    store = Store(path)
    store.add([outcome(0, prompt="hello")])
    store.rate("d0", "acme", 0.0, 1.0, None, None)
    store.close()
    return path


def test_the_report(run, log):
    code, out, err = run("report", "--log", str(log))
    assert (code, err) == (0, "")
    assert out.startswith("auto: 1 requests in 1 conversations")


def test_the_report_as_json(run, log):
    code, out, _ = run("report", "--log", str(log), "--json")
    assert code == 0
    assert json.loads(out)["virtual_models"][0]["quality"]["rated"] == 1


def test_the_settings_name_the_log(run, log, tmp_path, monkeypatch):
    file = tmp_path / "balancer.yaml"
    file.write_text(f"replicas: [http://a]\noutcome_log: {log}\n")
    assert run("report", "--config", str(file))[0] == 0
    monkeypatch.setenv("BALANCER_CONFIG", str(file))
    assert run("report", "--days", "1") == (
        0,
        "Nothing is logged yet: no request has asked for a virtual model.\n",
        "",
    )


def test_the_export(run, log, tmp_path):
    to = tmp_path / "rows.jsonl"
    code, out, _ = run("report", "--log", str(log), "--export", str(to))
    assert (code, out) == (0, f"1 rated requests in {to}\n")
    assert json.loads(to.read_text()) == {"prompt": "hello", "served": "weak", "ok": 1.0, "p": 1.0}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--log", "/no/such/file"), "/no/such/file: expected an outcome log: "),
        ((), "no outcome log is named: expected --log FILE"),
        (("--config", "/no/such.yaml"), "no outcome log is named"),
        (("--days", "-1"), "--days"),
    ],
)
def test_what_is_wrong_is_told(run, argv, expected):
    code, out, err = run("report", *argv)
    assert (code, out) == (2, "")
    assert expected in err
    assert "Traceback" not in err
