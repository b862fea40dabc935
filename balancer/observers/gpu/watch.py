"""Reads the GPUs of this host, of agents and of exporters, each in a loop of its own, and tells what they say of which replica.

A replica's GPUs are those that the configuration names; else, on this host and behind an agent, those on which the process
computes that listens on the replica's port, or last did: a GPU that is lost tells of no process. A source that can't be read is
logged once for each reason, and counted; what it said last grows old, and says nothing after GPU_MAX_AGE_S: then the replica is
taken for sound, as it is where nothing is known.
"""

import asyncio
import ipaddress
import logging
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout

from balancer.config import Replica, Settings
from balancer.core.decider import Decider
from balancer.core.fleet.gpu import (
    GPU_MAX_AGE_S,
    UNKNOWN,
    Condition,
    GpuReading,
    GpuSample,
    GpuState,
    ReplicaGpus,
)
from balancer.core.fleet.replica import ReplicaState
from balancer.core.types import Health, ReplicaId
from balancer.observers.gpu import wire
from balancer.observers.gpu.dcgm import DcgmPage
from balancer.observers.gpu.nvml import UnreadableError
from balancer.observers.gpu.reader import NvmlReader
from balancer.observers.gpu.worker import HungError, Worker
from balancer.observers.supervisor import Supervisor

log = logging.getLogger("balancer.gpu")

HERE = ""
"""The source of this host's own GPUs."""
TIMEOUT_S = 5.0
UNREADABLE_INTERVAL_S = 30.0
"""How often a source that can't be read is tried, at most."""
MAX_PAGE_BYTES = 16 * 1024 * 1024

Read = Callable[[], Awaitable[tuple[str, tuple[GpuSample, ...]]]]
"""The host's name, empty for this one, and its GPUs. Raises: UnreadableError, HungError."""


@dataclass(slots=True, eq=False)
class _Own:
    """A replica, where its GPUs are looked for, by which names, and which were found last."""

    state: ReplicaState
    source: str
    named: tuple[str, ...] | None
    port: int
    history: ReplicaGpus = field(default_factory=ReplicaGpus)
    found: frozenset[str] = frozenset()
    missed: bool = False


class GpuWatch:
    """`reader` reads this host's GPUs."""

    def __init__(
        self,
        decider: Decider,
        supervisor: Supervisor,
        on_failure: Callable[[str, str], None],
        reader: NvmlReader,
    ) -> None:
        self._decider = decider
        self._supervisor = supervisor
        self._on_failure = on_failure
        self._reader = reader
        self._worker: Worker[tuple[GpuSample, ...]] = Worker("nvml")
        self._session: ClientSession | None = None
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._problems: dict[str, str] = {}
        self._failures: Counter[str] = Counter()  # in a row, of each source
        self._read: set[str] = set()
        self._own: dict[ReplicaId, _Own] = {}
        self._interval_s = 0.0

    async def close(self) -> None:
        self._worker.close()
        if self._session is not None:
            await self._session.close()

    def configure(self, settings: Settings) -> None:
        """Look at what the settings name, from now on. After the fleet was made what they say."""
        self._interval_s = settings.gpu_interval_s
        before, self._own = self._own, {}
        sources: dict[str, Read] = {HERE: self._read_here} if settings.gpus == "auto" else {}
        for replica in settings.replicas:
            if settings.gpus == "off":
                break
            own = self._of(replica)
            if own is None:
                continue
            if replica.gpu_agent:
                sources[own.source] = partial(self._read_agent, replica.gpu_agent)
            elif replica.dcgm:
                sources.setdefault(own.source, partial(self._read_dcgm, replica.dcgm, DcgmPage()))
            known = before.get(own.state.id)
            if known is not None and (known.state, known.source, known.named) == (
                own.state,
                own.source,
                own.named,
            ):
                own = known
            self._own[own.state.id] = own
        for known in before.values():
            if self._own.get(known.state.id) is not known:
                self._tell(known, UNKNOWN)
        for name in self._loops.keys() - sources.keys():
            self._loops.pop(name).cancel()
            self._decider.fleet.gpus.pop(name, None)
            self._problems.pop(name, None)
            del self._failures[name]
        for name, read in sources.items():
            if name not in self._loops:
                self._loops[name] = self._supervisor.start("gpus", partial(self._step, name, read), name)

    def _of(self, replica: Replica) -> _Own | None:
        """None where it has no GPU that could be looked at: its list is empty, or its host is another one and has no source."""
        state = self._decider.fleet[ReplicaId(replica.name)]
        parts = urlsplit(replica.url)
        source = replica.gpu_agent or replica.dcgm or HERE
        if replica.gpus == () or (
            replica.gpus is None and source == HERE and not _is_here(parts.hostname or "")
        ):
            return None
        return _Own(state, source, replica.gpus, parts.port or 0)

    async def _step(self, source: str, read: Read) -> float:
        """Read one source, and tell what that says of its replicas."""
        try:
            host, samples = await read()
        except (UnreadableError, HungError) as error:
            self._failed(source, str(error), hung=isinstance(error, HungError))
            self._failures[source] += 1
            pause_s = self._interval_s * 2.0 ** min(self._failures[source], 10)
            pause_s = max(self._interval_s, min(pause_s, UNREADABLE_INTERVAL_S))
        else:
            self._failures[source] = 0
            self._read.add(source)
            if self._problems.pop(source, None):
                log.info("GPUs of %s are read again", source or "this host")
            self._decider.fleet.gpus[source] = GpuReading(host, monotonic(), samples)
            pause_s = self._interval_s
        reading = self._decider.fleet.gpus.get(source)
        if reading is not None:
            now = monotonic()
            fresh = [sample for sample in reading.samples if now - sample.taken_at <= GPU_MAX_AGE_S]
            if not fresh:
                self._decider.fleet.gpus.pop(source)
            for own in self._own.values():
                if own.source == source:
                    self._tell(own, self._judged(own, fresh))
        return pause_s

    def _judged(self, own: _Own, samples: Iterable[GpuSample]) -> GpuState:
        gpus = [sample for sample in samples if self._belongs(sample, own)]
        if not gpus:
            gpus = [sample for sample in samples if sample.uuid in own.found]
        own.found = frozenset(sample.uuid for sample in gpus) or own.found
        if not gpus:
            if samples and not own.missed and own.state.health is Health.HEALTHY:
                own.missed = True
                where = f"GPUs {', '.join(own.named)}" if own.named else f"a process behind port {own.port}"
                log.info("replica %s: no GPU has %s", own.state.id, where)
            return UNKNOWN
        return own.history.judge(gpus, own.port, _began_s(own.state))

    @staticmethod
    def _belongs(sample: GpuSample, own: _Own) -> bool:
        if own.named is not None:
            return sample.uuid in own.named or (sample.index is not None and str(sample.index) in own.named)
        return any(own.port in process.ports for process in sample.processes or ())

    def _tell(self, own: _Own, state: GpuState) -> None:
        replica = own.state
        before = replica.gpu
        self._decider.saw_gpus(replica, state, monotonic())
        if state.condition is before.condition and state.why == before.why:
            return
        what = state.condition.name.lower()
        if state.condition >= Condition.SICK:
            log.warning("the GPU of replica %s is %s (%s): others go before it", replica.id, what, state.why)
        else:
            log.info("the GPU of replica %s is %s%s", replica.id, what, f" ({state.why})" * bool(state.why))

    def _failed(self, source: str, why: str, *, hung: bool) -> None:
        never = source == HERE and not hung and source not in self._read
        if not never:  # else there are none, most likely
            self._on_failure("gpus_hung" if hung else "gpus", source)
        if self._problems.get(source) != why:
            self._problems[source] = why
            log.log(
                logging.INFO if never else logging.WARNING,
                "GPUs of %s cannot be read: %s",
                source or "this host",
                why,
            )

    async def _read_here(self) -> tuple[str, tuple[GpuSample, ...]]:
        return "", await self._worker.do(self._reader.read, TIMEOUT_S)

    async def _read_agent(self, url: str) -> tuple[str, tuple[GpuSample, ...]]:
        page = await self._get(f"{url}/gpus")
        try:
            host, samples = wire.read(page, monotonic())
        except ValueError as error:
            raise UnreadableError(str(error)) from None
        return host or _host(url), samples

    async def _read_dcgm(self, url: str, page: DcgmPage) -> tuple[str, tuple[GpuSample, ...]]:
        samples = page.read(
            await self._get(url if url.endswith("/metrics") else f"{url}/metrics"), monotonic()
        )
        if not samples:
            raise UnreadableError("the page tells of no GPU")
        return _host(url), samples

    async def _get(self, url: str) -> bytes:
        if self._session is None:
            self._session = ClientSession(timeout=ClientTimeout(total=TIMEOUT_S))
        try:
            async with self._session.get(url, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise UnreadableError(f"status {answer.status}")
                page = bytearray()
                async for part in answer.content.iter_any():
                    page += part
                    if len(page) > MAX_PAGE_BYTES:
                        raise UnreadableError(f"more than {MAX_PAGE_BYTES} bytes")
                return bytes(page)
        except TimeoutError:
            raise UnreadableError(f"no answer within {TIMEOUT_S:g} s") from None
        except (ClientError, OSError) as error:
            raise UnreadableError(str(error) or type(error).__name__) from None


def _began_s(replica: ReplicaState) -> float:
    """When its engine began, on our clock: by its own word, else when it was last seen to begin anew."""
    start_s = replica.engine.start_time_s
    if start_s is not None:
        return monotonic() - (time.time() - start_s)
    return float("-inf") if replica.warm_from_s is None else replica.warm_from_s


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _is_here(host: str) -> bool:
    """Whether this host has the address. Names are not looked up, but for its own: let the configuration say where such a
    replica's GPUs are.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in {"localhost", socket.gethostname()}
    if address.is_loopback:
        return True
    with socket.socket(
        socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM
    ) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
