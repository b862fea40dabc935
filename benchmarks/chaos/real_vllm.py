"""Real vLLM in place of embedded replicas, for the faults that need nothing but signals and restarts.

The truth is what one undisturbed replica said to each prompt, greedily, before the run. Streams go on by token ids
(`--resume exact`): the model's weights are random, so that its text does not tokenize back the way it was generated.
"""

import asyncio
import contextlib
import http.client
import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from balancer.embedded.words import WORDS
from benchmarks import farm
from benchmarks.chaos.lab import Replica
from benchmarks.chaos.replica import HOST, Trouble
from benchmarks.chaos.traffic import CHAT, COMPLETIONS, Ask
from benchmarks.chaos.verdict import Truth
from benchmarks.processes import Child, NotServingError, all_cores, started

FLAGS = ("--resume", "exact")

_VLLM_FLAGS = (
    *("--block-size", "32"),
    *("--max-model-len", "2048"),
    *("--max-num-seqs", "16"),
    *("--kv-cache-memory-bytes", "64M"),
    "--enable-prompt-tokens-details",
)
_PROMPTS = 40
_OUTPUT_TOKENS = 400  # a second or two, so that a fault meets some
_LEAVES = 0.2


def python() -> Path:
    """vLLM's interpreter. Raises: ValueError, if there is none."""
    return farm.interpreter(farm.VENV, "--real-vllm")


class VllmReplica(Replica):
    """One launcher, and the API server that it starts."""

    def __init__(self, folder: Path, model: Path, port: int) -> None:
        self.port = port
        self._folder = folder
        self._model = model
        self._child: Child | None = None
        self._server = 0
        self._stack = ExitStack()
        self._starts = 0

    async def start(self) -> None:
        await asyncio.to_thread(self._start)

    async def order(self, trouble: Trouble) -> None:
        raise NotServingError(f"vLLM does not take the order {trouble}")

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server, number)  # the API server leads a group, its engine core is in it

    async def ended(self) -> None:
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        if self._server:
            self.send(signal.SIGCONT)
        self._server, self._child = 0, None
        self._stack.close()

    def _start(self) -> None:
        self._starts += 1
        log = self._folder / f"vllm-{self.port}-{self._starts}.log"
        command = farm.launcher(python(), self._model, [self.port], self._folder, _VLLM_FLAGS)
        cores = all_cores()
        self._child = self._stack.enter_context(started(command, cores=cores, log=log))
        self._server = farm.wait_ready(self._child, log, 1)[self.port]


class RecordedTraffic:
    """Streams and whole answers to prompts whose answers are on record."""

    def __init__(self, seed: int, port: int) -> None:
        self._rng = Random(seed)
        self._known = [self._record(port) for _ in range(_PROMPTS)]

    def asks(self) -> Iterator[Ask]:
        rng = self._rng
        while True:
            path, body, truth = rng.choice(self._known)
            stream = rng.random() < 0.8
            leaves = stream and rng.random() < _LEAVES
            kind = "chat" if path == CHAT else "text"
            yield Ask(
                path,
                json.dumps(body | {"stream": True} if stream else body, separators=(",", ":")).encode(),
                truth,
                stream,
                kind if stream else f"{kind}, whole",
                leaves_after_events=rng.randint(1, _OUTPUT_TOKENS // 4) if leaves else None,
            )

    def _record(self, port: int) -> tuple[str, dict[str, Any], Truth]:
        rng = self._rng
        text = " ".join(rng.choices(WORDS, k=rng.randint(5, 40)))
        chat = rng.random() < 0.5
        what = {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
        body = {
            "model": farm.MODEL,
            **what,
            "max_tokens": _OUTPUT_TOKENS,
            "temperature": 0,
            "ignore_eos": True,
        }
        path = CHAT if chat else COMPLETIONS
        answer = _post(port, path, body)
        (choice,), usage = answer["choices"], answer["usage"]
        said = choice["message"]["content"] if chat else choice["text"]
        counts = usage["prompt_tokens"], usage["completion_tokens"]
        return path, body, Truth(said, choice["finish_reason"], *counts)


def replicas(folder: Path, ports: Sequence[int]) -> list[VllmReplica]:
    model = farm.make_model(python(), folder / "model")
    return [VllmReplica(folder, model, port) for port in ports]


def _post(port: int, path: str, body: object) -> Any:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise NotServingError(f"vLLM answers {answer.status}: {text[:200]!r}")
        return json.loads(text)
    finally:
        connection.close()
