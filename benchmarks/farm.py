"""Real vLLM on this machine's CPU, started by the source tree's launcher in the environment of scripts/real-vllm."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import Child, NotServingError, wait_until

MODEL = "tiny"
READY_WITHIN_S = 300.0

_ROOT = Path(__file__).resolve().parents[1]
_FARM = _ROOT / "tests" / "real_vllm" / "farm"
_HOME = Path(os.environ.get("REAL_VLLM_HOME", _ROOT / ".real-vllm"))
VENV = Path(os.environ.get("REAL_VLLM_VENV", _HOME / "venv"))

_READY = re.compile(r"^READY (\d+) (\d+)", re.MULTILINE)


def interpreter(venv: Path, option: str) -> Path:
    """vLLM's Python. Raises: ValueError, if there is none."""
    found = venv / "bin" / "python"
    if not found.exists() or not _FARM.exists():
        raise ValueError(
            f"{option}: expected a vLLM in {venv} beside a source tree; scripts/real-vllm install makes one"
        )
    return found


def make_model(python: Path, path: Path, preset: str = "small") -> Path:
    command = (python, _FARM / "model.py", "--out", path, "--preset", preset)
    made = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if made.returncode:
        why = made.stderr.strip().rpartition("\n")[2]
        raise NotServingError(f"no model {preset!r}: {why or f'exit code {made.returncode}'}")
    return path


def launcher(
    python: Path, model: Path, ports: Sequence[int], folder: Path, flags: Sequence[str]
) -> list[str]:
    """The command of one launcher with a replica on each port. Dev mode is on, for /reset_prefix_cache."""
    served = ["--model", str(model), "--name", MODEL, "--ports", ",".join(map(str, ports))]
    command = ["env", "VLLM_SERVER_DEV_MODE=1", str(python), str(_FARM / "launcher.py"), *served]
    return [*command, "--log-dir", str(folder), *flags]


def wait_ready(child: Child, log: Path, count: int) -> dict[int, int]:
    """The process ids of the API servers, by port, once as many are ready."""
    ready: dict[int, int] = {}

    def are_ready() -> bool:
        ready.update((int(port), int(pid)) for port, pid in _READY.findall(log.read_text(encoding="utf-8")))
        return len(ready) >= count

    wait_until(child, are_ready, "was ready", READY_WITHIN_S, every_s=0.2)
    return ready
