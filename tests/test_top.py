"""`balancer top`: what it prints, in which space, and how it fails."""

import asyncio
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group

from balancer.admin_client import AdminClient, AdminError, admin_url
from balancer.core.types import Health
from balancer.top import BLOCKS, clean, seconds, shown, spark
from tests.fakes.balancer import cluster
from tests.fakes.client import chat, stream
from tests.fakes.loops import async_test, until
from tests.fakes.replica import Replica

ROOT = Path(__file__).parents[1]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


async def top(front, *arguments, env=None, port=None):
    """Exit status, output and errors of the command."""
    url = f"http://127.0.0.1:{port or front.balancer.listeners.ports[-1]}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "balancer", "top", "--url", url, *arguments),
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def drawn(state, width=80, height=24):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(Group(*shown(state, width, height)))
    return console.file.getvalue()


async def state_of(front):
    client = AdminClient(f"http://127.0.0.1:{front.balancer.listeners.ports[-1]}", None)
    try:
        return await asyncio.to_thread(client.ask, "/admin/state")
    finally:
        client.close()


@async_test
async def test_once_is_for_scripts_and_for_people():
    async with cluster(2, admin_port=0) as (front, replicas):
        await state_of(front)
        await front.ask(stream())
        status, out, err = await top(front, "--once", "--json", "--interval", "0.1")
        told = json.loads(out)
        assert (status, err) == (0, "")
        assert [each["name"] for each in told["replicas"]] == ["r0", "r1"]
        assert told["decisions"][0]["status"] == 200
        assert told["watched_s"] > 0
        await replicas[1].stop()
        await until(lambda: front.fleet[1].health is Health.UNHEALTHY)
        status, out, err = await top(front, "--once", "--interval", "0.1")
        assert (status, err) == (0, "")
        assert "\x1b" not in out
        assert "SOON r1: It is unhealthy (refused)" in out
        lines = out.splitlines()
        assert lines[0].startswith("balancer ")
        assert [line.split()[:2] for line in lines if line.startswith("r")] == [
            ["replica", "state"],
            ["r1", "unhealthy"],
            ["r0", "healthy"],
        ]
        assert max(map(len, lines)) <= 80


@async_test
async def test_a_key_is_read_from_the_environment_and_a_wrong_one_is_told():
    async with cluster(admin_port=0, admin_api_key="secret") as (front, _):
        key = {"BALANCER_ADMIN_API_KEY": "secret"}
        assert (await top(front, "--once", "--interval", "0.1", env=key))[0] == 0
        status, out, err = await top(front, "--once", env={"BALANCER_ADMIN_API_KEY": "guess"})
        assert (status, out) == (1, "")
        assert err.endswith("the key is not the one: set BALANCER_ADMIN_API_KEY to its `admin_api_key`\n")
        assert "guess" not in err


@async_test
async def test_what_cannot_be_asked_is_told_in_a_line():
    async with cluster(admin_port=0) as (front, _):
        for port, told in (
            (front.balancer.listeners.ports[0], "Unknown route: /admin/state; is it the admin port"),
            (1, "does a balancer listen there with --admin-port"),
        ):
            status, out, err = await top(front, "--once", port=port)
            assert (status, out, err.count("\n")) == (1, "", 1)
            assert re.search(told, err), err
        status, _, err = await top(front)
        assert (status, err) == (2, "balancer top: this is no terminal: use --once, or --once --json\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--url", "ftp://x"], "--url: expected http://HOST:PORT of the admin API, without credentials"),
        (
            ["--url", "http://u:p@x:1"],
            "--url: expected http://HOST:PORT of the admin API, without credentials",
        ),
        (["--url", "http://x:y"], "--url: expected http://HOST:PORT of the admin API, without credentials"),
        ([], "--url: expected where `admin_port` is, as http://127.0.0.1:8081 (or BALANCER_ADMIN_URL)"),
        (["--url", "http://x:1", "--json"], "--json: expected with --once"),
        (["--url", "http://x:1", "--interval", "0"], "--interval: expected 0.1 to 60 seconds, got 0"),
        (["--url", "http://x:1", "--interval", "nan"], "--interval: expected 0.1 to 60 seconds, got nan"),
    ],
)
def test_mistakes_are_named(arguments, told):
    command = [sys.executable, "-m", "balancer", "top", *arguments]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("BALANCER_")}
    process = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=False)
    assert (process.returncode, process.stderr.decode()) == (2, f"balancer top: {told}\n")


def test_where_it_asks():
    assert admin_url(None, {"BALANCER_ADMIN_PORT": "8081"}) == "http://127.0.0.1:8081"
    assert (
        admin_url(None, {"BALANCER_ADMIN_PORT": "1", "BALANCER_ADMIN_URL": "https://b/x/"}) == "https://b/x"
    )
    assert admin_url("http://a:1", {"BALANCER_ADMIN_URL": "http://b"}) == "http://a:1"


@async_test
async def test_it_follows_in_a_terminal_of_80_by_24_until_it_is_stopped():
    async with cluster(2, admin_port=0) as (front, _):
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "balancer", "top", "--interval", "0.1"),
            *("--url", f"http://127.0.0.1:{front.balancer.listeners.ports[-1]}"),
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm", "NO_COLOR": "1"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        read = []

        def hear():
            try:
                read.append(os.read(ours, 2**16).decode())
            except OSError:  # the terminal's other end is closed
                asyncio.get_running_loop().remove_reader(ours)

        asyncio.get_running_loop().add_reader(ours, hear)
        try:
            await until(lambda: "r1" in "".join(read), within_s=20)
            await front.ask(chat())
            await until(lambda: "status" in "".join(read))
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        finally:
            asyncio.get_running_loop().remove_reader(ours)
            os.close(ours)
        text = "".join(read)
        assert "\x1b[3" not in text  # no colour
        assert text.count("\x1b[?1049h") == 1  # another screen, and back


@async_test
async def test_whatever_others_call_themselves_is_text():
    evil = "\x1b]0;owned\x07[red]m\u202e"
    replica = await Replica("r0", model=evil).start()
    try:
        async with cluster(admin_port=0) as (front, _):
            await front.reload(replica, admin_port=0)
            await until(lambda: front.fleet[0].models == frozenset({evil}))
            await state_of(front)
            await front.ask({**chat(), "model": evil})
            page = drawn(await state_of(front), 200, 50)
            assert not {"\x1b", "\x07", "\u202e"} & set(page)
            assert "�]0;owned�[red]m" in page
    finally:
        await replica.stop()


@async_test
async def test_many_replicas_fit_and_those_in_trouble_come_first():
    async with cluster(2, admin_port=0) as (front, replicas):
        await state_of(front)
        for _ in range(8):
            await front.ask(chat())
        state = await state_of(front)
    one = state["replicas"][0]
    state["replicas"] = [
        one | {"name": f"r{number}", "health": "ejected" if number == 50 else "healthy"}
        for number in range(64)
    ]
    state["alerts"] = [
        {"severity": "page", "subject": "m", "what": "w" * 100, "action": "a", "runbook": "R"}
    ] * 9
    state["tiers"] = [{"name": "t", "model": "m", "requests": 1, "left": 0, "usd": 0.5}]
    for width, height in ((80, 24), (120, 40), (240, 70)):
        lines = drawn(state, width, height).splitlines()
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert next(line for line in lines if line.startswith("r5")).split()[:2] == ["r50", "ejected"]
        assert "and 6 more alerts" in "\n".join(lines)
        assert re.search(r"and \d+ more replicas", "\n".join(lines))


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text):
    assert all(letter.isprintable() or letter.isspace() or ord(letter) > 0x9F for letter in clean(text))
    assert "\x1b" not in clean(text)
    assert len(clean(text)) == len(text)


def test_figures():
    assert [seconds(each) for each in (None, 0.0123, 0.9996, 12.34)] == ["-", "12 ms", "1.0 s", "12.3 s"]
    assert spark([None, None, [0.1, 0.8], [0.1, 0.2], None, [0.0, 0.1]]) == f" {BLOCKS[7]}{BLOCKS[0]}"


def test_an_answer_that_is_no_state_is_no_traceback():
    client = AdminClient("http://127.0.0.1:1", None)
    with pytest.raises(AdminError, match="does a balancer listen there"):
        client.ask("/admin/state")
