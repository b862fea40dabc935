"""Engines that share one KV cache, and what an oracle may read of an engine."""

from balancer.embedded.engine import PROFILES, BlockPool, Engine, EngineRequest, Phase

TINY = PROFILES["tiny"]


def pair(blocks: int) -> tuple[Engine, Engine]:
    pool = BlockPool(blocks)
    return Engine(TINY, block_size=4, pool=pool), Engine(TINY, block_size=4, pool=pool)


def work(*engines: Engine) -> int:
    """Steps in turn until all are idle."""
    now, steps = 0.0, 0
    while any(engine.step(now) is not None for engine in engines):
        now += 0.01
        steps += 1
        assert steps < 1_000
    return steps


def test_what_one_engine_computed_the_other_finds():
    one, other = pair(100)
    keys = tuple(range(10))
    one.submit(EngineRequest("a", 40, 1, keys), 0.0)
    work(one)
    second = other.submit(EngineRequest("b", 40, 1, keys), 1.0)
    work(other)
    assert second.cached_tokens == 36


def test_engines_that_fill_the_shared_cache_together_all_finish_and_give_everything_back():
    one, other = pair(24)
    sequences = [
        engine.submit(EngineRequest(f"{n}", 40, 20, tuple(range(n * 100, n * 100 + 15))), 0.0)
        for n in range(6)
        for engine in (one, other)[n % 2 : n % 2 + 1]
    ]
    while any(sequence.phase is not Phase.FINISHED for sequence in sequences):
        work(one, other)
    pool = one.pool
    assert (pool.private, pool.held) == (0, 0)
    assert pool.free + pool.idle == 24


def test_what_is_left_to_prefill_is_told_while_it_waits_and_while_it_runs():
    engine = Engine(TINY, block_size=4, max_num_seqs=1, max_num_batched_tokens=16)
    first = engine.submit(EngineRequest("a", 40, 1), 0.0)
    second = engine.submit(EngineRequest("b", 8, 1), 0.0)
    assert list(engine.waiting) == [first, second]
    engine.start_step(0.0)
    assert list(engine.prefilling) == [first]
    assert list(engine.waiting) == [second]
    assert (engine.tokens_to_prefill(first), engine.tokens_to_prefill(second)) == (24, 8)
