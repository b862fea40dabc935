"""How much feedback a tenant may give."""

import pytest

from balancer.core.errors import Refused
from balancer.frontend.auth import ApiKeys
from balancer.frontend.claims import Claims
from balancer.frontend.feedback import BURST, MAX_TENANTS, PER_SECOND, FeedbackRoute


@pytest.fixture
def route():
    return FeedbackRoute(None, ApiKeys({}), Claims((), None))


def given(route, tenant, count, now):
    """How many of so many were taken."""
    taken = 0
    for _ in range(count):
        try:
            route.spend(tenant, now)
        except Refused as refused:
            assert (refused.status, refused.retry_after_s) == (429, 1)
        else:
            taken += 1
    return taken


def test_a_burst_and_then_so_many_a_second(route):
    assert given(route, "red", 2000, 10.0) == BURST
    assert given(route, "red", 2000, 11.0) == PER_SECOND
    assert given(route, "red", 2000, 1000.0) == BURST


def test_what_one_tenant_gives_is_not_taken_from_another(route):
    given(route, "red", 2000, 10.0)
    assert given(route, "blue", 1, 10.0) == 1


def test_tenants_are_not_remembered_without_end(route):
    for number in range(2 * MAX_TENANTS):
        route.spend(f"t{number}", 10.0)
    assert len(route._allowed) == MAX_TENANTS
