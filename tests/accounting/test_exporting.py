"""OpenTelemetry is imported by who traces, and by nobody else; what is missing for it is told."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from balancer.accounting.exporting import tracing_of
from tests.fakes.balancer import settings_for

ROOT = Path(__file__).parents[2]
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_who_does_not_trace_imports_nothing_of_it():
    done = python(
        "import sys; import balancer.__main__, balancer.app\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf'))])"
    )
    assert done.stdout == "[]\n"


def test_without_the_extra_the_setting_is_a_mistake():
    done = python(
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from balancer.__main__ import main\n"
        "sys.argv[1:] = ['check-config', '--replicas', 'http://a', '--otlp-traces-endpoint', 'http://c:4318']\n"
        "main()"
    )
    assert done.returncode == 2
    assert "otlp_traces_endpoint: expected none, or the extra `otel` installed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({}, None),
        ({ENDPOINT: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({ENDPOINT: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "it asks for grpc"),
    ],
    ids=["nothing", "none", "grpc"],
)
def test_nothing_is_traced_and_why(environ, why, caplog):
    caplog.set_level(logging.WARNING)
    assert tracing_of(settings_for(["http://a"]), environ) is None
    assert [record.getMessage() for record in caplog.records] == (
        [] if why is None else [f"{ENDPOINT} is set, but nothing is traced: {why}"]
    )


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ("http://otel:4318", "http://otel:4318/v1/traces"),
        ("https://Otel/", "https://otel:443/v1/traces"),
        ("http://otel/custom/path", "http://otel:80/custom/path"),
    ],
)
def test_a_host_alone_means_the_path_that_collectors_serve(given, means):
    assert settings_for(["http://a"], otlp_traces_endpoint=given).otlp_traces_endpoint == means


@pytest.mark.parametrize("given", ["otel:4318", "http://me:pass@otel", "http://otel?key=1", ""])
def test_what_is_no_endpoint(given):
    with pytest.raises(ValueError, match="otlp_traces_endpoint") as raised:
        settings_for(["http://a"], otlp_traces_endpoint=given)
    assert "a URL" in str(raised.value)
