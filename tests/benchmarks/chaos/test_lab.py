"""Real processes: killed, replaced and ended by pid, and what stands in front of them is the balancer."""

import asyncio
import os
import signal

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.chaos.faults import FAULTS, catches, schedule
from benchmarks.chaos.figures import figures
from benchmarks.chaos.lab import embedded, opened, read_page
from benchmarks.chaos.run import Plan, observe
from benchmarks.chaos.traffic import Traffic
from benchmarks.chaos.verdict import Outcome
from benchmarks.processes import NotServingError


def fault(name):
    return next(each for each in FAULTS if each.name == name)


def test_a_replica_is_killed_and_the_balancer_replaced_under_load(tmp_path):
    plan = Plan(
        [fault("SIGKILL"), fault("balancer replaced")],
        rate_per_s=15,
        quiet_s=0.5,
        patience_s=20,
        longest_window_s=0.5,
        warm_up_s=0.5,
    )
    told, ports = [], []

    async def main():
        members = embedded(tmp_path, 2, ("--speed", "2"))
        async with opened(None, tmp_path, members) as lab:
            ports.extend([lab.front.metrics_port, *(each.port for each in members)])
            first = lab.front.child.pid
            observed = await observe(lab, Traffic(1).asks(), plan, told.append)
            assert lab.front.child.pid != first
            ports.append(lab.front.metrics_port)
            assert lab.front.knows(members[0].port)
            return figures(observed)

    found = asyncio.run(main())
    assert told == ["SIGKILL", "balancer replaced"]
    assert found["trouble"] is None
    assert found["skipped"] == []
    assert found["leaks"] == {}
    assert set(found["phases"]) == {"no fault", *told}
    assert found["outcomes"][Outcome.ANSWERED] > 20
    for port in ports:
        with pytest.raises(NotServingError):
            read_page(port)


def test_every_fault_comes_once_a_round_and_the_seed_decides_the_order():
    first, again, other = (schedule(FAULTS, 3, seed) for seed in (1, 1, 2))
    assert first == again != other
    for at in range(0, len(first), len(FAULTS)):
        assert set(first[at : at + len(FAULTS)]) == set(FAULTS)


def test_whether_a_process_catches_a_signal():
    kept = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert catches(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, kept)
    assert not catches(os.getpid(), signal.SIGUSR2)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--arms", "balancer,envoy"], "envoy"),
        (["--faults", "flood"], "flood"),
        (["--faults", "RST", "--real-vllm"], "RST"),
    ],
)
def test_a_wrong_name_is_told(arguments, named):
    result = CliRunner().invoke(app, ["chaos", *arguments])
    assert result.exit_code == 2
    assert named in result.output
