"""Three real vLLM replicas and one balancer in front of them, for the whole session."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from tests.real_vllm.wire import MODEL, ask, until

ROOT = Path(__file__).parents[2]
FARM = Path(__file__).parent / "farm"
HOME = Path(os.environ.get("REAL_VLLM_HOME", ROOT / ".real-vllm"))
VLLM_PYTHON = Path(os.environ.get("REAL_VLLM_VENV", HOME / "venv")) / "bin/python"
REPLICAS = 3
STOP_S = 30
FLAGS = [
    *("--block-size", "32"),
    *("--max-model-len", "8192"),
    *("--max-num-seqs", "16"),
    *("--kv-cache-memory-bytes", "64M"),
    "--enable-prompt-tokens-details",
]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


@contextmanager
def running(command: list[str], **options) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    if not VLLM_PYTHON.exists():
        pytest.fail(f"no vLLM at {VLLM_PYTHON}: run scripts/real-vllm install")
    return VLLM_PYTHON


@pytest.fixture(scope="session")
def model(vllm_python, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    subprocess.run([vllm_python, FARM / "model.py", "--out", path], check=True)
    return path


@pytest.fixture(scope="session")
def farm(vllm_python, model, tmp_path_factory) -> Callable[..., AbstractContextManager[dict[str, int]]]:
    """Start some replicas; gives the process id of each API server by its URL, also when it was started again."""

    @contextmanager
    def start(count: int, *flags: str) -> Iterator[dict[str, int]]:
        logs = tmp_path_factory.mktemp("vllm")
        ports = ",".join(map(str, free_ports(count)))
        command = [str(vllm_python), str(FARM / "launcher.py"), "--model", str(model), "--name", MODEL]
        command += ["--ports", ports, "--log-dir", str(logs), *FLAGS, *flags]
        with (
            (logs / "launcher.log").open("w") as errors,
            running(command, stdout=subprocess.PIPE, stderr=errors) as launcher,
        ):
            output = launcher.stdout
            assert output is not None
            ready: dict[str, int] = {}

            def take(line: str) -> None:
                _, port, pid = line.split()
                ready[f"http://127.0.0.1:{port}"] = int(pid)

            while len(ready) < count:
                line = output.readline()
                if not line.startswith("READY"):
                    pytest.fail(f"vLLM did not start: {line.strip() or 'the launcher ended'}; logs in {logs}")
                take(line)
            later = Thread(target=lambda: [take(line) for line in output if line.startswith("READY")])
            later.start()
            try:
                yield ready
            finally:
                launcher.terminate()
                later.join()

    return start


@pytest.fixture(scope="session")
def balance(tmp_path_factory) -> Callable[..., AbstractContextManager[str]]:
    """Start a balancer in front of replicas; gives its URL."""

    @contextmanager
    def start(urls: list[str], *flags: str) -> Iterator[str]:
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        path = tmp_path_factory.mktemp("balancer") / "balancer.log"
        command = [sys.executable, "-m", "balancer", "serve", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--worker-urls", *urls, *flags]
        with path.open("w") as log, running(command, stdout=log, stderr=log, cwd=ROOT) as process:

            def serves() -> bool:
                if process.poll() is not None:
                    pytest.fail(f"the balancer ended with {process.returncode}:\n{path.read_text()[-3000:]}")
                try:
                    answer = ask(url, "/v1/models")
                except OSError:
                    return False
                return answer.status == 200 and MODEL in answer.body.decode()

            assert until(serves, within_s=30), path.read_text()[-3000:]
            yield url

    return start


@pytest.fixture(scope="session")
def replicas(farm) -> Iterator[list[str]]:
    with farm(REPLICAS) as ready:
        yield list(ready)


@pytest.fixture(scope="session")
def replica(replicas) -> str:
    """One of them, to be asked without a balancer."""
    return replicas[0]


@pytest.fixture(scope="session")
def balancer(replicas, balance) -> Iterator[str]:
    with balance(replicas) as url:
        yield url
