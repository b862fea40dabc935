"""The command `crosscheck`, where there is nothing to measure and where there is a result to show."""

from pathlib import Path

from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.crosscheck import aiperf, guidellm

KEPT = Path(__file__).parents[3] / "benchmarks" / "results" / "crosscheck.json"


def test_a_target_that_is_not_there_is_told(tmp_path):
    """The others are there by their stamps, and fail too; vLLM's interpreter is looked for at its usual place."""
    for pin in (aiperf.PIN, guidellm.PIN):
        home = tmp_path / pin.name
        (home / "bin").mkdir(parents=True)
        (home / "requirements.txt").write_text("\n".join(pin.requirements) + "\n")
    done = CliRunner().invoke(
        app,
        [
            *("crosscheck", "--target", "http://127.0.0.1:9", "--requests", "10", "--rate", "100"),
            *("--prompt-words", "10", "--repeats", "3", "--peer-dir", str(tmp_path)),
        ],
    )
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    assert "127.0.0.1:9" in done.output


def test_a_kept_result_is_shown_again():
    done = CliRunner().invoke(app, ["crosscheck", "--render", str(KEPT)])
    assert done.exit_code == 0
    assert "TTFT, ms" in done.output
