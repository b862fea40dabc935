"""Blocks hold all arms, repeats come outermost, lanes keep blocks whole, and what was done is not done again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare.plan import BETWEEN_S, Plan, dealt, estimate_s, remaining

KNEES = {"chat": 10.0, "agents": 2.0}


def plan(**changed):
    return Plan(
        **{
            "arms": ("a", "b", "c"),
            "workloads": ("chat", "agents"),
            "loads": (0.5, 1.0),
            "repeats": 2,
            "seed": 3,
        }
        | changed
    )


def test_blocks_hold_all_arms_with_one_script_and_repeats_are_outermost():
    blocks = plan().blocks(KNEES)
    assert len(blocks) == 8
    for block in blocks:
        assert sorted(cell.arm for cell in block) == ["a", "b", "c"]
        assert len({(cell.workload, cell.load, cell.repeat, cell.rate, cell.seed) for cell in block}) == 1
    assert [block[0].repeat for block in blocks] == [0] * 4 + [1] * 4
    assert {block[0].rate for block in blocks} == {5.0, 10.0, 1.0, 2.0}
    assert len({block[0].seed for block in blocks}) == 2
    first, second = ([cell.arm for cell in block] for block in (blocks[0], blocks[4]))
    assert first == second[::-1]


@given(st.integers(1, 6), st.integers(1, 4))
def test_lanes_have_every_cell_once_and_each_block_in_one(lanes, repeats):
    blocks = plan(repeats=repeats).blocks(KNEES)
    shares = dealt(blocks, lanes)
    assert sorted(cell.key for share in shares for cell in share) == sorted(
        cell.key for block in blocks for cell in block
    )
    for block in blocks:
        assert sum(bool(set(block) & set(share)) for share in shares) == 1


def test_what_is_done_is_left_out_and_empty_blocks_with_it():
    blocks = plan().blocks(KNEES)
    done = {cell.key for cell in blocks[0]} | {blocks[1][0].key}
    left = remaining(blocks, done)
    assert len(left) == 7
    assert left[0] == blocks[1][1:]
    assert remaining(blocks, {cell.key for block in blocks for cell in block}) == []


def test_the_longest_lane_decides_how_long_it_takes():
    blocks = plan().blocks(KNEES)
    assert estimate_s(dealt(blocks, 1), lambda _: 30.0) == 24 * (30 + BETWEEN_S)
    assert estimate_s(dealt(blocks, 3), lambda _: 30.0) == 9 * (30 + BETWEEN_S)
    assert estimate_s([[]], lambda _: 30.0) == 0.0


def test_any_change_of_the_plan_changes_its_digest():
    digests = {
        each.digest()
        for each in (
            plan(),
            plan(seed=4),
            plan(loads=(0.5, 0.9)),
            plan(arms=("b", "a", "c")),
            plan(setting={"replicas": 8}),
        )
    }
    assert len(digests) == 5
    assert plan().digest() == plan().digest()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"arms": ()}, "--arms: expected one or more"),
        ({"arms": ("a", "a")}, "--arms: expected one or more, each once"),
        ({"loads": (0.0,)}, "--loads: expected numbers above 0"),
        ({"repeats": 0}, "--repeats: expected at least 1"),
    ],
)
def test_a_plan_that_says_nothing_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        plan(**changed)
