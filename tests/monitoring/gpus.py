"""`balancer agent` of a host whose GPUs are made up: python -m tests.monitoring.gpus PORT COUNT. On SIGUSR1 the last one has an
Xid and an ECC error, as one whose memory is broken.
"""

import asyncio
import signal
import sys

from balancer.agent import AgentOptions, serve_agent
from balancer.observers.gpu.reader import NvmlReader
from tests.fakes.nvml import FakeNvml

DOUBLE_BIT_ERROR = 48


async def main(port, count):
    nvml = FakeNvml(count)

    def breaks():
        nvml.uncorrected[nvml.uuids[-1]] = nvml.uncorrected.get(nvml.uuids[-1], 0) + 1
        nvml.xids.append((nvml.uuids[-1], DOUBLE_BIT_ERROR))

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, breaks)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    options = AgentOptions(port=port, interval_s=0.5)
    return await serve_agent(options, NvmlReader(lambda: nvml), stop, ready=lambda _: None)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*map(int, sys.argv[1:]))))
