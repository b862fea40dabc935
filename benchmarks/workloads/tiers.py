"""Easy and hard prompts in real words, for balancers that choose a model by difficulty. Sources and licences: data/README.md.

Easy are questions of GSM8K that every model of an evaluation got right, hard those of MATH that hardly any did.
"""

from dataclasses import replace
from functools import cache
from importlib.resources import files
from random import Random

import msgspec

from balancer.core.request.tokens import estimate_tokens
from benchmarks.workloads.recorded.lines import lines, unpack
from benchmarks.workloads.traffic import EMPTY, Session, Writer, ask_once, lognormal, poisson

_FILE = "tiers.jsonl.gz"
_OUTPUT_TOKENS = {"easy": 180, "hard": 700}
"""Mean length of an answer."""


class Prompt(msgspec.Struct, frozen=True):
    label: str
    prompt: str


@cache
def prompts() -> tuple[Prompt, ...]:
    text = unpack(_FILE, files("benchmarks.workloads").joinpath("data", _FILE).read_bytes())
    return tuple(line.decode(Prompt) for line in lines(_FILE, text))


def tiers(rng: Random, rate: float, duration_s: float) -> list[Session]:
    writer = Writer()
    texts = [(each, writer.append(EMPTY, estimate_tokens(len(each.prompt.encode())))) for each in prompts()]
    sessions = []
    for number, arrival in enumerate(poisson(rng, rate, duration_s)):
        prompt, text = rng.choice(texts)
        output_tokens = lognormal(rng, _OUTPUT_TOKENS[prompt.label], 0.6, 16, 2_000)
        session = ask_once(arrival, f"user {number}", text, output_tokens, label=prompt.label)
        sessions.append(replace(session, text=prompt.prompt))
    return sessions
