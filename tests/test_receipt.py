"""What a head tells of a decision: whole lines, whatever names are in them."""

from hypothesis import given
from hypothesis import strategies as st

from balancer.accounting.record import Record, Tiered
from balancer.receipt import receipt


def lines(record):
    raw = receipt(record)
    assert raw.endswith(b"\r\n")
    return [tuple(line.split(b": ", 1)) for line in raw[:-2].split(b"\r\n")]


def test_a_plain_decision():
    record = Record(
        "/v1/chat/completions", 0.0, replica="10.0.0.1:8000", reason="cache", decision_id="0f" * 16
    )
    assert lines(record) == [
        (b"x-balancer-replica", b"10.0.0.1:8000"),
        (b"x-balancer-reason", b"cache"),
        (b"x-balancer-decision-id", b"0f" * 16),
    ]


def test_a_choice_among_tiers():
    tiered = Tiered("auto", "large", "l", "fallback", "code", 0.61234, 0.1, 0.7)
    tiered.left, tiered.barred = (("small", "saturated"), ("mid", "timeout")), (("hosted", "budget"),)
    record = Record("/", 0.0, replica="a", reason="b", decision_id="c", tiered=tiered)
    assert lines(record)[3:] == [
        (b"x-balancer-tier", b"large"),
        (b"x-balancer-tier-reason", b"fallback"),
        (b"x-balancer-rule", b"code"),
        (b"x-balancer-score", b"0.612"),
        (b"x-balancer-threshold", b"0.700"),
        (b"x-balancer-fallback", b"small=saturated, mid=timeout"),
        (b"x-balancer-skipped", b"hosted=budget"),
    ]


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_name_makes_a_line_of_its_own(replica, reason, tier):
    record = Record(
        "/", 0.0, replica=replica, reason=reason, decision_id="c", tiered=Tiered("a", tier, "m", "asked")
    )
    assert [name for name, *_ in lines(record)] == [
        b"x-balancer-replica", b"x-balancer-reason", b"x-balancer-decision-id", b"x-balancer-tier",
        b"x-balancer-tier-reason",
    ]  # fmt: skip
