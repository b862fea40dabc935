"""The files of deploy/: each is read by the program that it is for, where that is installed."""

import asyncio
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from balancer.config import Settings
from benchmarks.processes import free_ports, started, wait_listening
from tests.fakes.client import LOOPBACK, Client, stream
from tests.fakes.loops import async_test
from tests.fakes.replica import DONE, LAST_CHUNK, SSE_HEAD, Replica, chunk, token

ROOT = Path(__file__).parents[2]
UNIT = (ROOT / "deploy/systemd/balancer.service").read_text()
AGENT_UNIT = (ROOT / "deploy/systemd/balancer-agent.service").read_text()
SITE = (ROOT / "deploy/nginx/balancer.conf").read_text()
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()
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


def needs(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
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


@needs("nginx", "openssl")
@async_test
async def test_nginx_passes_each_token_when_it_comes(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    make += ["-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
    subprocess.run(make, capture_output=True, timeout=30, check=True)
    asked = asyncio.Queue()
    replica = await Replica().start()  # in the balancer's place, which would ask nginx itself not to buffer
    replica.on_post = lambda connection, request: asked.put_nowait((connection, request))
    (port,) = free_ports(1)
    site = changed(
        SITE,
        ("127.0.0.1:8080", f"{LOOPBACK}:{replica.port}"),
        ("listen 443 ssl", f"listen {LOOPBACK}:{port} ssl"),
        ("/etc/ssl/balancer/fullchain.pem", str(certificate)),
        ("/etc/ssl/balancer/privkey.pem", str(key)),
    )
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(folder=tmp_path, site=site))
    command = ["nginx", "-e", "stderr", "-p", str(tmp_path), "-c", str(config)]
    try:
        with started(command, cores=frozenset(range(256)), log=tmp_path / "log") as nginx:
            await asyncio.to_thread(wait_listening, nginx, port)
            tls = ssl.create_default_context(cafile=certificate)
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
    finally:
        await replica.stop()
