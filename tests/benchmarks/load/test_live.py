import io

from rich.console import Console

from benchmarks.load.live import Progress
from benchmarks.load.record import Outcome, Record


def ended(outcome, ttft_s=None):
    record = Record("c", 0, "", "/", 1.0, measured=True, outcome=outcome)
    if ttft_s is not None:
        record.token_s.append(1.0 + ttft_s)
    return record


def test_the_line_counts_what_became_of_requests():
    progress = Progress(60.0)
    records = [ended(Outcome.ANSWERED, n / 10) for n in range(1, 11)] + [ended(Outcome.SHED)]
    for record in [*records, ended(Outcome.UNFINISHED)]:
        progress.on_sent(record)
    for record in records:
        progress.on_record(record)

    assert progress.line(20.0) == (
        "20 of 60 s  sent 12  under way 1  answered 10  not 1  0.5/s  TTFT P50 500 ms  P90 900 ms"
    )


def test_the_line_before_anything_came():
    assert Progress(60.0).line(0.0).endswith("0.0/s  TTFT P50 -  P90 -")


def test_a_console_that_is_no_terminal_gets_no_codes():
    out = io.StringIO()
    with Progress(1.0).showing(Console(file=out, width=200)):
        pass

    assert "\x1b" not in out.getvalue()
