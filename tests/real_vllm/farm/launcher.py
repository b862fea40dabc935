"""Start real vLLM servers on loopback from one preloaded interpreter. Runs in vLLM's environment, not in ours.

A plain start on a CPU imports torch and vLLM three times a replica (API server, engine core, worker). Here they
are imported once, and every replica and its engine core are forks of the warm process, which also share its memory.

    python launcher.py --model DIR --ports 18001,18002 --log-dir DIR [vLLM flags]

Prints `READY port pid` for each replica as it answers /health, each time that it is started, or `DIED port pid`. SIGTERM or
SIGINT stops all.
"""

import argparse
import gc
import os
import runpy
import signal
import socket
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # allows the in-process executor: one process less a replica
    "VLLM_WORKER_MULTIPROC_METHOD": "fork",
    "VLLM_ENABLE_RESPONSES_API_STORE": "1",
}
FLAGS = [
    "--dtype",
    "float32",
    "--enforce-eager",
    "--distributed-executor-backend",
    "uni",
    "--enable-prefix-caching",
]
POLL_S = 0.1
stopping: list[bool] = []


def preload() -> None:
    import vllm.entrypoints.launchers.api_server.entry
    import vllm.model_executor.models.llama
    import vllm.v1.engine.async_llm
    import vllm.v1.engine.core
    import vllm.v1.executor.uniproc_executor
    import vllm.v1.worker.cpu_worker  # noqa: F401
    from vllm.platforms.cpu import CpuPlatform

    check = CpuPlatform.check_and_update_config.__func__

    def check_and_keep_fork(cls, config):  # the CPU platform insists on "spawn"
        check(cls, config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    CpuPlatform.check_and_update_config = classmethod(check_and_keep_fork)
    gc.collect()
    gc.freeze()  # the collector would write to, and so copy, the pages shared with the forks


def drop_listener(port: int) -> None:
    """Close the API server's listening socket in its engine core: a port must close when its server dies."""
    null = os.open(os.devnull, os.O_RDWR)
    for path in Path("/proc/self/fd").iterdir():
        fd = int(path.name)
        try:
            copy = socket.socket(fileno=os.dup(fd))
        except OSError:  # no socket, or the descriptor of the listing itself
            continue
        with copy:
            internet = copy.family in (socket.AF_INET, socket.AF_INET6)
            if internet and copy.getsockname()[1] == port:
                os.dup2(null, fd)
    os.close(null)


def serve(port: int, argv: list[str], log: Path) -> None:
    """Become the API server of one replica. Never returns."""
    os.setsid()
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.register_at_fork(after_in_child=lambda: drop_listener(port))
    sys.argv = ["vllm-serve", *argv]
    status = 1
    try:
        runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(status)


def start(port: int, argv: list[str], log: Path) -> int:
    pid = os.fork()
    if pid == 0:
        serve(port, argv, log)
    return pid


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
            return True
    except OSError:
        return False


def stop(pids: list[int]) -> None:
    stopping.append(True)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def supervise(ports: dict[int, int], again: Callable[[int], int] | None) -> None:
    """Tell who is ready and who died early; end what is left of a dead server's process group, since its engine core outlives
    it; start it `again`, if that is wanted, until all are told to stop.
    """
    waiting = dict(ports)
    while ports:
        for pid, port in list(waiting.items()):
            if answers(port):
                print(f"READY {port} {pid}", flush=True)
                del waiting[pid]
        dead, _ = os.waitpid(-1, os.WNOHANG)
        if dead in ports:
            port = ports.pop(dead)
            with suppress(ProcessLookupError):
                os.killpg(dead, signal.SIGKILL)
            if waiting.pop(dead, None) is not None:
                print(f"DIED {port} {dead}", flush=True)
            elif again is not None and not stopping:
                pid = again(port)
                ports[pid] = waiting[pid] = port
        time.sleep(POLL_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", default="tiny", help="the served model name")
    parser.add_argument("--ports", required=True, help="comma-separated")
    parser.add_argument("--log-dir", required=True, type=Path)
    parser.add_argument("--restart", action="store_true", help="start a server that dies again, on its port")
    options, flags = parser.parse_known_args()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    options.log_dir.mkdir(parents=True, exist_ok=True)
    preload()

    def begin(port: int) -> int:
        argv = ["--host", "127.0.0.1", "--port", str(port), "--model", options.model]
        argv += ["--served-model-name", options.name, *FLAGS, *flags]
        return start(port, argv, options.log_dir / f"vllm-{port}.log")

    ports = {begin(port): port for port in map(int, options.ports.split(","))}
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop(list(ports)))
    supervise(ports, begin if options.restart else None)


if __name__ == "__main__":
    main()
