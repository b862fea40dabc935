from hypothesis import given

from benchmarks.load.record import Outcome
from benchmarks.reporting.timeline import timeline
from tests.benchmarks.reporting.records import answered, record_lists, unanswered


def test_each_second_tells_what_happened_in_it():
    records = [
        answered(0.2, 0.5, (1.0,), cached_tokens=100),
        answered(0.4, 0.1, ()),
        answered(1.5, 0.9, (0.1,), outcome=Outcome.FAILED),
    ]

    found = timeline(records)

    assert found["arrivals"] == [2, 1, 0]
    assert found["answers"] == [1, 1, 0]
    assert found["failures"] == [0, 0, 1]
    assert found["under_way"] == [0, 1, 1]
    assert found["p90_ttft_ms"] == [460.0, None, None]
    assert found["hit_rate"] == [0.75, None, None]


def test_what_never_ended_stays_under_way():
    assert timeline([unanswered(0.5, Outcome.UNFINISHED), answered(3.5)])["under_way"] == [0, 1, 1, 1]


@given(record_lists())
def test_every_request_arrives_once_and_ends_at_most_once(records):
    found = timeline(records)

    answers = [record for record in records if record.outcome is Outcome.ANSWERED]
    assert sum(found.get("arrivals", ())) == len(records)
    assert sum(found.get("answers", ())) == len(answers)
    assert all(0 <= count <= len(records) for count in found.get("under_way", ()))
    assert len({len(column) for name, column in found.items() if name != "step_s"}) <= 1
