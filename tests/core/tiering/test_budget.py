"""Spending by day."""

from balancer.core.tiering.budget import DAY_S, MAX_TENANTS, Budget, TenantPolicy


def test_what_is_left_of_the_day():
    budget = Budget({"a": TenantPolicy(usd_per_day=2.0), "b": TenantPolicy()})
    assert [budget.left(tenant, 0.0) for tenant in ("a", "b", "c")] == [2.0, None, None]
    budget.spend("a", 1.5, 10.0)
    budget.spend("a", 1.0, DAY_S - 1)
    assert (budget.left("a", DAY_S - 0.5), budget.spent("a", DAY_S - 0.5)) == (0.0, 2.5)
    assert budget.renewed_in_s(DAY_S - 0.5) == 1
    assert budget.left("a", DAY_S) == 2.0


def test_the_policy_of_all_others_is_spent_by_each_alone():
    budget = Budget({"*": TenantPolicy(usd_per_day=1.0), "a": TenantPolicy(usd_per_day=5.0)})
    budget.spend("x", 1.0, 0.0)
    assert [budget.left(tenant, 0.0) for tenant in ("x", "y", "a")] == [0.0, 1.0, 5.0]


def test_a_clock_that_is_set_back_renews_nothing():
    budget = Budget({"a": TenantPolicy(usd_per_day=1.0)})
    budget.spend("a", 1.0, 5 * DAY_S)
    assert budget.left("a", 4 * DAY_S) == 0.0


def test_new_policies_keep_what_was_spent():
    budget = Budget({"a": TenantPolicy(usd_per_day=1.0)})
    budget.spend("a", 1.0, 0.0)
    budget.policies = {"a": TenantPolicy(usd_per_day=3.0)}
    assert budget.left("a", 0.0) == 2.0


def test_memory_is_bounded():
    budget = Budget({"*": TenantPolicy(usd_per_day=1.0)})
    for number in range(MAX_TENANTS + 5):
        budget.spend(str(number), 1.0, 0.0)
    assert len(budget._spent) == MAX_TENANTS
    assert budget.left("0", 0.0) == 1.0
    assert budget.left(str(MAX_TENANTS), 0.0) == 0.0
