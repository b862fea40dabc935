"""The demo of deploy/compose as processes of this machine: the same commands and files, with other addresses and no containers.

What the compose file starts from the balancer's image, and Prometheus, are started here on loopback. Grafana is not: its boards
are in deploy/grafana, for any Grafana that reads this Prometheus.
"""

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

import typer
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.processes import all_cores, free_ports, started, wait_listening

DEPLOY = Path(__file__).parents[1] / "deploy"
HOST = "127.0.0.1"
KEY = "demo"
TRAFFIC_ENDS_WITHIN_S = 120.0
PAUSE_S = 0.5
SHOWN = {
    "requests/s": "sum(rate(balancer_requests_total[30s]))",
    "TTFT P90, s": "histogram_quantile(0.9, sum by (le) (rate(balancer_time_to_first_token_seconds_bucket[30s])))",
    "prompt tokens found cached": (
        'sum(rate(balancer_tokens_total{kind="cached"}[30s])) / sum(rate(balancer_tokens_total{kind="prompt"}[30s]))'
    ),
    "healthy replicas": "sum(balancer_replica_healthy)",
}

console = Console(highlight=False)


class NoPrometheusError(Exception):
    """There is none to be started."""


def monitoring(
    once: Annotated[
        bool, typer.Option("--once", help="End after the traffic, with what Prometheus tells.")
    ] = False,
    duration_s: Annotated[float, typer.Option(help="How long traffic lasts, in seconds.", min=5)] = 3600.0,
) -> None:
    """Four embedded replicas, the balancer, traffic and Prometheus, as in deploy/compose/demo.yaml."""
    try:
        with tempfile.TemporaryDirectory(prefix="balancer-monitoring-") as name:
            _run(Path(name), duration_s, once=once)
    except NoPrometheusError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        console.print("ended")


def _run(folder: Path, duration_s: float, *, once: bool) -> None:
    services: dict[str, Any] = yaml.safe_load((DEPLOY / "compose/demo.yaml").read_text("utf-8"))["services"]
    replicas = {name: each for name, each in services.items() if "replica" in each.get("command", ())}
    front, admin, prometheus, *ports = free_ports(3 + len(replicas))
    addresses = dict(zip(replicas, ports, strict=True))
    with contextlib.ExitStack() as stack:

        def start(name: str, command: list[str], port: int) -> None:
            child = stack.enter_context(started(command, cores=all_cores(), log=folder / f"{name}.log"))
            wait_listening(child, port)

        for name, service in replicas.items():
            given = _with(service["command"], {"--host": HOST, "--port": str(addresses[name])})
            start(name, [sys.executable, "-m", "balancer", *given], addresses[name])
        config = _balancer_file(folder, addresses, front, admin)
        command = [sys.executable, "-m", "balancer", "serve", "--config", str(config)]
        start("balancer", command, front)
        path = prometheus_file(folder, {"balancer": [front], "vllm": ports})
        program = shutil.which("prometheus")
        if program is None:
            raise NoPrometheusError(
                "no prometheus on PATH: install your system's (Debian: apt install prometheus)"
            )
        listen = f"--web.listen-address={HOST}:{prometheus}"
        store = f"--storage.tsdb.path={folder / 'tsdb'}"
        start("prometheus", [program, f"--config.file={path}", store, listen], prometheus)
        console.print(f"API         http://{HOST}:{front}/v1")
        console.print(f"live page   http://{HOST}:{admin}/ui   (key: {KEY})")
        console.print(f"Prometheus  http://{HOST}:{prometheus}")
        changed = {
            "--target": f"http://{HOST}:{front}",
            "--duration": f"{duration_s:g}",
            "--out": str(folder / "run.json"),
        }
        traffic = [
            sys.executable,
            *services["traffic"]["entrypoint"][1:],
            *_with(services["traffic"]["command"], changed),
        ]
        done = subprocess.run(
            traffic, capture_output=True, text=True, check=False, timeout=duration_s + TRAFFIC_ENDS_WITHIN_S
        )
        if done.returncode != 0:
            console.print(done.stdout + done.stderr, markup=False)
            raise typer.Exit(1)
        console.print(_told(f"http://{HOST}:{prometheus}"))
        if not once:
            console.print("Ctrl-C ends it")
            while True:
                time.sleep(PAUSE_S)  # for a person, who looks at it


def _with(command: list[str], changed: dict[str, str]) -> list[str]:
    """The command with other values of some flags."""
    given = list(command)
    for flag, value in changed.items():
        given[given.index(flag) + 1] = value
    return given


def _balancer_file(folder: Path, addresses: dict[str, int], front: int, admin: int) -> Path:
    settings = yaml.safe_load((DEPLOY / "compose/balancer/demo.yaml").read_text("utf-8"))
    for replica in settings["replicas"]:
        replica["url"] = f"http://{HOST}:{addresses[replica['name']]}"
    settings |= {"host": HOST, "port": front, "admin_host": HOST, "admin_port": admin, "admin_api_key": KEY}
    path = folder / "balancer.yaml"
    path.write_text(yaml.safe_dump(settings), "utf-8")
    return path


def prometheus_file(folder: Path, ports: dict[str, list[int]], interval_s: int | None = None) -> Path:
    """The file of deploy/, which finds what listens on `ports` of this machine, by job; it may scrape at another interval."""
    told = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))
    told["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in told["rule_files"]]
    if interval_s is not None:
        told["global"] = dict.fromkeys(
            ("scrape_interval", "scrape_timeout", "evaluation_interval"), f"{interval_s}s"
        )
    for job in told["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [f"{HOST}:{port}" for port in ports[job["job_name"]]]}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(told), "utf-8")
    return path


def _told(url: str) -> Table:
    """What Prometheus knows. Exits with 1, if it could not read one of its targets, or knows nothing."""
    up = _query(url, "up")
    down = [each["metric"]["instance"] for each in up if each["value"][1] != "1"]
    table = Table("", "", title="Prometheus says", title_justify="left", show_header=False)
    for what, query in SHOWN.items():
        found = _query(url, query)
        table.add_row(what, f"{float(found[0]['value'][1]):.3g}" if found else "nothing")
        if not found:
            down.append(what)
    if down or not up:
        console.print(table)
        console.print(f"not told: {', '.join(down) or 'anything'}")
        raise typer.Exit(1)
    return table


def _query(url: str, query: str) -> list[dict[str, Any]]:
    client = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        client.request("GET", f"/api/v1/query?{urlencode({'query': query})}")
        result: list[dict[str, Any]] = json.load(client.getresponse())["data"]["result"]
    except OSError:
        return []
    finally:
        client.close()
    return result


def main() -> None:
    typer.run(monitoring)


if __name__ == "__main__":
    main()
