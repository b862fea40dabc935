import os
import sys

import pytest

from benchmarks.processes import NotServingError, free_ports, split_cores, started, wait_listening

LISTEN = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    server.accept()
"""
CORES = frozenset(os.sched_getaffinity(0))


def test_the_subject_has_a_core_of_its_own_where_there_are_two():
    cores = split_cores(frozenset({2, 3, 5}))

    assert (cores.subject, cores.others, cores.shared) == ({2}, {3, 5}, False)
    assert split_cores(frozenset({4})).shared


def test_a_child_runs_on_its_cores_until_the_block_is_left(tmp_path):
    one = frozenset({min(CORES)})
    (port,) = free_ports(1)
    with started([sys.executable, "-c", LISTEN, str(port)], cores=one, log=tmp_path / "log") as child:
        wait_listening(child, port)
        assert os.sched_getaffinity(child.pid) == one
        assert os.sched_getaffinity(0) == CORES

    assert not child.running


def test_a_child_that_ends_tells_why(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such policy')"]
    (port,) = free_ports(1)
    with (
        started(command, cores=CORES, log=tmp_path / "log") as child,
        pytest.raises(NotServingError, match=r"ended before it listened: no such policy"),
    ):
        wait_listening(child, port)


def test_a_program_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(NotServingError, match=r"/no/such/program: No such file"),
        started(["/no/such/program"], cores=CORES, log=tmp_path / "log"),
    ):
        pass


def test_free_ports_are_different():
    assert len(set(free_ports(8))) == 8
