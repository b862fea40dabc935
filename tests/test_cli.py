"""The commands, through the entry point: what they print and the code they leave with."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import balancer
from balancer.cli import main
from balancer.config import Settings
from balancer.config.argv import normalised
from balancer.config.names import FLAGS, NAMES, flag

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(capsys, monkeypatch):
    for name in [name for name in os.environ if name.upper().startswith("BALANCER_")]:
        monkeypatch.delenv(name)

    def run(*argv: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(argv)
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return run


@pytest.mark.parametrize("argv", [["version"], ["--version"]])
def test_version(run, argv):
    assert run(*argv) == (0, f"{balancer.__version__}\n", "")


def test_the_module_is_the_command():
    process = subprocess.run(
        [sys.executable, "-m", "balancer", "version"], cwd=ROOT, capture_output=True, check=True
    )
    assert process.stdout.decode().strip() == balancer.__version__


def test_version_imports_nothing_heavy():
    code = (
        "import sys, balancer\n"
        "assert not {'typer', 'pydantic'} & sys.modules.keys()\n"
        "import contextlib, balancer.cli\n"
        "with contextlib.suppress(SystemExit): balancer.cli.main(['version'])\n"
        "print(sorted({'balancer.config', 'yaml', 'aiohttp', 'numpy', 'uvloop'} & sys.modules.keys()))\n"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert process.stdout.decode().splitlines()[-1] == "[]"


def test_help_shows_every_setting_and_no_alias_of_its_own(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run("serve", "--help")
    shown = {word for line in out.splitlines() for word in line.strip("│ ").split()[:1]}
    assert code == 0
    assert {flag(setting) for setting in Settings.model_fields} <= shown
    assert {flag(name.name) for name in NAMES.values() if name.alias} & shown == set()
    assert "Also: --worker-urls, --static-backends." in out


def test_list_flags_take_several_values_and_may_come_again(run):
    code, out, _ = run(
        "check-config", "--worker_urls", "http://a", "http://b", "--port", "1", "--worker-urls", "http://c"
    )
    assert code == 0
    assert [line.split("'")[1] for line in out.splitlines() if line.startswith("  - ")] == [
        "http://a:80",
        "http://b:80",
        "http://c:80",
    ]
    assert "port: 1  " in out


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        (["--access-log"], "true"),
        (["--access_log=true"], "true"),
        (["--access-log=False"], "false"),
        (["--no-access-log"], "false"),
        (["--access-log", "--no-access-log"], "false"),
    ],
)
def test_switches(run, words, holds):
    code, out, _ = run("check-config", "--worker-urls", "http://a", *words)
    assert code == 0
    assert f"access_log: {holds}  " in out


def test_environment_and_file(run, monkeypatch, tmp_path):
    path = tmp_path / "balancer.yaml"
    path.write_text("worker_urls: [http://a]\nport: 3\nhost: h\n", encoding="utf-8")
    monkeypatch.setenv("BALANCER_PORT", "2")
    code, out, _ = run("check-config", "--config", str(path))
    origins = dict(line.split("  # ") for line in out.splitlines() if "  # " in line)
    assert code == 0
    assert {key.strip(): origin for key, origin in origins.items()}["port: 2"] == "environment BALANCER_PORT"
    assert {key.strip(): origin for key, origin in origins.items()}["host: h"] == f"{path}:3"


def test_tiers_in_words_and_warnings_beside_them(run):
    tiers = (
        "--tiers",
        '{"small": {"model": "m"}, "lost": {"model": "n"}}',
        "--virtual-models",
        '{"auto": {"tiers": "small"}}',
    )
    code, out, err = run("check-config", "--worker-urls", "http://a", *tiers)
    assert (code, err) == (0, "warning: tier `lost` is named by no virtual model\n")
    assert "#   auto: small\n" in out


@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_all_mistakes_of_the_command_line_at_once(run, command):
    code, out, err = run(
        command, "stray", "--wroker-urls", "x", "--worker-urls", "a", "--access-log=often", "--host", "--port"
    )
    url = "a URL that begins with http:// or https://"
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "balancer: 6 mistakes in the configuration",
        "  'stray': expected a flag before it (command line)",
        "  --wroker-urls: expected a known flag; the nearest is --worker-urls (command line)",
        f"  replicas[0].url: expected {url}, given 'a' (command line --worker-urls)",
        "  host: expected text, not empty, given '' (command line --host)",
        "  port: expected a port, at least 0 and at most 65535, given '' (command line --port)",
        "  access_log: expected true or false, given 'often' (command line --access-log)",
    ]


def test_serve_runs_the_balancer_with_the_settings_and_leaves_with_its_code(run, monkeypatch):
    served = []
    app = types.ModuleType("balancer.process")
    app.run = lambda loaded: served.append(loaded.settings) or 3
    monkeypatch.setitem(sys.modules, "balancer.process", app)
    assert run("serve", "--worker-urls", "http://a", "--api-key", "-k")[0] == 3
    [settings] = served
    assert settings.replicas[0].url == "http://a:80"
    assert [key.get_secret_value() for key in settings.api_keys] == ["-k"]
    assert run("serve", "--port", "1")[0] == 2
    assert len(served) == 1


@given(
    st.lists(
        st.sampled_from(
            ["--port", "--worker-urls", "http://a", "--api_key=x", "--access-log", "-x", "1", "--"]
        )
    )
)
def test_normalising_twice_changes_nothing(words):
    once = normalised(words, FLAGS)
    assert normalised(once, FLAGS) == once


def test_the_reference_is_current():
    script = ROOT / "scripts" / "generate-config-reference"
    subprocess.run([sys.executable, script, "--check"], cwd=ROOT, check=True)


def test_replica_runs_with_its_options(run, monkeypatch):
    started = []
    server = types.ModuleType("balancer.embedded.server")
    server.run_replica = started.append
    monkeypatch.setitem(sys.modules, "balancer.embedded.server", server)
    words = [
        "--max_num_seqs",
        "7",
        "--speed=2",
        "--served-model-names",
        "a",
        "b",
        "--dev-mode",
        "--port",
        "0",
    ]
    assert run("replica", *words)[0] == 0
    [options] = started
    assert (options.max_num_seqs, options.speed, options.served_model_names) == (7, 2, ("a", "b"))
    assert (options.dev_mode, options.port) == (True, 0)


def test_a_wrong_replica_option_is_told_and_nothing_runs(run):
    code, out, err = run("replica", "--profile", "abacus")
    assert (code, out) == (2, "")
    assert err.startswith("balancer replica: profile: expected one of ")
