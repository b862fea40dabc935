"""What is measured: the balancer, its peers, and no balancer at all. An arm is a name and the command that starts it.

Peers run with their own defaults but for what keeps the measure fair: one worker process, no access log,
connections to the backends kept alive, no buffering of answers, room for 2,000 streams.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import free_ports

VLLM_ROUTER = "vllm-router==0.1.17"
_INSTALL_WITHIN_S = 600


class UnavailableError(Exception):
    """A peer that this machine does not have; the message says why."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where peers are found: `vllm_router` names a program, else it is installed below `peer_dir`."""

    peer_dir: Path
    vllm_router: Path | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an arm listens, whom it serves, and a folder for its files."""

    port: int
    upstreams: Sequence[str]
    folder: Path


@dataclass(frozen=True, slots=True)
class Program:
    """An arm that can be started here."""

    command: Callable[[Place], list[str]]
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """`find` raises UnavailableError; None is the direct way, with nothing to start."""

    name: str
    find: Callable[[Tools], Program] | None
    many_streams: bool = False

    @property
    def ours(self) -> bool:
        return self.name.startswith("balancer/")


def _balancer(policy: str) -> Callable[[Tools], Program]:
    def command(place: Place) -> list[str]:
        serve = [sys.executable, "-m", "balancer", "serve", "--host", "127.0.0.1", "--port", str(place.port)]
        return [*serve, "--policy", policy, "--worker-urls", *place.upstreams]

    return lambda _: Program(command)


def _vllm_router(policy: str) -> Callable[[Tools], Program]:
    def find(tools: Tools) -> Program:
        program = tools.vllm_router or _installed(tools.peer_dir)

        def command(place: Place) -> list[str]:
            (metrics_port,) = free_ports(1)
            serve = [str(program), "--host", "127.0.0.1", "--port", str(place.port), "--policy", policy]
            quiet = ["--log-level", "warning", "--prometheus-port", str(metrics_port)]
            return [*serve, *quiet, "--worker-urls", *place.upstreams]

        return Program(command, _pip_version(program.parent / "python", "vllm-router"))

    return find


def _aiohttp(_: Tools) -> Program:
    module = "benchmarks.overhead.aiohttp_proxy"
    return Program(lambda place: [sys.executable, "-m", module, str(place.port), *place.upstreams])


def _nginx(_: Tools) -> Program:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise UnavailableError("no nginx on this machine")

    def command(place: Place) -> list[str]:
        config = place.folder / "nginx.conf"
        config.write_text(nginx_config(place), encoding="utf-8")
        return [program, "-p", str(place.folder), "-e", "stderr", "-c", str(config)]

    told = subprocess.run((program, "-v"), capture_output=True, text=True, check=False).stderr
    found = re.search(r"nginx/(\S+)", told)
    return Program(command, found[1] if found else None)


def nginx_config(place: Place) -> str:
    servers = "".join(f"    server {url.removeprefix('http://')};\n" for url in place.upstreams)
    folder = place.folder
    user = "user root;\n" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"  {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""daemon off;
{user}worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
events {{ worker_connections 16384; }}
http {{
  access_log off;
{temporary}  keepalive_requests 1000000000;
  client_max_body_size 64m;
  client_body_buffer_size 1m;
  upstream replicas {{
{servers}    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{place.port} backlog=4096;
    location / {{
      proxy_pass http://replicas;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}
}}
"""


def _installed(peer_dir: Path) -> Path:
    """vllm-router in an environment of its own, as its dependencies are not ours."""
    home = peer_dir / "vllm-router"
    program = home / "bin" / "vllm-router"
    python = home / "bin" / "python"
    if program.exists() and _pip_version(python, "vllm-router") == VLLM_ROUTER.partition("==")[2]:
        return program
    steps = (
        (sys.executable, "-m", "venv", "--clear", str(home)),
        (str(python), "-m", "pip", "install", "--quiet", VLLM_ROUTER),
    )
    for step in steps:
        try:
            subprocess.run(step, capture_output=True, text=True, check=True, timeout=_INSTALL_WITHIN_S)
        except subprocess.CalledProcessError as error:
            last = (error.stderr or error.stdout or "").strip().splitlines()[-1:]
            raise UnavailableError(f"{VLLM_ROUTER} cannot be installed: {' '.join(last)}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnavailableError(f"{VLLM_ROUTER} cannot be installed: {error}") from error
    return program


def _pip_version(python: Path, package: str) -> str | None:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    try:
        told = subprocess.run(
            (str(python), "-c", code), capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()


ARMS = (
    Arm("direct", None),
    Arm("balancer/round_robin", _balancer("round_robin")),
    Arm("balancer/cache_aware", _balancer("cache_aware"), many_streams=True),
    Arm("nginx", _nginx, many_streams=True),
    Arm("vllm-router/round_robin", _vllm_router("round_robin")),
    Arm("vllm-router/cache_aware", _vllm_router("cache_aware"), many_streams=True),
    Arm("aiohttp", _aiohttp),
)


def chosen(names: Sequence[str]) -> list[Arm]:
    """Arms by name, or by what stands before the slash; all where none is named."""
    if not names:
        return list(ARMS)
    known = {arm.name for arm in ARMS} | {arm.name.partition("/")[0] for arm in ARMS}
    for name in names:
        if name not in known:
            raise ValueError(f"--arms: expected some of {', '.join(arm.name for arm in ARMS)}; got {name!r}")
    return [arm for arm in ARMS if arm.name in names or arm.name.partition("/")[0] in names]
