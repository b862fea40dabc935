"""The same traffic in small: every token stands for several, so that a slow target meets what a fast one would."""

from dataclasses import replace

from benchmarks.workloads.traffic import Session, Traffic, Turn


def scaled(traffic: Traffic, scale: int) -> Traffic:
    """Lengths divided by `scale`; arrivals, turns and what is shared stay."""
    if scale < 1:
        raise ValueError(f"--scale: expected 1 or more, got {scale}")
    if scale == 1:
        return traffic
    return replace(
        traffic,
        sessions=[_session(session, scale) for session in traffic.sessions],
        then=None if traffic.then is None else scaled(traffic.then, scale),
    )


def _session(session: Session, scale: int) -> Session:
    """Every turn keeps at least one token of its own, and one of the answer."""
    turns: list[Turn] = []
    said_tokens = 0
    for turn in session.turns:
        prompt_tokens = max(turn.prompt_tokens // scale, said_tokens + 1)
        output_tokens = max(1, turn.output_tokens // scale)
        said_tokens = prompt_tokens + output_tokens
        background = tuple(_session(child, scale) for child in turn.background)
        turns.append(Turn(prompt_tokens, output_tokens, turn.think_s, background))
    return replace(session, keys=session.keys[scale - 1 :: scale], turns=tuple(turns))
