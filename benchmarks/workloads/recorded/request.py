"""A whole request that was recorded, or made of a recorded question."""

from dataclasses import dataclass

from benchmarks.workloads.script import CHAT_PATH, Ask, bounds


@dataclass(frozen=True, slots=True)
class Request:
    """`name` is who sent it; `time_s`, by any clock, when it was sent, None where that was not recorded."""

    ask: Ask
    name: str
    time_s: float | None = None


def question(text: str, output_tokens: int, *, ignore_eos: bool) -> Ask:
    body = {"messages": [{"role": "user", "content": text}], **bounds(output_tokens, ignore_eos=ignore_eos)}
    return Ask(CHAT_PATH, body, output_tokens=output_tokens)
