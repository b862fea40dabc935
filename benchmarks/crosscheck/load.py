"""The load that every generator sends: prompts, when each leaves, and how long the answers are. Pure.

Times are those that `vllm bench serve --seed` draws for itself, which takes no others: gaps of NumPy's global generator,
stretched so that all requests leave within requests / rate. The other generators replay them.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Self

import numpy as np

from balancer.embedded.words import WORDS


@dataclass(frozen=True, slots=True)
class Load:
    prompts: tuple[str, ...]
    due_s: tuple[float, ...]
    rate: float
    output_tokens: int
    seed: int

    def of_run(self, number: int) -> Self:
        """The same load, whose prompts no earlier run's prefix cache holds."""
        return replace(self, prompts=tuple(f"Run {number}. {prompt}" for prompt in self.prompts))

    def bodies(self, model: str) -> list[dict[str, Any]]:
        """Chat requests, answered greedily and to the last token asked for."""
        return [
            {
                "model": model,
                "messages": [{"role": "user", "content": prompt}],
                "max_completion_tokens": self.output_tokens,
                "ignore_eos": True,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            for prompt in self.prompts
        ]


def drawn(*, requests: int, rate: float, prompt_words: int, output_tokens: int, seed: int) -> Load:
    """Prompts of half to one and a half times `prompt_words`, all different from the first word on."""
    rng = Random(seed)
    lengths = [rng.randint(prompt_words // 2, prompt_words * 3 // 2) for _ in range(requests)]
    prompts = (f"{number} {' '.join(rng.choices(WORDS, k=length))}" for number, length in enumerate(lengths))
    gaps = np.random.RandomState(seed).gamma(shape=1.0, scale=1 / rate, size=requests)
    times = list(itertools.accumulate(gaps))
    stretch = requests / rate / times[-1]
    return Load(tuple(prompts), tuple(float(time) * stretch for time in times), rate, output_tokens, seed)


def lateness_s(due_s: Sequence[float], sent_s: Sequence[float]) -> list[float]:
    """How much later than planned each request left, the most punctual one taken as on time: clocks differ."""
    late = [sent - due for due, sent in zip(due_s, sorted(sent_s), strict=True)]
    return [each - min(late) for each in late]
