"""Our writer against prometheus_client's readers, which are the oracle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from balancer.accounting.exposition import Family, Kind, counter, gauge, histogram, info
from balancer.accounting.histogram import Histogram

LABEL = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['a"b', "c\\d", "e\nf", ""]
)
NUMBER = st.floats(allow_nan=False) | st.integers(0, 10**12)


def written(family, samples, *, openmetrics):
    return "".join(family.pieces(samples, openmetrics=openmetrics)) + ("# EOF\n" if openmetrics else "")


def samples_in(family):
    return {(s.name, frozenset(s.labels.items())): s.value for s in family.samples}


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
@given(st.dictionaries(st.tuples(LABEL, LABEL), NUMBER, max_size=4))
def test_what_is_written_is_read(openmetrics, values):
    family = gauge("balancer_x", 'A "thing"\nof two lines, with a \\.', "b", "a")
    page = written(family, values.items(), openmetrics=openmetrics)
    (found,) = (read_openmetrics if openmetrics else read_text)(page)
    assert (found.name, found.type) == ("balancer_x", "gauge")
    assert samples_in(found) == {
        ("balancer_x", frozenset({"b": b, "a": a}.items())): value for (b, a), value in values.items()
    }


def theirs(kind):
    labels = ("model_name", "replica")
    key, seen = ("m", 'r"0'), Histogram((0.5, 1.0))
    for value in (0.5, 0.7, 3.0):
        seen.observe(value)
    if kind is Kind.COUNTER:
        metric = CounterMetricFamily("balancer_x", "Told.", labels=labels)
        metric.add_metric(key, 3)
        return metric, counter("balancer_x", "Told.", *labels), [(key, 3)]
    if kind is Kind.GAUGE:
        metric = GaugeMetricFamily("balancer_x", "Told.", labels=labels)
        metric.add_metric(key, True)
        return metric, gauge("balancer_x", "Told.", *labels), [(key, True)]
    if kind is Kind.INFO:
        metric = InfoMetricFamily("balancer_x", "Told.", {"model_name": "m", "replica": 'r"0'})
        return metric, info("balancer_x", "Told.", *labels), [(key, 1)]
    metric = HistogramMetricFamily("balancer_x", "Told.", labels=labels)
    metric.add_metric(key, [("0.5", 1), ("1.0", 2), ("+Inf", 3)], 4.2)
    return metric, histogram("balancer_x", "Told.", *labels), [(key, seen)]


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
@pytest.mark.parametrize("kind", list(Kind))
def test_the_page_is_that_of_prometheus_client(kind, openmetrics):
    metric, family, samples = theirs(kind)
    registry = CollectorRegistry()

    class One:
        def collect(self):
            yield metric

    registry.register(One())
    wanted = (generate_openmetrics if openmetrics else generate_latest)(registry).decode()
    page = written(family, samples, openmetrics=openmetrics)
    assert page.splitlines()[:2] == wanted.splitlines()[:2]
    read = read_openmetrics if openmetrics else read_text
    assert samples_in(*read(page)) == samples_in(*read(wanted))


def test_a_family_without_samples_has_its_head():
    assert written(Family("balancer_x", Kind.COUNTER, "Told."), [], openmetrics=False) == (
        "# HELP balancer_x_total Told.\n# TYPE balancer_x_total counter\n"
    )
