"""llm-d's scenarios, by the numbers that name them."""

import pytest

from benchmarks.workloads import OTHERS, WORKLOADS


def test_scenario_a_is_users_of_six_groups_who_go_on_in_steps_of_a_question_and_an_answer():
    sessions = WORKLOADS["llm_d_a"].traffic(0.5, 8, 1).sessions
    assert len({session.keys[:15] for session in sessions}) == 6
    assert len({session.keys for session in sessions}) == len(sessions)
    for session in sessions:
        assert [turn.prompt_tokens for turn in session.turns] == [
            1_030 + 1_030 * number for number in range(len(session.turns))
        ]
        assert {turn.output_tokens for turn in session.turns} == {1_000}
    assert {len(session.turns) for session in sessions} == {2, 3, 4, 5, 6}


def test_scenario_b_is_one_long_question_of_users_who_rarely_come_again():
    sessions = WORKLOADS["llm_d_b"].traffic(0.9, 8, 1).sessions
    assert {(turn.prompt_tokens, turn.output_tokens) for s in sessions for turn in s.turns} == {
        (4_000, 1_000)
    }
    assert len({session.keys[:15] for session in sessions}) == 6
    again = 1 - len({session.keys for session in sessions}) / len(sessions)
    assert again == pytest.approx(0.22, abs=0.06)
    by_user = {session.user: session.keys for session in sessions}
    assert all(by_user[session.user] == session.keys for session in sessions)


def test_no_key_is_negative_or_beyond_64_bits():
    for workload in (*OTHERS, WORKLOADS["mooncake"]):
        for session in workload.traffic(0.2, 2, 1).sessions:
            assert all(0 <= key < 1 << 64 for key in session.keys)
