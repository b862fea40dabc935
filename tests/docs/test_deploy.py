"""The files of deploy/: each is read by the program that it is for, where that is installed."""

import asyncio
import re
import shutil
import ssl
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from balancer.config import Settings, load
from balancer.embedded.options import ReplicaOptions
from benchmarks.processes import free_ports, started, wait_listening
from tests.fakes.client import LOOPBACK, Client, stream
from tests.fakes.loops import async_test
from tests.fakes.replica import DONE, LAST_CHUNK, SSE_HEAD, Replica, chunk, token

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "deploy/systemd/balancer.service").read_text()
AGENT_UNIT = (ROOT / "deploy/systemd/balancer-agent.service").read_text()
SITE = (ROOT / "deploy/nginx/balancer.conf").read_text()
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()
ENVOY = (ROOT / "deploy/envoy/balancer.yaml").read_text()
COMPOSE = ROOT / "deploy/compose"
SCRAPE = (ROOT / "deploy/prometheus/scrape.yaml").read_text()
GRACE_S = Settings.model_fields["drain_delay_s"].default + Settings.model_fields["drain_timeout_s"].default

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


def program(name):
    """Where it is, on PATH or beside this interpreter."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def needs(*programs):
    missing = [name for name in programs if program(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def changed(text, *replacements):
    for old, new in replacements:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@needs("systemd-analyze")
@pytest.mark.parametrize("text", [UNIT, AGENT_UNIT], ids=["balancer", "agent"])
def test_systemd_takes_the_unit(tmp_path, text):
    unit = tmp_path / "balancer.service"
    unit.write_text(changed(text, ("/opt/vllm-balancer/bin/balancer", sys.executable)))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_agents_unit_starts_the_agent():
    (command,) = re.findall(r"^ExecStart=(.+)$", AGENT_UNIT, re.MULTILINE)
    words = command.split()[1:]
    done = subprocess.run(
        [sys.executable, "-m", "balancer", *words, "--port", "70000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "balancer agent: port: expected 0 to 65535, got 70000\n")


def test_nothing_kills_before_draining_has_ended():
    (unit,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    (docker,) = re.findall(r"--stop-timeout (\d+)", (ROOT / "deploy/README.md").read_text())
    assert min(int(unit), int(docker)) > GRACE_S


def test_the_image_is_made_of_what_is_there():
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / source).exists() for source in line.split())
    assert f"EXPOSE {Settings.model_fields['port'].default}" in DOCKERFILE


def test_prometheus_scrapes_the_balancer_and_its_replicas():
    jobs = {job["job_name"]: job for job in yaml.safe_load(SCRAPE)["scrape_configs"]}
    assert jobs.keys() == {"balancer", "vllm"}
    (target,) = jobs["balancer"]["static_configs"][0]["targets"]
    assert target.endswith(f":{Settings.model_fields['port'].default}")


def test_nginx_has_the_balancers_limits():
    body, head = (Settings.model_fields[f"max_{part}_bytes"].default for part in ("body", "header"))
    assert f"client_max_body_size {body // 1024**2}m;" in SITE
    assert f"large_client_header_buffers 8 {head // 1024}k;" in SITE


@pytest.fixture
def certificate(tmp_path):
    """Of its own making, with its key: the paths."""
    key, chain = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    make += ["-subj", "/CN=localhost", "-keyout", key, "-out", chain]
    subprocess.run(make, capture_output=True, timeout=30, check=True)
    return chain, key


async def passes_each_token_when_it_comes(replica, command, port, chain, log):
    """The proxy that `command` starts, with a replica in the balancer's place (which would itself ask it not to buffer)."""
    asked = asyncio.Queue()
    replica.on_post = lambda connection, request: asked.put_nowait((connection, request))
    with started(command, cores=frozenset(range(256)), log=log) as proxy:
        await asyncio.to_thread(wait_listening, proxy, port)
        tls = ssl.create_default_context(cafile=chain)
        tls.check_hostname = False
        client = Client(*await asyncio.open_connection(LOOPBACK, port, ssl=tls))
        assert (await client.ask(target="/metrics")).status == 404
        client.send(stream())
        upstream, request = await asked.get()
        assert request.all("x-forwarded-proto") == ["https"]
        assert request.all("connection") == []
        upstream.write(SSE_HEAD, chunk(token("0")))
        answer = await client.head()
        assert await client.more(answer) == token("0")
        upstream.write(chunk(token("1")))
        assert await client.more(answer) == token("1")
        upstream.write(chunk(DONE), LAST_CHUNK)
        assert (await client.read(answer)).complete
        await client.close()


@needs("nginx", "openssl")
@async_test
async def test_nginx_passes_each_token_when_it_comes(tmp_path, certificate):
    chain, key = certificate
    replica = await Replica().start()
    (port,) = free_ports(1)
    site = changed(
        SITE,
        ("127.0.0.1:8080", f"{LOOPBACK}:{replica.port}"),
        ("listen 443 ssl", f"listen {LOOPBACK}:{port} ssl"),
        ("/etc/ssl/balancer/fullchain.pem", str(chain)),
        ("/etc/ssl/balancer/privkey.pem", str(key)),
    )
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(folder=tmp_path, site=site))
    command = ["nginx", "-e", "stderr", "-p", str(tmp_path), "-c", str(config)]
    try:
        await passes_each_token_when_it_comes(replica, command, port, chain, tmp_path / "log")
    finally:
        await replica.stop()


@needs("envoy", "openssl")
@async_test
async def test_envoy_passes_each_token_when_it_comes(tmp_path, certificate):
    chain, key = certificate
    replica = await Replica().start()
    (port,) = free_ports(1)
    config = tmp_path / "envoy.yaml"
    config.write_text(
        changed(
            ENVOY,
            ("address: 127.0.0.1, port_value: 8080", f"address: {LOOPBACK}, port_value: {replica.port}"),
            ("address: 0.0.0.0, port_value: 443", f"address: {LOOPBACK}, port_value: {port}"),
            ("/etc/ssl/balancer/fullchain.pem", str(chain)),
            ("/etc/ssl/balancer/privkey.pem", str(key)),
            ("path: /ready", "path: /health"),  # of the balancer's two pages, the one that a replica has
        )
    )
    command = [
        program("envoy"),
        "-c",
        str(config),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "-l",
        "error",
    ]
    try:
        await passes_each_token_when_it_comes(replica, command, port, chain, tmp_path / "log")
    finally:
        await replica.stop()


def test_envoy_has_the_balancers_limit_of_heads():
    assert f"max_request_headers_kb: {Settings.model_fields['max_header_bytes'].default // 1024} " in ENVOY


@pytest.mark.parametrize("name", ["demo", "vllm"])
def test_compose_files_are_of_their_kind_and_name_what_is_there(name):
    path = COMPOSE / f"{name}.yaml"
    command = [program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    services = yaml.safe_load(path.read_text())["services"]
    for service in services.values():
        mounts = [volume.split(":")[0] for volume in service.get("volumes", ()) if volume.startswith(".")]
        assert all((COMPOSE / mount).is_dir() for mount in mounts), mounts
    grace_s = int(services["balancer"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > GRACE_S
    config = COMPOSE / "balancer" / f"{name}.yaml"
    assert f"/etc/balancer/{config.name}" in services["balancer"]["command"]
    loaded = load({}, {"BALANCER_ADMIN_API_KEY": "x"}, config)
    assert {urlsplit(replica.url).hostname for replica in loaded.settings.replicas} <= services.keys()


def test_the_demos_replicas_take_their_flags():
    services = yaml.safe_load((COMPOSE / "demo.yaml").read_text())["services"]
    given = {flag[2:].replace("-", "_") for flag in services["replica-a"]["command"] if flag.startswith("--")}
    assert given <= {field.name for field in fields(ReplicaOptions)}
