"""Prompts, and how well a weaker and a stronger model answered each: public benchmarks, read from a directory.

A *source* is one benchmark with its own pair of models, a *family* the sources that share questions. Labels of training are
means over several small and several large models where a source has them; labels of tests are always one real pair.
"""

import csv
import gzip
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray


class File(NamedTuple):
    """`trains`: whether its licence lets weights that are shipped be trained on it."""

    sha256: str
    licence: str
    origin: str
    trains: bool = True


FILES: Final = {
    "routellm_eval.csv.gz": File(
        "82054f8ed4806b90111daffe2f87b6794c9885b705dc6ca030a91a4f5dd6f70f",
        "Apache-2.0; MMLU and GSM8K MIT, MT-Bench Apache-2.0",
        "lm-sys/RouteLLM @ 0b64fdafe049",
    ),
    "llmrouter_9models.csv.gz": File(
        "08f07081cbcbd8d1428ff256c6cc44b46c155f9a418b068e49f98ba985b152af",
        "MIT; its questions are natural_qa, trivia_qa, gsm8k, mbpp, mmlu, math, openbook_qa, arc_challenge, "
        "commonsense_qa, mgsm, human_eval, logicgrid and commongen, some CC BY or CC BY-SA",
        "ulab-uiuc/LLMRouter @ 4e7a796942ce, without its rows of GPQA",
    ),
    "mmlupro_9models.csv.gz": File(
        "8bbe04b667ddcd4892db01eb0e7a2c7a568960361a37b69aac6f711229af5ed8",
        "Apache-2.0; questions MIT",
        "TIGER-AI-Lab/MMLU-Pro @ f418b116db00",
    ),
    "zeroeval.csv.gz": File(
        "23e64f6ac805b28b7c697dcf1fb7203ade7fadbf6eb80871e01fc9e7427519a1",
        "Apache-2.0",
        "WildEval/ZeroEval @ 8c1485edf12c",
    ),
    "routerarena_2models.csv.gz": File(
        "d42123868e44325c4b6036e810b8f765591acbd019639acb3587acd2fbc8ca76",
        "Apache-2.0",
        "RouteWorks/RouterArena @ 4714a9ad73e8",
    ),
    "alpacaeval_prefs.csv.gz": File(
        "d472b189bb336bb1ba1bfdb6aa53237d6dfa2e4740591dcc59b97a1b976906e5",
        "CC BY-NC 4.0: tests only",
        "tatsu-lab/alpaca_eval @ cd543a149df8",
        trains=False,
    ),
}
TESTED_ONLY: Final = "alpacaeval"
FAMILY: Final = {
    "routellm-mmlu": "mmlu",
    "mmlupro": "mmlu",
    "routellm-gsm8k": "gsm",
    "zeroeval-gsm": "gsm",
}


class _Pair(NamedTuple):
    """Columns: the pair of the tests, and whose means are the labels of training."""

    weak: str
    strong: str
    weaker: tuple[str, ...] = ()
    stronger: tuple[str, ...] = ()
    out_of: float = 1.0


_MMLU_PRO = _Pair(
    "Meta-Llama-3_1-8B-Instruct",
    "Meta-Llama-3_1-70B-Instruct",
    ("Meta-Llama-3_1-8B-Instruct", "Mistral-7B-Instruct-v0.2", "Phi-3-mini-4k-instruct", "Qwen1.5-7B-Chat"),
    ("Meta-Llama-3_1-70B-Instruct", "Qwen1.5-72B-Chat", "gemini-1.5-pro-002"),
)
_LLMROUTER = _Pair(
    "mistral-7b-instruct-v0.3",
    "llama-3.1-nemotron-51b-instruct",
    ("mistral-7b-instruct-v0.3", "gemma-2-9b-it", "llama-3.1-8b-instruct"),
    ("llama-3.1-nemotron-51b-instruct", "llama-3.3-nemotron-super-49b-v1"),
)
_ZEROEVAL = _Pair(
    "Meta-Llama-3.1-8B-Instruct",
    "Meta-Llama-3.1-70B-Instruct",
    ("gemma-2-2b-it", "Qwen2-7B-Instruct", "Meta-Llama-3.1-8B-Instruct", "gemma-2-9b-it"),
    ("Meta-Llama-3.1-70B-Instruct", "Qwen2-72B-Instruct"),
)
_ALPACA = _Pair(
    "FuseChat-Llama-3.2-1B-Instruct",
    "FuseChat-Llama-3.1-8B-Instruct",
    ("FuseChat-Llama-3.2-1B-Instruct",),
    (
        "FuseChat-Llama-3.1-8B-Instruct",
        "FuseChat-Gemma-2-9B-Instruct",
        "FuseChat-Qwen-2.5-7B-Instruct",
    ),
)
_ROUTELLM = _Pair("mixtral_8x7b", "gpt4_1106")
_PAIRS: Final = {
    "routellm-mmlu": _ROUTELLM,
    "routellm-gsm8k": _ROUTELLM,
    "routellm-mtbench": _ROUTELLM._replace(out_of=10.0),
    "llmrouter": _LLMROUTER,
    "mmlupro": _MMLU_PRO,
    "zeroeval-gsm": _ZEROEVAL,
    "zeroeval-math-l5": _ZEROEVAL,
    "zeroeval-crux": _ZEROEVAL,
    "routerarena": _Pair("claude-3-haiku-20240307", "gemini-2.0-flash-001"),
    "alpacaeval": _ALPACA,
}


@dataclass(frozen=True, slots=True)
class Data:
    """One row a prompt. Qualities are in [0, 1]; `weaker` and `stronger` are labels of training, `keys` tell one question
    from another whatever was put around it.
    """

    prompts: tuple[str, ...]
    sources: NDArray[np.str_]
    tasks: NDArray[np.str_]
    keys: NDArray[np.str_]
    weak: NDArray[np.float64]
    strong: NDArray[np.float64]
    weaker: NDArray[np.float64]
    stronger: NDArray[np.float64]

    @property
    def families(self) -> NDArray[np.str_]:
        return np.array([FAMILY.get(str(source), str(source)) for source in self.sources])

    def of(self, source: str) -> NDArray[np.int64]:
        return np.flatnonzero(self.sources == source)

    def without(self, families: Sequence[str], rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Rows to train on: of no such family, none with a question of theirs (or of `rows`), and none for tests only."""
        tested = np.isin(self.families, [*families, TESTED_ONLY])
        met = np.isin(self.families, list(families))
        if rows is not None:
            met[rows] = True
        left = np.flatnonzero(~tested)
        return left[~np.isin(self.keys[left], self.keys[met])]


def load(directory: Path, *, check: bool = True) -> Data:
    """All files of FILES that are there; `check`: they must be byte for byte those that the figures were measured on."""
    rows = [
        row for name in FILES if (directory / name).exists() for row in _rows(directory / name, check=check)
    ]
    if not rows:
        raise ValueError(f"{directory}: expected some of {', '.join(FILES)}")
    prompts, sources, tasks, *qualities = zip(*rows, strict=True)
    numbers = [np.array(column, np.float64) for column in qualities]
    return Data(
        prompts,
        np.array(sources),
        np.array(tasks),
        np.array([_key(prompt) for prompt in prompts]),
        *numbers,
    )


def _key(prompt: str) -> str:
    """The first 90 letters and digits of a question; of a function, what comes after the words that all of them share."""
    letters = re.sub(r"[^a-z0-9]", "", prompt.lower().split("question: ")[-1])
    return letters[200:420] if letters.startswith("youaregivenapython") else letters[:90]


def _rows(path: Path, *, check: bool) -> Iterator[tuple[str, str, str, float, float, float, float]]:
    packed = path.read_bytes()
    if check and hashlib.sha256(packed).hexdigest() != FILES[path.name].sha256:
        raise ValueError(
            f"{path}: not the file that the figures were measured on; expected sha256 {FILES[path.name].sha256}"
        )
    for row in csv.DictReader(gzip.decompress(packed).decode().splitlines(keepends=True)):
        if row.get("contaminated") == "1":
            continue
        source = row["source"] if row["source"] in _PAIRS else f"{row['source']}-{row['task']}"
        pair = _PAIRS[source]
        weak, strong = _mean(row, (pair.weak,)), _mean(row, (pair.strong,))
        weaker = _mean(row, pair.weaker or (pair.weak,))
        stronger = _mean(row, pair.stronger or (pair.strong,))
        if None not in {weak, strong, weaker, stronger}:
            yield (
                row["prompt"],
                source,
                row["task"],
                *(value / pair.out_of for value in (weak, strong, weaker, stronger)),
            )


def _mean(row: dict[str, str], columns: Sequence[str]) -> float | None:
    """Of the models that were asked."""
    values = [float(value) for column in columns if (value := row.get(column))]
    return sum(values) / len(values) if values else None
