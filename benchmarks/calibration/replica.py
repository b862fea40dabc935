"""Starts the replica that is measured, from the vLLM that scripts/real-vllm installs. Needs the source tree."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import farm
from benchmarks.processes import all_cores, free_ports, started

_FLAGS = (
    *("--block-size", "32"),
    *("--max-model-len", "4096"),
    *("--kv-cache-memory-bytes", "40M"),  # 10,240 tokens of the small model: soon overcommitted
    "--enable-prompt-tokens-details",
)


@dataclass(frozen=True, slots=True)
class Start:
    venv: Path
    preset: str
    max_num_seqs: int
    max_num_batched_tokens: int


@contextlib.contextmanager
def serving(start: Start) -> Iterator[str]:
    """A replica on the loopback while the block runs, and its URL."""
    python = farm.interpreter(start.venv, "--venv")
    with tempfile.TemporaryDirectory(prefix="bench-calibrate-") as name:
        folder = Path(name)
        model = farm.make_model(python, folder / "model", start.preset)
        (port,) = free_ports(1)
        limits = ["--max-num-seqs", str(start.max_num_seqs)]
        limits += ["--max-num-batched-tokens", str(start.max_num_batched_tokens)]
        command = farm.launcher(python, model, [port], folder, [*_FLAGS, *limits])
        log = folder / "launcher.log"
        with started(command, cores=all_cores(), log=log) as child:
            farm.wait_ready(child, log, 1)
            yield f"http://127.0.0.1:{port}"
