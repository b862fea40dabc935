"""Log lines of every logger: one JSON object each, or text for people, and nobody forges one."""

import contextlib
import io
import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.logs import MAX_CHARS, Fields, as_json, configure_logging, cut

FORGED = 'x\r\n{"level": "info"}\x1b[2J\x9b31m\u2028\u202e\x7f\ud800\x00'
HARMFUL = set("\r\n\x00\x1b\x7f\x9b\u2028\u202e\ud800")


@contextlib.contextmanager
def written(style, level="info"):
    """Logging is as serving configures it; gives what is written."""
    root, heard = logging.getLogger(), io.StringIO()
    handlers, severity = root.handlers[:], root.level
    root.handlers[:] = []
    try:
        with contextlib.redirect_stderr(heard):
            configure_logging(level, style)
        yield heard
    finally:
        root.handlers[:] = handlers
        root.setLevel(severity)


def log(name="balancer.test"):
    return logging.getLogger(name)


def failing():
    raise ValueError(FORGED)


def test_a_json_line_says_when_how_bad_who_and_what():
    with written("json") as heard:
        log().warning("%d replicas", 3)
    line = json.loads(heard.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "warning", "logger": "balancer.test", "message": "3 replicas"}


def test_fields_stand_beside_the_rest():
    with written("json") as heard:
        log("balancer.access").info(Fields(status=200, model="m"))
    line = json.loads(heard.getvalue())
    assert (line["status"], line["model"], line["logger"], line["message"]) == (
        200,
        "m",
        "balancer.access",
        "request",
    )


def test_fields_for_people_are_json_behind_the_head():
    with written("console") as heard:
        log("balancer.access").info(Fields(model=FORGED))
    line = heard.getvalue()
    assert json.loads(line[line.index("{") :]) == {"model": FORGED.replace("\ud800", "\ufffd")}
    assert not HARMFUL & set(line.removesuffix("\n"))


@pytest.mark.parametrize("name", ["balancer", "asyncio", "opentelemetry.sdk"])
def test_an_exception_of_any_logger_is_one_json_line(name):
    with written("json") as heard:
        try:
            failing()
        except ValueError:
            log(name).exception("a defect at %s", FORGED, stack_info=True)
    (line,) = heard.getvalue().splitlines()
    told = json.loads(line)
    assert told["message"] == "a defect at " + FORGED.replace("\ud800", "\ufffd")
    assert told["exception"].startswith("Traceback")
    assert "failing" in told["exception"]
    assert "Stack" in told["stack"]
    assert not HARMFUL & set(line)


def test_a_message_for_people_is_one_line_and_a_traceback_has_its_own():
    with written("console") as heard:
        try:
            failing()
        except ValueError:
            log().exception("at %s", FORGED)
    first, *rest = heard.getvalue().removesuffix("\n").split("\n")
    assert "at x\\r\\n{" in first
    assert not HARMFUL & set(first)
    assert rest[0] == "Traceback (most recent call last):"
    assert not (HARMFUL - {"\n"}) & set("".join(rest))


@pytest.mark.parametrize("style", ["json", "console"])
def test_what_has_no_end_is_cut(style):
    with written(style) as heard:
        log().warning("x" * 10_000_000)
    assert MAX_CHARS < len(heard.getvalue()) < MAX_CHARS + 300
    assert "(10000000 characters)" in heard.getvalue()


def test_what_is_less_severe_is_not_written():
    with written("json", "warning") as heard:
        log().info("quiet")
    assert heard.getvalue() == ""


@given(st.dictionaries(st.text(), st.text(st.characters()) | st.integers(-9, 9) | st.none()))
def test_any_values_are_one_line_of_json_that_holds_them(values):
    line = as_json(values)
    assert len(line.splitlines()) <= 1
    assert not HARMFUL & set(line)
    assert json.loads(line) == {
        name: re.sub("[\ud800-\udfff]", "\ufffd", value) if isinstance(value, str) else value
        for name, value in values.items()
    }


@given(st.text(), st.integers(1, 9))
def test_a_cut_keeps_what_fits(text, most):
    kept = cut(text, most)
    assert kept == text if len(text) <= most else kept.startswith(text[:most] + "...")
