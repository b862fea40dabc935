"""Starts the replica that is measured, from the vLLM that scripts/real-vllm installs. Needs the source tree."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import NotServingError, free_ports, started, wait_listening

_ROOT = Path(__file__).resolve().parents[2]
_FARM = _ROOT / "tests" / "real_vllm" / "farm"
VENV = _ROOT / ".real-vllm" / "venv"
_STARTS_WITHIN_S = 300.0
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
    python = start.venv / "bin" / "python"
    if not python.exists():
        raise ValueError(f"--venv: expected a vLLM in {start.venv}; scripts/real-vllm install makes one")
    with tempfile.TemporaryDirectory(prefix="bench-calibrate-") as folder:
        model = Path(folder) / "model"
        _make_model(python, model, start.preset)
        (port,) = free_ports(1)
        command = (
            *("env", "VLLM_SERVER_DEV_MODE=1", str(python), str(_FARM / "launcher.py")),
            *("--model", str(model), "--ports", str(port), "--log-dir", folder, *_FLAGS),
            *("--max-num-seqs", str(start.max_num_seqs)),
            *("--max-num-batched-tokens", str(start.max_num_batched_tokens)),
        )
        cores = frozenset(os.sched_getaffinity(0))
        with started(command, cores=cores, log=Path(folder) / "launcher.log") as child:
            wait_listening(child, port, _STARTS_WITHIN_S)
            yield f"http://127.0.0.1:{port}"


def _make_model(python: Path, model: Path, preset: str) -> None:
    command = (str(python), str(_FARM / "model.py"), "--out", str(model), "--preset", preset)
    made = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if made.returncode:
        why = made.stderr.strip().rpartition("\n")[2]
        raise NotServingError(f"no model {preset!r}: {why or f'exit code {made.returncode}'}")
