"""The client that measures: sends requests to one target and fills their records, cheap enough for thousands of streams.

A request that was sent on a kept connection and got no byte before that connection was lost goes out once more on a
fresh one: closing an idle connection is a server's right (RFC 9112, 9.3.1).
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.load.answer import Answer, StreamedAnswer, WholeAnswer, in_few_words
from benchmarks.load.connection import Connection, End, Idle
from benchmarks.load.record import Outcome, Record
from benchmarks.load.target import Target, Wire

_REPLICA_HEADERS = {b"x-balancer-replica", b"x-gateway-destination-endpoint-served"}
_SHED = {429, 503}


class StreamConnection(Connection):
    def __init__(self) -> None:
        super().__init__()
        self.answer: Answer = WholeAnswer(is_json=False)
        self.end = End.LOST
        self.why = ""
        self._record = self._nobodys = Record("", 0, "", "", 0.0, measured=False)
        self._began_s = 0.0
        self._heard_s = 0.0
        self._kind = b""
        self._framed = False

    async def exchange(self, wire: bytes, record: Record, began_s: float, patience_s: float) -> None:
        """Fills `record` as bytes come, until the answer ends, or the connection, or the client's patience."""
        self._record, self._began_s = record, began_s
        self.answer = WholeAnswer(is_json=False)
        self._kind, self._framed = b"", False
        record.sent_s = time.monotonic() - began_s
        ended = self.send(wire)
        impatient = self.loop.call_later(patience_s, self.finish, End.SILENT)
        try:
            await ended
        finally:
            impatient.cancel()
            if not self.usable:
                self.abort()

    def data_received(self, data: bytes) -> None:
        self._heard_s = time.monotonic() - self._began_s
        super().data_received(data)

    def eof_received(self) -> None:
        """The end of an answer that has no length of its own."""
        if self._record.headers_s is not None and not self._framed:
            self.answer.close()
            self.finish(End.COMPLETE)

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-type":
            self._kind = value.lower()
        elif name in {b"content-length", b"transfer-encoding"}:
            self._framed = True
        elif name in _REPLICA_HEADERS:
            self._record.replica = value.decode("ascii", "replace")

    def on_headers_complete(self) -> None:
        record = self._record
        record.status = self.parser.get_status_code()
        record.headers_s = self._heard_s
        streamed = _is_success(record.status) and b"text/event-stream" in self._kind
        self.answer = StreamedAnswer() if streamed else WholeAnswer(is_json=b"json" in self._kind)

    def on_body(self, data: bytes) -> None:
        tokens = self.answer.feed(data)
        if tokens:
            self._record.token_s.extend([self._heard_s] * tokens)

    def on_message_complete(self) -> None:
        self.answer.close()
        super().on_message_complete()

    def on_end(self, end: End, why: str) -> None:
        """What comes after the end is nobody's."""
        self.end, self.why = end, why
        over = end is End.COMPLETE or self.answer.ended
        self._record.ended_s = self._heard_s if over else time.monotonic() - self._began_s
        self._record = self._nobodys


class StreamClient:
    """All clients of one target: idle connections are reused, and new ones opened when none is. Times count from `began_s`."""

    def __init__(self, target: Target, began_s: float) -> None:
        self._target = target
        self._wire = Wire(target)
        self._began_s = began_s
        self._idle: Idle[StreamConnection] = Idle()

    def wire(self, path: str, body: Mapping[str, Any], session: str, *, stream: bool) -> bytes:
        return self._wire.request(path, body, session, stream=stream)

    async def ask(self, wire: bytes, record: Record, leaves_after_s: float | None = None) -> str:
        """Sends and fills `record`; the text of the answer."""
        try:
            async with asyncio.timeout(leaves_after_s):
                return await self._answered(wire, record)
        except TimeoutError:
            self._ended(record, Outcome.LEFT)
            return ""

    def close(self) -> None:
        self._idle.close()

    async def _answered(self, wire: bytes, record: Record) -> str:
        connection = self._idle.take()
        if connection is not None:
            await connection.exchange(wire, record, self._began_s, self._target.patience_s)
            if connection.end is not End.LOST or record.status is not None:
                return self._judged(connection, record)
        try:
            async with asyncio.timeout(self._target.patience_s):
                connection = await self._open()
        except TimeoutError:
            self._ended(record, Outcome.TIMED_OUT, "cannot connect in time")
            return ""
        except OSError as error:
            self._ended(record, Outcome.FAILED, f"cannot connect: {in_few_words(error.strerror or error)}")
            return ""
        await connection.exchange(wire, record, self._began_s, self._target.patience_s)
        return self._judged(connection, record)

    def _judged(self, connection: StreamConnection, record: Record) -> str:
        self._idle.keep(connection)
        answer = connection.answer
        record.outcome, record.error = judge(record, connection.end, connection.why, answer)
        if record.status is not None and (usage := answer.usage) is not None:
            record.prompt_tokens, record.output_tokens = usage.prompt_tokens, usage.output_tokens
            record.cached_tokens = usage.cached_tokens
        return answer.text

    def _ended(self, record: Record, outcome: Outcome, error: str = "") -> None:
        record.outcome, record.error = outcome, error
        record.ended_s = time.monotonic() - self._began_s

    async def _open(self) -> StreamConnection:
        address = self._wire.address
        _, connection = await asyncio.get_running_loop().create_connection(
            StreamConnection, address.host, address.port, ssl=address.tls
        )
        return connection


def judge(record: Record, end: End, why: str, answer: Answer) -> tuple[Outcome, str]:
    """What became of a request whose exchange ended so, and why."""
    if end is End.SILENT:
        return Outcome.TIMED_OUT, "no end in time" if record.status is not None else "no answer in time"
    if record.status is None:
        return Outcome.FAILED, why
    if not _is_success(record.status):
        told = f": {answer.error}" if answer.error else ""
        return _of_status(record.status), f"status {record.status}{told}"
    if answer.error is not None:
        return _of_status(answer.error_status), answer.error
    if end is End.LOST and not answer.ended:
        return Outcome.FAILED, why
    if not answer.ended:
        return Outcome.FAILED, "no end mark"
    # the few tokens of a short answer may be no whole character, and then no text
    generated = answer.usage is not None and answer.usage.output_tokens
    if isinstance(answer, StreamedAnswer) and not record.token_s and not generated:
        return Outcome.FAILED, "no content"
    return Outcome.ANSWERED, ""


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _of_status(status: int | None) -> Outcome:
    if status in _SHED:
        return Outcome.SHED
    return Outcome.REFUSED if status is not None and 400 <= status < 500 else Outcome.FAILED
