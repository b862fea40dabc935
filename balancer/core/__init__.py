"""The decision core: pure, synchronous, deterministic.

Nothing here awaits, reads a clock, rolls dice, logs or touches a socket: `now` (seconds, any monotonic
origin) and `rng` are arguments. The same calls in the same order give the same decisions.
"""
