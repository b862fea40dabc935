import sys

import pytest

from benchmarks.crosscheck.generator import LATENCIES, PERCENTILES, Generator, Report
from benchmarks.crosscheck.load import drawn
from benchmarks.crosscheck.runs import rounds, run
from benchmarks.load.target import Target
from benchmarks.processes import NotServingError

LOAD = drawn(requests=2, rate=1000.0, prompt_words=4, output_tokens=8, seed=3)
ADDRESS = Target("http://127.0.0.1:1", "m")


def generator(name="one", program="", completed=2, read=None):
    report = Report(completed, {each: dict.fromkeys(PERCENTILES, 1.0) for each in LATENCIES}, (0.0, 1.0))
    return Generator(name, None, lambda *_: [sys.executable, "-c", program], read or (lambda _: report))


def missing(folder):
    return (folder / "report").read_text()


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (generator(program="import sys; print('no route'); sys.exit(3)"), "one: exit status 3: no route"),
        (generator(read=missing), "one: no report of the kind"),
        (generator(completed=1), "one: 1 of 2 requests answered"),
    ],
)
def test_a_run_that_says_nothing_is_told(tmp_path, faulty, message):
    with pytest.raises(NotServingError, match=message):
        run(faulty, LOAD, ADDRESS, tmp_path / "run")


def test_each_generator_runs_once_a_round_in_its_own_folder(tmp_path):
    ran, steps = [], []

    def noting(name):
        def command(load, target, folder):
            ran.append((name, load.prompts, folder))
            return [sys.executable, "-c", ""]

        return Generator(name, None, command, generator().read)

    found = rounds([noting("a"), noting("b")], LOAD, ADDRESS, 2, tmp_path, steps.append)
    rows, failures = found.rows, found.failures
    assert {name: len(runs) for name, runs in rows.items()} == {"a": 2, "b": 2}
    assert not failures
    first, second = [name for name, *_ in ran[:2]], [name for name, *_ in ran[2:]]
    assert first == second[::-1]
    assert len({prompts for _, prompts, _ in ran}) == 4
    assert len({folder for *_, folder in ran}) == 4
    assert steps[0] == f"round 1: {first[0]}"


def test_a_generator_that_fails_is_left_out_and_the_others_go_on(tmp_path):
    asked = []

    def command(*_):
        asked.append(1)
        return [sys.executable, "-c", "import sys; sys.exit(3)"]

    failing = Generator("bad", None, command, generator().read)
    found = rounds([generator("good"), failing], LOAD, ADDRESS, 3, tmp_path, lambda _: None)
    assert {name: len(runs) for name, runs in found.rows.items()} == {"good": 3}
    assert found.failures["bad"].startswith("bad: exit status 3")
    assert len(asked) == 1


def test_one_request_in_fifty_may_be_missing_from_a_report(tmp_path):
    load = drawn(requests=50, rate=1000.0, prompt_words=4, output_tokens=8, seed=3)
    assert run(generator(completed=49), load, ADDRESS, tmp_path / "one").completed == 49
    with pytest.raises(NotServingError, match="48 of 50"):
        run(generator(completed=48), load, ADDRESS, tmp_path / "two")
