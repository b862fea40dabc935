"""Whose port it is: of this very process, and of trees of processes as /proc would tell."""

import os
import socket
import subprocess
import sys

import pytest

from balancer.observers.gpu.processes import Listeners

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(port, inode, state="0A"):
    return f"   0: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0  0 {inode} 1\n"


@pytest.fixture
def proc(tmp_path):
    """pid 1 has started all; 10 listens on 8000 and has the engine 11 with the worker 12; 20 is another's."""
    net = tmp_path / "self/net"
    net.mkdir(parents=True)
    (net / "tcp").write_text(HEAD + line(8000, 77) + line(9000, 78, "01") + line(7000, 79) + "garbage\n")
    for pid, parent, sockets in ((1, 0, [79]), (10, 1, [77]), (11, 10, []), (12, 11, [78]), (20, 1, [])):
        folder = tmp_path / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} (a) b (c) S {parent} 1 1 0\n")
        for number, inode in enumerate(sockets):
            (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
    return tmp_path


@pytest.mark.parametrize(
    ("pid", "ports"), [(10, (8000,)), (11, (8000,)), (12, (8000,)), (20, ()), (1, ()), (99, ())]
)
def test_a_port_belongs_to_who_listens_and_to_its_descendants(proc, pid, ports):
    assert Listeners(proc).ports(pid) == ports


def test_what_cannot_be_read_is_not_there(proc):
    (proc / "self/net/tcp").unlink()
    assert Listeners(proc).ports(11) == ()
    assert Listeners(proc / "nowhere").ports(11) == ()


def test_a_circle_of_parents_ends(proc):
    (proc / "10/stat").write_text("10 (a) S 12 1\n")
    assert Listeners(proc).ports(12) == (8000,)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_this_process_and_its_child(family):
    with socket.create_server(("", 0), family=family) as listening:
        port = listening.getsockname()[1]
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            listeners = Listeners()
            assert port in listeners.ports(os.getpid())
            assert port in listeners.ports(child.pid)
            child.communicate(b"\n")
    assert port not in Listeners().ports(os.getpid())
