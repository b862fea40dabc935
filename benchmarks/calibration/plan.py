"""The points that are measured. Pure and seeded: one setting has one plan.

Those to fit on are requests on their own and small batches that arrive at once; all that mixes prefill with decode, or
fills the KV cache, is held out, and so are prompt lengths, batch sizes and contexts between the fitted ones.
"""

import random
from itertools import count

from benchmarks.calibration.modelled import Setting
from benchmarks.calibration.points import Call, Kind, Piece, Point

_DECODED_TOKENS = 48
_COLD_FIT = (64, 256, 768, 1536, 2500)
_COLD_HELD = (128, 512, 1024, 2048, 3000)
_CACHED_FIT = ((512, 0), (2048, 0), (1024, 256))
_CACHED_HELD = ((1024, 0), (3000, 0), (512, 512), (2048, 128), (2560, 384))
"""(tokens that are cached, as far as they fill blocks; fresh tokens after them)"""
_DECODE_FIT = ((1, 64), (1, 3000), (4, 256), (4, 2000), (8, 512), (16, 64))
_DECODE_HELD = ((1, 512), (2, 256), (2, 2000), (4, 64), (4, 1500), (8, 64), (8, 1000), (16, 256), (16, 512))
"""(sequences, prompt tokens of each)"""
_SHARED_TAIL_TOKENS = 16
_DECODE_SHARED = ((8, 1024), (16, 1024))
"""(sequences, prompt tokens that all of them share)"""
_CHUNKED = ((1, 2500), (4, 3000), (8, 1500))
"""(sequences that decode, prompt tokens of the one that comes in)"""
_OVERCOMMIT = (1.2, 1.6)
"""Tokens of all calls, as a multiple of what the KV cache holds."""
_MIXED_RATES = (4.0, 12.0, 24.0)
_MIXED_S = 4.0


def plan(setting: Setting) -> list[Point]:
    """What the setting has no room for is left out."""
    seeds = count(1)
    points = [
        *(_cold(tokens, seeds, held_out=False) for tokens in _COLD_FIT),
        *(_cold(tokens, seeds, held_out=True) for tokens in _COLD_HELD),
        *(_cached(prefix, tail, seeds, held_out=False) for prefix, tail in _CACHED_FIT),
        *(_cached(prefix, tail, seeds, held_out=True) for prefix, tail in _CACHED_HELD),
        *(_decode(batch, tokens, seeds, held_out=False) for batch, tokens in _DECODE_FIT),
        *(_decode(batch, tokens, seeds, held_out=True) for batch, tokens in _DECODE_HELD),
        *(_decode_shared(batch, tokens, seeds) for batch, tokens in _DECODE_SHARED),
        *(_chunked(batch, tokens, seeds) for batch, tokens in _CHUNKED),
        *(_preempted(times, setting, seeds) for times in _OVERCOMMIT),
        *(_mixed(rate, seeds) for rate in _MIXED_RATES),
    ]
    return [point for point in points if _fits(point, setting)]


def _fits(point: Point, setting: Setting) -> bool:
    longest = max(call.prompt_tokens + call.output_tokens for call in point.calls)
    pieces = {piece for call in point.calls for piece in call.pieces}
    total = sum(piece.tokens for piece in pieces) + sum(call.output_tokens for call in point.calls)
    at_once = point.kind in {Kind.DECODE, Kind.CHUNKED}
    return longest <= setting.max_model_len and (
        not at_once or (total <= setting.kv_capacity_tokens and len(point.calls) <= setting.max_num_seqs)
    )


def _fresh(seeds: "count[int]", tokens: int) -> tuple[Piece, ...]:
    return (Piece(next(seeds), tokens),)


def _cold(tokens: int, seeds: "count[int]", *, held_out: bool) -> Point:
    call = Call(0.0, _fresh(seeds, tokens), 1)
    return Point(f"{tokens:,} tokens", Kind.COLD, (call,), held_out=held_out)


def _cached(prefix: int, tail: int, seeds: "count[int]", *, held_out: bool) -> Point:
    head = _fresh(seeds, prefix)
    call = Call(0.0, (*head, *_fresh(seeds, tail)) if tail else head, 1)
    name = f"{prefix:,} again" + (f" and {tail} fresh" if tail else "")
    return Point(name, Kind.CACHED, (call,), warming=(Call(0.0, head, 1),), held_out=held_out)


def _decode(batch: int, tokens: int, seeds: "count[int]", *, held_out: bool) -> Point:
    calls = tuple(Call(0.0, _fresh(seeds, tokens), _DECODED_TOKENS) for _ in range(batch))
    return Point(f"{batch} of {tokens:,} tokens", Kind.DECODE, calls, held_out=held_out)


def _decode_shared(batch: int, tokens: int, seeds: "count[int]") -> Point:
    prefix = _fresh(seeds, tokens)
    calls = tuple(
        Call(0.0, (*prefix, *_fresh(seeds, _SHARED_TAIL_TOKENS)), _DECODED_TOKENS) for _ in range(batch)
    )
    return Point(f"{batch} sharing {tokens:,} tokens", Kind.DECODE, calls, warming=(Call(0.0, prefix, 1),))


def _chunked(batch: int, tokens: int, seeds: "count[int]") -> Point:
    others = tuple(Call(0.0, _fresh(seeds, 256), 240) for _ in range(batch))
    long = Call(0.3, _fresh(seeds, tokens), 1)
    return Point(f"{tokens:,} tokens into {batch} decoding", Kind.CHUNKED, (*others, long))


def _preempted(times: float, setting: Setting, seeds: "count[int]") -> Point:
    each = round(times * setting.kv_capacity_tokens / setting.max_num_seqs)
    calls = tuple(Call(0.0, _fresh(seeds, each - each // 3), each // 3) for _ in range(setting.max_num_seqs))
    name = f"{len(calls)} of {each:,} tokens, {times:.0%} of the KV cache"
    return Point(name, Kind.PREEMPTED, calls)


def _mixed(rate: float, seeds: "count[int]") -> Point:
    rng = random.Random(f"mixed {rate}")
    prefixes = [_fresh(seeds, tokens) for tokens in (256, 512, 768, 1024)]
    calls = []
    at_s = rng.expovariate(rate)
    while at_s < _MIXED_S:
        pieces = (*rng.choice(prefixes), *_fresh(seeds, rng.randint(32, 320)))
        calls.append(Call(round(at_s, 4), pieces, rng.randint(8, 96)))
        at_s += rng.expovariate(rate)
    return Point(f"{rate:g} requests/s", Kind.MIXED, tuple(calls))
