"""One attempt: a request sent to one replica, its answer held back or relayed.

Held back until it is worth the client's while: a stream until its first data event (vLLM sends 200 and headers
before prefill, and may report overload as the first event), a JSON answer until it is whole or large. Up
to there another replica can take over unseen. From then on (`committed`) the bytes of the answer go to the client's
transport as they come; nothing is ever replayed.

Of a stream only whole events are given, so that wherever it breaks the client stands between two of them, and another replica
may go on from there (`leg`). An event that tells of a dead engine is kept from the client and ends the attempt.

There is no task and no queue here. The connection calls in from the event loop; the handler sleeps on `waiting()` and
is woken only for the end of the answer, or to wait for a client that is slower than the replica.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic

from balancer.core.types import Usage
from balancer.forwarding.client import HIGH_WATER_BYTES, ClientSide
from balancer.forwarding.ended import Ended, Signal
from balancer.forwarding.framing import BODILESS, framing, without_line_ends
from balancer.forwarding.headers import is_encoded, phrase, response_head, retry_after_s, told_by_strangers
from balancer.forwarding.leg import WHOLE, Leg
from balancer.forwarding.manners import OWN, Manners
from balancer.forwarding.sse import SseScanner, before_death
from balancer.forwarding.timing import Gaps, Timing
from balancer.vllm_api.answers import is_aborted

HOLD_BYTES = 256 * 1024
"""An answer larger than this is relayed before it is whole."""

_TAIL_BYTES = 8
_CONTROLS = bytes(range(0x20)) + b"\x7f"
"""What llhttp lets pass in a reason, and HTTP does not."""


class Exchange:
    __slots__ = (
        "_client",
        "_gaps",
        "_held",
        "_held_bytes",
        "_last",
        "_leg",
        "_loop",
        "_on_id",
        "_on_token",
        "_opaque",
        "_pieces",
        "_raw_bytes",
        "_reframe",
        "_tail",
        "_waiter",
        "_withheld",
        "aborted",
        "added",
        "body_bytes",
        "committed",
        "congested",
        "delimited_by_close",
        "ended",
        "headers",
        "heard_at",
        "length",
        "manners",
        "reason",
        "scanner",
        "status",
        "timing",
        "token_at",
    )

    def __init__(
        self,
        client: ClientSide,
        loop: asyncio.AbstractEventLoop,
        on_token: Callable[[float], None],
        on_id: Callable[[str], None] | None = None,
        leg: Leg = WHOLE,
        gaps: Gaps | None = None,
        manners: Manners = OWN,
        added: bytes = b"",
    ) -> None:
        """`on_token` gets the time of a stream's first generated token, `on_id` its answer's id; `added`: lines for the head."""
        self._client = client
        self._loop = loop
        self._on_token = on_token
        self._on_id = on_id
        self._gaps = gaps
        self._leg = leg
        self.manners = manners
        self.added = added
        self._waiter: asyncio.Future[Signal] | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._pieces: list[bytes] | None = None
        self._reframe = False
        self._opaque = False  # a stream that can't be looked into: nothing is gained by holding it
        self._last = b""
        self._raw_bytes = 0
        self._tail: bytes | bytearray = b""  # of a stream: the event that is not whole yet
        self._withheld: bytes | None = None  # the event that told of the stream's end
        self.aborted = False  # the engine gave the request up
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.length: int | None = None  # Content-Length
        self.scanner: SseScanner | None = None
        self.heard_at = loop.time()
        self.timing = Timing()
        self.committed = False
        self.congested = False
        self.delimited_by_close = False
        self.ended: Ended | None = None
        self.body_bytes = 0
        self.token_at: float | None = None

    def __repr__(self) -> str:
        state = self.ended.value if self.ended else "relaying" if self.committed else "holding"
        return f"<Exchange {self.status or 'no answer'} {state}, {self.body_bytes} body bytes>"

    # -- for the handler

    def waiting(self) -> asyncio.Future[Signal]:
        """To be awaited: done when the answer has ended, or the client has fallen behind."""
        waiter = self._waiter = self._loop.create_future()
        if self.ended is not None:
            waiter.set_result(Signal.ENDED)
        elif self.congested:
            waiter.set_result(Signal.CONGESTED)
        return waiter

    @property
    def said(self) -> int | None:
        """The status that the answer stands for: that of an error event, if a stream began with one."""
        scanner = self.scanner
        return scanner.error_code if scanner is not None and scanner.failed else self.status

    @property
    def retryable(self) -> bool:
        """Whether this answer says that another replica may do better."""
        if self.scanner is not None and self.scanner.failed:
            return self.scanner.deadly or self.said in self.manners.retryable
        return self.aborted or self.status in self.manners.retryable or self.too_long

    @property
    def backpressure(self) -> bool:
        """The replica is busy, which is not a fault."""
        return self.said in self.manners.busy

    @property
    def too_long(self) -> bool:
        """The prompt is too long for the model, and others stand behind it."""
        return self.manners.too_long and self.manners.finds_too_long(self.status, self.held_body)

    @property
    def kept(self) -> bool:
        """A good answer, held whole, that is for who waits for it to give."""
        return not self.committed and self.ended is Ended.ANSWERED and self._is_kept and not self.aborted

    @property
    def _is_kept(self) -> bool:
        good = self.manners.kept and self.status == HTTPStatus.OK and self.scanner is None
        return good and not is_encoded(self.headers)

    @property
    def retry_after_s(self) -> float | None:
        """What the answer says of when to ask again, if it counts seconds."""
        return retry_after_s(self.headers)

    @property
    def held_body(self) -> bytes:
        """The body of an answer that was kept whole."""
        return b"".join(self._pieces or ())

    def usage(self) -> Usage | None:
        """What a stream told of its tokens, over all its legs."""
        splice = self._leg.splice
        if splice is not None:
            return splice.usage
        return None if self.scanner is None else self.scanner.usage()

    def commit(self, *, complete: bool = True) -> None:
        """Give the answer to the client, from its head on; `complete` if all of it is held."""
        self.committed = True
        if self.scanner is not None:
            events, self._held = b"".join(self._held), []
            splice = self._leg.splice
            # where there is a splice, the client has its head
            head = self._head() if splice is None else self._frame(splice.begin())
            self._give(events, head, complete=complete)
            return
        head = self._head()
        if self._reframe:
            body = b"".join(map(self._frame, self._pieces or ()))
            if complete:
                body += self._last_frame()
        else:
            body = b"".join(self._held)
        self._held.clear()
        self._write(head + body)

    def commit_as(self, body: bytes) -> None:
        """Give the client this body in the place of the one that is held whole."""
        self.length, self._reframe, self._held = len(body), False, [body]
        self.commit()

    def break_off(self, event: bytes | None) -> None:
        """The answer cannot be finished: say so in band where that is possible, and never end it tidily. What the replica itself
        said of it goes before `event`.
        """
        transport = self._client.transport
        scanner = self.scanner
        if event is not None and scanner is not None and not (scanner.skipping or transport.is_closing()):
            transport.write(self._frame(self._withheld or event))
        elif self.length is None and not self._client.http11:
            transport.abort()  # such an answer ends with its connection: only a reset tells that it broke
        transport.close()

    def finish(self, events: bytes) -> None:
        """What the client has is whole but for these last events."""
        if not self._client.transport.is_closing():
            self._client.transport.write(self._frame(events) + self._last_frame())

    # -- for the connection

    def on_head(self, status: int) -> None:
        self.status = status
        self.reason = self.reason.translate(None, _CONTROLS) or phrase(status)
        content_type = b""
        chunked = False
        for name, value in self.headers:
            low = name.lower()
            if low == b"content-length":
                self.length = int(value) if value.isdigit() else None
            elif low == b"content-type":
                content_type = value
            elif low == b"transfer-encoding":
                chunked = value.lower().endswith(b"chunked")
        if content_type.startswith(b"text/event-stream") and status == HTTPStatus.OK:
            if is_encoded(self.headers):
                self._opaque = True
            else:
                self.scanner = SseScanner()
                self.delimited_by_close = self.length is None and not chunked
                self.length = None  # events are framed anew
                return
        elif self.length is None and not content_type.startswith(b"application/json"):
            self._opaque = True
        self.delimited_by_close = self.length is None and not chunked and status not in BODILESS
        # the framing passes through as it is, unless the client or the replica cannot have it so
        self._reframe = self.delimited_by_close or (chunked and not self._client.http11)
        self._pieces = []

    def on_body(self, piece: bytes) -> None:
        self.body_bytes += len(piece)
        scanner = self.scanner
        if scanner is None:
            if self._pieces is not None:
                self._pieces.append(piece)
        else:
            if not self._tail:
                self._tail = piece
            elif isinstance(self._tail, bytes):
                self._tail = bytearray(self._tail + piece)
            else:
                self._tail += piece
            scanner.feed(piece)
            if self._on_id is not None and scanner.answer_id is not None:
                self._on_id(scanner.answer_id)
                self._on_id = None
            if self.token_at is None and scanner.token_seen:
                self.token_at = monotonic()
                self._on_token(self.token_at)

    def on_bytes(self, raw: bytes, *, complete: bool) -> None:
        """Body bytes as they came, after `on_body` has seen what is in them."""
        if self.scanner is not None:
            self._on_events(self.scanner, complete=complete)
            return
        if complete:
            raw = self._without_surplus(raw)
            if self.status == HTTPStatus.OK and not self.committed:
                self.aborted = is_aborted(self.held_body)
        self._raw_bytes += len(raw)
        self._last = raw if len(raw) >= _TAIL_BYTES else (self._last + raw)[-_TAIL_BYTES:]
        if self.committed:
            if self._reframe:
                pieces, self._pieces = self._pieces or (), []
                raw = b"".join(map(self._frame, pieces))
                if complete:
                    raw += self._last_frame()
            self._write(raw)
        else:
            if raw:
                self._held.append(raw)
                self._held_bytes += len(raw)
            if self._worth_sending(complete=complete):
                self.commit(complete=complete)
                if not complete:
                    self._pieces = [] if self._reframe else None
            elif self._held_bytes > HOLD_BYTES:  # no stream to go on with, and too long to be kept
                self.end(Ended.FAILED)
        if complete:
            self.end(Ended.ANSWERED)

    def end(self, how: Ended) -> None:
        if self.ended is None:
            self.ended = how
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(Signal.ENDED)

    # -- inside

    def _on_events(self, scanner: SseScanner, *, complete: bool) -> None:
        tail, pending = self._tail, 0 if complete else scanner.pending_bytes
        if not pending:
            events, self._tail = bytes(tail), b""
        elif pending == len(tail):
            events = b""
        else:
            events, self._tail = bytes(tail[:-pending]), tail[-pending:]
        self.aborted = scanner.aborted
        if not self.committed:
            self._held.append(events)
            self._held_bytes += len(events)
            if self._worth_sending(complete=complete):
                self.commit(complete=complete)
        elif scanner.deadly:
            self._stop_short(events)
            return
        elif events or complete:
            self._give(events, b"", complete=complete)
        if complete:
            self.end(Ended.ANSWERED)
        elif self._gaps is not None and scanner.token_seen:  # usage and the end mark come in the last read
            self._gaps.heard(scanner.events, self.heard_at)

    def _stop_short(self, events: bytes) -> None:
        sound, self._withheld = before_death(events)
        self._give(sound, b"", complete=False)
        self.end(Ended.FAILED)

    def _give(self, events: bytes, head: bytes, *, complete: bool) -> None:
        """Events for the client, behind a head if that is still due."""
        leg = self._leg
        if leg.tape is not None and events:
            leg.tape.feed(events)
        rewrite = leg.splice or leg.rewrite
        if rewrite is not None:
            events = rewrite.feed(events)
        data = self._frame(events) if events else b""
        if head:
            data = head + data
        if complete:
            data += self._last_frame()
        self._write(data)

    def _worth_sending(self, *, complete: bool) -> bool:
        if self._leg.splice is not None and self.scanner is None:
            return False  # no stream to go on with
        if self._held_bytes > HOLD_BYTES or (self._opaque and not self.retryable):
            return True
        scanner = self.scanner
        if scanner is None or complete:
            return complete and not self.retryable and not (self.manners.kept and self._is_kept)
        return scanner.data_seen and not ((scanner.failed or scanner.aborted) and self.retryable)

    def _write(self, data: bytes) -> None:
        transport = self._client.transport
        if not data or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > HIGH_WATER_BYTES and self.ended is None:
            self.congested = True
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(Signal.CONGESTED)

    def _head(self) -> bytes:
        status, headers, streams = self.status, self.headers, self.scanner is not None
        lines = framing(self._client, status, self.length, headers, streams=streams)
        told = headers if self.manners.own else told_by_strangers(headers)
        return response_head(status, self.reason, told, [self.added, *lines], self._client.request_id)

    def _frame(self, piece: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(piece), piece) if self._client.http11 and self.length is None else piece

    def _last_frame(self) -> bytes:
        return b"0\r\n\r\n" if self._client.http11 and self.length is None else b""

    def _without_surplus(self, raw: bytes) -> bytes:
        """`raw`, which holds the answer's end, up to that end: llhttp lets line ends follow it."""
        if self.status in BODILESS:
            return b""
        if self.length is not None:
            return raw[: self.length - self._raw_bytes]
        return raw if self.delimited_by_close else without_line_ends(raw, self._last)
