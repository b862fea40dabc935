"""Assertions on figures, and the report that CI reads."""

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.goals import Goal, Status, judge
from benchmarks.reporting.checks import Assertion, Check, check, of_goals, validity
from benchmarks.reporting.junit import junit
from tests.benchmarks.reporting.records import document
from tests.benchmarks.xml_of import xml_of

COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@given(st.sampled_from(list(COMPARE)), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_an_assertion_compares_as_python_does(sign, limit, value):
    (found,) = check([Assertion.parse(f"hit_rate {sign} {limit!r}")], {"hit_rate": value})

    assert (found.status is Status.MET) is COMPARE[sign](value, limit)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("ttft_p90_ms", "p90_ttft_ms"),
        ("e2e_p99_ms", "p99_e2el_ms"),
        ("itl_mean_ms", "mean_itl_ms"),
        ("p90_ttft_ms", "p90_ttft_ms"),
        ("request_goodput", "request_goodput"),
        ("predicted_hit_rate", "predicted_hit_rate"),
    ],
)
def test_short_names_mean_the_documents(alias, name):
    assert Assertion.parse(f"{alias}<5").figure == name
    assert name in document()


@pytest.mark.parametrize(
    "text", ["", "ttft_p90_ms", "ttft_p90_ms=5", "ttft_p90_ms<", "ttft_p90_ms<x", "hit_rate<nan"]
)
def test_what_is_no_assertion_is_named(text):
    with pytest.raises(ValueError, match=r"--assert: expected FIGURE, one of < <= > >=, and a number"):
        Assertion.parse(text)


@pytest.mark.parametrize("name", ["ttft_p42_ms", "valid", "label", "ttft_curve_ms"])
def test_an_unknown_figure_is_an_error_that_lists_the_known(name):
    with pytest.raises(ValueError, match=rf"--assert: expected a figure of .*p90_ttft_ms.*; got '{name}'"):
        Assertion.parse(f"{name}<5")


def test_what_was_not_measured_is_not_reached():
    (found,) = check([Assertion.parse("engine_hit_rate>=0")], document())

    assert (found.status, found.why) == (Status.MISSED, "nothing was measured for it")


def test_junit_has_a_case_for_each_check_and_counts_them():
    goals = [Goal("lost", "lost", 0), Goal("cpu", "cpu", 1)]
    checks = [
        validity(document(invalid="late by 1 s <&\x00")),
        *check([Assertion.parse("num_prompts>0")], document()),
        *of_goals(judge(goals, {"lost": 2})),
    ]

    root = xml_of(junit(checks, suite="run", taken_at="2026-01-01T00:00:00", duration_s=30.5))

    (suite,) = root.findall("testsuite")
    assert root.tag == "testsuites"
    assert suite.attrib == {
        "name": "run", "tests": "4", "failures": "2", "errors": "0", "skipped": "1", "time": "30.500",
        "timestamp": "2026-01-01T00:00:00",
    }  # fmt: skip
    assert [case.get("name") for case in suite] == ["the run is valid", "num_prompts > 0", "lost", "cpu"]
    assert [[child.tag for child in case] for case in suite] == [["failure"], [], ["failure"], ["skipped"]]
    assert suite[2][0].get("message") == "measured 2, asked at most 0"


@given(st.text(), st.text())
def test_any_text_makes_a_report_that_can_be_read(title, why):
    text = junit([Check(title, Status.MISSED, why)], suite=title, taken_at="", duration_s=0)

    assert xml_of(text.encode()).find(".//failure") is not None
