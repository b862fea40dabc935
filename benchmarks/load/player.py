"""Plays a script to a target: an open loop of conversations, each of them a closed loop of turns with think time.

A conversation begins when the script says, however slow the target is, and every latency counts from when its request
ought to have left, so nothing the target does can slow the load down or hide what it cost (coordinated omission).
"""

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from benchmarks.load.history import History
from benchmarks.load.record import Outcome, Record
from benchmarks.load.stream import StreamClient
from benchmarks.load.target import Target
from benchmarks.load.ticker import Alarms
from benchmarks.processes import raise_open_files
from benchmarks.workloads.script import Ask, Conversation, Script

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

OnRecord = Callable[[Record], None]


@dataclass(slots=True)
class Played:
    """`late_s`: how late the generator was itself with each of `records`, before it waited for any connection.
    `stages`: the measured window of each, in seconds since the run began.
    """

    started_at: datetime
    records: list[Record] = field(default_factory=list)
    wall_s: float = 0.0
    late_s: list[float] = field(default_factory=list)
    interrupted: bool = False
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)


async def play(
    script: Script,
    target: Target,
    *,
    on_sent: OnRecord | None = None,
    on_record: OnRecord | None = None,
) -> Played:
    """Returns when every request has its outcome, or at SIGINT or SIGTERM with what there is by then."""
    raise_open_files()
    began_s = time.monotonic()
    played = Played(datetime.now(UTC))
    client = StreamClient(target, began_s)
    alarms = Alarms(asyncio.get_running_loop())
    try:
        with _interruptible(played), _no_collector_pauses():
            player = _Player(client, alarms, began_s, played, on_sent or _ignore, on_record or _ignore)
            for stage in script.stages():
                await player.play(stage)
    finally:
        client.close()
        alarms.close()
        played.wall_s = time.monotonic() - began_s
    return played


class _Player:
    def __init__(
        self,
        client: StreamClient,
        alarms: Alarms,
        began_s: float,
        played: Played,
        on_sent: OnRecord,
        on_record: OnRecord,
    ) -> None:
        self._client = client
        self._alarms = alarms
        self.began_s = began_s
        self._played = played
        self._on_sent = on_sent
        self._on_record = on_record

    async def play(self, script: Script) -> None:
        """All times below are seconds since the run began."""
        begin_s = time.monotonic() - self.began_s
        stage = _Stage(self, script.name, begin_s + script.start_s, begin_s + script.end_s)
        self._played.stages[script.name] = (stage.start_s, stage.end_s)
        async with asyncio.TaskGroup() as group:
            for conversation in sorted(script.conversations, key=lambda each: each.arrival_s):
                if conversation.arrival_s >= script.end_s:
                    break
                due_s = begin_s + conversation.arrival_s
                await self.until(due_s)
                group.create_task(stage.converse(conversation, due_s))

    async def until(self, due_s: float) -> None:
        await self._alarms.until(self.began_s + due_s)

    async def ask(self, ask: Ask, record: Record, history: History | None) -> None:
        body = ask.body if history is None else history.asking(ask.body)
        wire = self._client.wire(ask.path, body, record.conversation, stream=ask.stream)
        self._played.records.append(record)
        self._played.late_s.append(time.monotonic() - self.began_s - record.due_s)
        self._on_sent(record)
        text = await self._client.ask(wire, record, ask.leaves_after_s)
        if history is not None:
            history.answered(text)
        self._on_record(record)


@dataclass(frozen=True, slots=True)
class _Stage:
    player: _Player
    name: str
    start_s: float
    end_s: float

    async def converse(self, conversation: Conversation, due_s: float) -> None:
        """Turn after turn, until one has no good answer or would come after the end."""
        history = History() if conversation.remembers else None
        for turn, ask in enumerate(conversation.asks):
            due_s += ask.think_s if turn else 0.0
            if due_s >= self.end_s:
                return
            await self.player.until(due_s)
            measured = self.start_s <= due_s
            record = Record(
                conversation.name, turn, ask.label, ask.path, due_s, measured=measured, stage=self.name
            )
            await self.player.ask(ask, record, history)
            if record.outcome is not Outcome.ANSWERED or record.ended_s is None:
                return
            due_s = record.ended_s
            if ask.background:
                due_s = await self._in_background(ask.background, due_s)

    async def _in_background(self, conversations: tuple[Conversation, ...], answered_s: float) -> float:
        """When the last of them had ended."""
        async with asyncio.TaskGroup() as group:
            for each in conversations:
                group.create_task(self.converse(each, answered_s + each.arrival_s))
        return time.monotonic() - self.player.began_s


@contextlib.contextmanager
def _interruptible(played: Played) -> Iterator[None]:
    """A signal cancels what is under way in the block, and ends the block and no more."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def interrupt() -> None:
        if not played.interrupted:
            played.interrupted = True
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    except asyncio.CancelledError:
        if not played.interrupted or task.uncancel():
            raise
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _no_collector_pauses() -> Iterator[None]:
    """A script is millions of objects that stay: the collector leaves them out meanwhile."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _ignore(_: Record) -> None:
    pass
