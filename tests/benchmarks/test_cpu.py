import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import cpu
from benchmarks.cpu import Reading, spent

TICKS = os.sysconf("SC_CLK_TCK")


def stat_line(name, parent, times):
    before = f"77 ({name}) S {parent} 77 77 0 -1 4194560 100 0 0 0"
    return f"{before} {' '.join(map(str, times))} 20 0 1 0 12345 1000 200 18446744073709551615\n"


@given(
    st.text(st.sampled_from("() \n7aé"), max_size=15),
    st.integers(0, 1 << 22),
    st.lists(st.integers(0, 1 << 40), min_size=4, max_size=4),
)
def test_stat_is_read_whatever_the_command_is_called(name, parent, times):
    stat = cpu.parse_stat(stat_line(name, parent, times))

    assert (stat.parent, stat.ticks) == (parent, sum(times))


@pytest.mark.parametrize(
    "line", ["", "77 (python) S 1 77", "77 (python) S one 2 3 4 5 6 7 8 9 10 11 12 13 14 15"]
)
def test_what_is_not_a_stat_line_is_refused(line):
    with pytest.raises(ValueError, match=r"stat: expected"):
        cpu.parse_stat(line)


def reading(ticks, threads):
    return Reading(frozenset({1}), ticks, threads)


def test_nanoseconds_are_used_where_ticks_confirm_them():
    found = spent(reading(0, {1: 0}), reading(TICKS, {1: 1_004_000_000}))

    assert found == cpu.Spent(1.004, "schedstat")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({1: 0, 2: 500_000_000}, {1: 1_000_000_000}),  # a thread ended, and took its account along
        ({1: 0, 2: 0}, {1: 1_001_000_000}),  # the same, though the sums agree
        ({1: 0}, {1: 600_000_000}),  # threads came and went between the readings
        ({}, {1: 1_000_000_000}),  # a kernel without it
    ],
)
def test_ticks_are_used_where_they_do_not(before, after):
    found = spent(reading(0, before), reading(TICKS, after))

    assert found == cpu.Spent(1.0, "stat")


BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
PARENT = f"""
import subprocess, sys
print("ready", flush=True)
sys.stdin.readline()
child = subprocess.Popen([sys.executable, "-c", {BUSY!r}])
child.wait()
print("done", flush=True)
sys.stdin.readline()
"""


def test_a_child_that_ended_is_paid_for():
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        before = cpu.read(process.pid)
        assert cpu.resident_bytes(process.pid) > 1_000_000
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        found = spent(before, cpu.read(process.pid))
        process.stdin.close()

    assert 0.25 < found.seconds < 1.5
    assert found.source == "stat"
