import pytest
from multidict import CIMultiDict

from balancer.core.types import RequestView, RouteKind
from balancer.frontend.claims import MAX_TENANT_CHARS, Claims


def read(headers, tenant_header=None, **view):
    made = RequestView(RouteKind.CHAT, **view)
    Claims(("x-request-timeout", "x-patience"), tenant_header).read(made, CIMultiDict(headers), 100.0)
    return made


@pytest.mark.parametrize(
    ("sent", "priority"),
    [("-3", -3), ("0", 0), ("12", 12), ("1.5", 7), ("", 7), ("high", 7), ("1_0", 7), ("٣", 7), ("9" * 30, 7), (None, 7)],
)  # fmt: skip
def test_the_header_goes_before_the_body_if_it_is_a_whole_number(sent, priority):
    headers = {} if sent is None else {"x-vllm-priority": sent}
    assert read(headers, priority=7).priority == priority


@pytest.mark.parametrize(
    ("sent", "deadline"),
    [("2.5", 102.5), ("30", 130.0), ("0", None), ("-1", None), ("nan", None), ("inf", None), ("1m", None)],
)
def test_a_timeout_is_a_number_of_seconds(sent, deadline):
    assert read({"X-Request-Timeout": sent}).deadline == deadline


def test_the_first_timeout_header_that_was_sent_counts():
    assert read({"x-patience": "1", "x-request-timeout": "2"}).deadline == 102.0
    assert read({"x-patience": "1"}).deadline == 101.0
    assert read({}).deadline is None


def test_the_tenant_is_the_keys_unless_a_trusted_header_names_it():
    assert read({"x-team": "a"}, tenant="key").tenant == "key"
    assert read({"x-team": "a"}, "x-team", tenant="key").tenant == "a"
    assert read({}, "x-team", tenant="key").tenant == "key"
    assert len(read({"x-team": "a" * 1000}, "x-team").tenant) == MAX_TENANT_CHARS
