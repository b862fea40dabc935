"""The engine model: block accounting, caching, batching limits, preemption, and that nothing starves."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.embedded.engine import (
    PROFILES,
    Engine,
    EngineBusyError,
    EngineRequest,
    EngineSequence,
    Phase,
    StepResult,
    hash_blocks,
    hash_root,
)

TINY = PROFILES["tiny"]
BLOCK = 4
ROOT = hash_root(model="m")


def request(name: str, prompt: list[int], output: list[int], root: int = ROOT) -> EngineRequest:
    return EngineRequest(name, len(prompt), len(output), hash_blocks([*prompt, *output[:-1]], BLOCK, root))


def engine(**options) -> Engine:
    return Engine(TINY, **{"block_size": BLOCK, "kv_capacity_tokens": 400, **options})


def run(subject: Engine, now: float = 0.0) -> list[StepResult]:
    """Steps until the engine is idle."""
    results = []
    while (result := subject.step(now)) is not None:
        now += result.duration_s
        results.append(result)
        assert len(results) < 10_000
    return results


def check_accounts(subject: Engine) -> None:
    pool = subject.pool
    assert pool.free + pool.idle + pool.held + pool.private == pool.total
    assert min(pool.free, pool.private) >= 0
    assert all(count >= 0 for count in pool._references.values())
    assert pool.idle == sum(count == 0 for count in pool._references.values())
    running = [s for s in subject._sequences.values() if s.phase in {Phase.PREFILL, Phase.DECODE}]
    assert pool.private == sum(s.blocks - len(s.held) for s in running)
    held = [key for s in running for key in s.held]
    assert sum(pool._references.values()) == len(held)
    assert subject._decode_context_tokens == sum(
        s.computed + subject._steps_finished - s.decoding_since for s in subject.decoding
    )


@dataclass(frozen=True)
class Arrival:
    prompt_group: int
    shared: int
    own: int
    output: int
    at_step: int
    abort_after: int | None
    abort_in_step: bool

    @property
    def abort_step(self) -> int | None:
        return None if self.abort_after is None else self.at_step + self.abort_after


arrivals = st.builds(
    Arrival,
    prompt_group=st.integers(0, 2),
    shared=st.integers(0, 30),
    own=st.integers(1, 20),
    output=st.integers(1, 25),
    at_step=st.integers(0, 20),
    abort_after=st.none() | st.integers(0, 15),
    abort_in_step=st.booleans(),
)
limits = st.fixed_dictionaries(
    {
        "kv_capacity_tokens": st.integers(19, 60).map(lambda blocks: blocks * BLOCK),
        "max_num_seqs": st.integers(1, 6),
        "max_num_batched_tokens": st.integers(6, 40),
    }
)


def play(plan: list[Arrival], limit: dict[str, int]) -> list[tuple[object, ...]]:
    """Runs the plan to the end with every invariant checked at every step; returns a transcript."""
    subject = engine(**limit)
    transcript: list[tuple[object, ...]] = []
    produced: dict[str, int] = {}
    sequences: dict[str, EngineSequence] = {}
    now = 0.0
    for step in range(5_000):
        for index, arrival in enumerate(plan):
            name = f"r{index}"
            if arrival.at_step == step:
                prompt = [1000 * arrival.prompt_group + i for i in range(arrival.shared)]
                prompt += [100_000 + index] * arrival.own
                sequences[name] = subject.submit(request(name, prompt, list(range(arrival.output))), now)
            if step == arrival.abort_step and not arrival.abort_in_step:
                subject.abort(name, now)
                check_accounts(subject)
        duration_s = subject.start_step(now)
        check_accounts(subject)
        if duration_s is None:
            if step > 40:
                break
            continue
        for index, arrival in enumerate(plan):
            if step == arrival.abort_step and arrival.abort_in_step:
                subject.abort(f"r{index}", now)
                check_accounts(subject)
        assert duration_s > 0
        now += duration_s
        result = subject.finish_step(now)
        check_accounts(subject)
        assert 0 < result.prefill_tokens + result.decode_sequences <= subject.max_num_batched_tokens
        assert subject.num_running <= subject.max_num_seqs
        for sequence in [*result.finished, *subject.decoding]:
            name = sequence.request.request_id
            produced[name] = produced.get(name, 0) + 1
            assert subject.generated_tokens(sequence) == produced[name]
        transcript.append((
            now, result.prefill_tokens, result.decode_sequences,
            [s.request.request_id for s in result.finished],
            [s.request.request_id for s in result.preempted],
            tuple(result.stored_blocks), tuple(result.evicted_blocks),
        ))  # fmt: skip
    assert subject.num_unfinished == 0
    assert subject.pool.held == subject.pool.private == 0
    for name, sequence in sequences.items():
        assert sequence.phase in {Phase.FINISHED, Phase.ABORTED}
        if sequence.phase is Phase.FINISHED:
            assert produced[name] == sequence.request.output_tokens
            assert sequence.arrived_s <= sequence.admitted_s < sequence.first_token_s <= sequence.finished_s
    finished = sum(s.phase is Phase.FINISHED for s in sequences.values())
    unaborted = sum(arrival.abort_after is None for arrival in plan)
    assert finished >= unaborted
    return transcript


@settings(max_examples=150, deadline=None)
@given(st.lists(arrivals, min_size=1, max_size=12), limits)
def test_any_load_ends_and_the_books_balance_at_every_step(plan, limit):
    assert play(plan, limit) == play(plan, limit)


def test_a_second_identical_prompt_hits_all_but_its_last_token():
    subject = engine()
    prompt = list(range(3 * BLOCK))
    for name in ("first", "second"):
        sequence = subject.submit(request(name, prompt, [7]), 0.0)
        run(subject)
    assert sequence.cached_tokens == 2 * BLOCK  # a whole block must be left for the token that is computed
    assert subject.counters.prefix_cache_queries_tokens == 6 * BLOCK
    assert subject.counters.prefix_cache_hits_tokens == 2 * BLOCK


def test_the_next_turn_hits_prompt_and_answer():
    subject = engine()
    prompt, answer = list(range(10)), list(range(50, 60))
    subject.submit(request("turn 1", prompt, answer), 0.0)
    run(subject)
    turn_2 = subject.submit(request("turn 2", [*prompt, *answer, *range(90, 99)], [1]), 0.0)
    run(subject)
    assert turn_2.cached_tokens == 16  # 19 of the 20 tokens were computed: four full blocks of four


@pytest.mark.parametrize("root", [hash_root(model="other"), hash_root(model="m", cache_salt="s")])
def test_another_model_or_salt_shares_nothing(root):
    subject = engine()
    prompt = list(range(12))
    subject.submit(request("a", prompt, [1]), 0.0)
    run(subject)
    other = subject.submit(request("b", prompt, [1], root), 0.0)
    run(subject)
    assert other.cached_tokens == 0


def test_the_lora_is_part_of_the_root():
    assert (
        len({ROOT, hash_root(model="m", lora="m"), hash_root(model="", cache_salt="m"), hash_root(model="")})
        == 4
    )


def test_two_prompts_in_one_step_share_their_blocks():
    subject = engine()
    prompt = list(range(12))
    subject.submit(request("a", prompt, [1, 2]), 0.0)
    second = subject.submit(request("b", prompt, [1, 2]), 0.0)
    result = subject.step(0.0)
    assert second.cached_tokens == 8
    assert result.prefill_tokens == 12 + 4


def test_eviction_takes_the_least_recently_used_and_a_tail_before_its_head():
    subject = engine(kv_capacity_tokens=6 * BLOCK)
    old, new = list(range(100, 112)), list(range(200, 212))
    hashes = {name: hash_blocks(tokens, BLOCK, ROOT) for name, tokens in (("old", old), ("new", new))}
    for name, tokens in (("old", old), ("new", new)):
        subject.submit(request(name, tokens, [1]), 0.0)
        run(subject)
    subject.submit(request("third", list(range(16)), [1]), 0.0)
    evicted = [key for result in run(subject) for key in result.evicted_blocks]
    assert evicted == [*reversed(hashes["old"]), hashes["new"][2]]


def test_a_prefill_longer_than_the_budget_runs_in_chunks_beside_decoding():
    subject = engine(max_num_batched_tokens=10, max_num_seqs=4)
    subject.submit(request("decoder", [1, 2], [1] * 20), 0.0)
    subject.step(0.0)
    long = subject.submit(request("long", list(range(25)), [1]), 0.0)
    chunks = []
    while long.phase is not Phase.FINISHED:
        result = subject.step(0.0)
        assert result.decode_sequences == 1
        chunks.append(result.prefill_tokens)
    assert chunks == [9, 9, 7]


def test_admission_is_first_come_first_served():
    subject = engine(max_num_seqs=1)
    for name in ("a", "b", "c"):
        subject.submit(request(name, [ord(name)] * 5, [1, 2, 3]), 0.0)
    assert [s.request.request_id for r in run(subject) for s in r.finished] == ["a", "b", "c"]


def test_the_newest_is_preempted_and_still_gives_every_token():
    subject = engine(kv_capacity_tokens=8 * BLOCK)
    for name in ("old", "new"):
        subject.submit(request(name, [ord(name[0])] * 12, list(range(16))), 0.0)
    results = run(subject)
    assert {s.request.request_id for r in results for s in r.preempted} == {"new"}
    assert [s.request.request_id for r in results for s in r.finished] == ["old", "new"]
    assert [len(r.first_tokens) for r in results if r.first_tokens] == [2]
    assert subject.counters.generation_tokens == 32
    assert subject.counters.prompt_tokens == 24


def test_a_preempted_sequence_goes_before_those_that_never_ran():
    subject = engine(kv_capacity_tokens=8 * BLOCK, max_num_seqs=2, max_num_batched_tokens=24)
    for name in ("old", "new"):
        subject.submit(request(name, [ord(name[0])] * 12, list(range(16))), 0.0)
    subject.submit(request("later", [1] * 30, [1]), 0.0)
    while not (preempted := subject.step(0.0).preempted):
        pass
    subject.abort("old", 0.0)
    subject.step(0.0)
    assert preempted[0].phase is Phase.DECODE


def test_an_abort_frees_its_blocks_at_once_and_leaves_the_others_alone():
    subject = engine()
    for name in ("stays", "goes", "waits"):
        subject.submit(request(name, [ord(name[0])] * 9, [1] * 5), 0.0)
    subject.step(0.0)
    used = subject.pool.usage
    assert subject.abort("goes", 1.0)
    assert subject.pool.usage < used
    assert not subject.abort("goes", 1.0)
    assert [s.request.request_id for r in run(subject) for s in r.finished] == ["stays", "waits"]


def test_reset_needs_an_engine_that_holds_no_blocks():
    subject = engine()
    subject.submit(request("a", list(range(12)), [1, 2, 3]), 0.0)
    subject.step(0.0)
    assert not subject.reset_prefix_cache()
    run(subject)
    assert subject.pool.idle == 3
    assert subject.reset_prefix_cache()
    again = subject.submit(request("b", list(range(12)), [1]), 0.0)
    assert len(subject.step(0.0).evicted_blocks) == 3
    assert again.cached_tokens == 0


def test_the_queue_limit_counts_all_unfinished_requests():
    subject = engine(max_num_queued_reqs=2)
    subject.submit(request("a", [1], [1, 2]), 0.0)
    subject.step(0.0)
    assert subject.has_room(1)
    assert not subject.has_room(2)
    subject.submit(request("b", [1], [1]), 0.0)
    with pytest.raises(EngineBusyError):
        subject.submit(request("c", [1], [1]), 0.0)
    run(subject)
    assert subject.counters.rejections == 1
    assert subject.has_room(2)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (EngineRequest("a", 0, 1), "prompt_tokens"),
        (EngineRequest("a", 1, 0), "output_tokens"),
        (EngineRequest("a", 398, 4), "at most 400 tokens"),
        (EngineRequest("taken", 1, 1), "request_id"),
    ],
)
def test_a_request_that_could_never_run_is_refused(bad, message):
    subject = engine()
    subject.submit(EngineRequest("taken", 1, 1), 0.0)
    with pytest.raises(ValueError, match=message):
        subject.submit(bad, 0.0)


def test_the_largest_request_that_fits_runs():
    subject = engine()
    subject.submit(EngineRequest("a", 397, 4), 0.0)
    assert run(subject)[-1].finished


def test_step_time_is_the_documented_sum():
    profile = replace(PROFILES["qwen3-32b-2xh100"], max_model_len=1)
    parts = {"prefill_tokens": 0, "attention": 0.0, "decode_sequences": 0, "decode_context_tokens": 0}
    assert profile.step_s(**parts) == profile.base_s
    # The figures that the profile was made from: 8,192 tokens in 0.40 to 0.51 s, 11 ms between tokens.
    full = {**parts, "prefill_tokens": 8192, "attention": 8192 * 4096}
    assert 0.40 < profile.step_s(**full) < 0.51
    one = {**parts, "decode_sequences": 1, "decode_context_tokens": 8000}
    assert profile.step_s(**one) == pytest.approx(0.011, rel=0.05)
    subject = Engine(profile)
    subject.submit(EngineRequest("a", 8192, 2), 0.0)
    assert subject.step(0.0).duration_s == pytest.approx(profile.step_s(**full))
    assert subject.step(0.0).duration_s == pytest.approx(
        profile.step_s(**{**one, "decode_context_tokens": 8192})
    )
