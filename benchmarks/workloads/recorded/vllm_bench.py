"""What `vllm bench serve` reads: its custom dataset, a JSON object a line, and ShareGPT's JSON. Every prompt is a chat of one
message. As there, of a ShareGPT conversation the first question is asked and the first answer says how long the
answer has to be, and conversations of one turn are left out.
"""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from balancer.core.request.tokens import estimate_tokens
from benchmarks.workloads.recorded.lines import Line
from benchmarks.workloads.recorded.request import Request, question

OUTPUT_TOKENS = 256
"""Where a prompt does not say, as `--custom-output-len`."""


class _Custom(msgspec.Struct):
    prompt: str
    output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _Said(msgspec.Struct):
    value: str


class _Conversation(msgspec.Struct):
    conversations: list[_Said]


def custom(lines: Iterable[Line], *, ignore_eos: bool) -> list[Request]:
    requests = []
    for line in lines:
        told = line.decode(_Custom)
        ask = question(told.prompt, told.output_tokens or OUTPUT_TOKENS, ignore_eos=ignore_eos)
        requests.append(Request(ask, f"request {line.number}"))
    return requests


def share_gpt(name: str, text: str, *, ignore_eos: bool) -> list[Request]:
    try:
        told = msgspec.json.decode(text, type=list[_Conversation])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"{name}: expected ShareGPT's conversations: {error}") from None
    requests = []
    for number, each in enumerate(told, 1):
        if len(each.conversations) >= 2:
            asked, answer = (said.value for said in each.conversations[:2])
            output_tokens = max(1, estimate_tokens(len(answer.encode())))
            ask = question(asked, output_tokens, ignore_eos=ignore_eos)
            requests.append(Request(ask, f"conversation {number}"))
    return requests
