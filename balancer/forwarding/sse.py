"""A scanner beside a Server-Sent Events stream. Sans-I/O: body bytes in, at any split; what they told, out.

It watches, it never relays: bytes pass on whether or not it understood them, and where an event is too long to
keep, it gives up on that event alone. Lines end in LF or CRLF; U+2028 and its like are text.
Events are those of the WHATWG HTML standard, section 9.2.
"""

import re

from balancer.core.types import Usage
from balancer.vllm_api.answers import Event, classify_event, error_status, read_answer
from balancer.vllm_api.events import EVENT_END, payloads, split

MAX_EVENT_BYTES = 1024 * 1024
"""The first and the last event of a Responses stream repeat the request's instructions and tools."""

_USAGE = b'"usage"'
_USAGE_OBJECT = re.compile(rb'"usage"\s*:\s*\{')
_ERROR = b'"error"'
_ABORT = b'"abort"'


class SseScanner:
    __slots__ = (
        "_carry",
        "_usage_in",
        "aborted",
        "answer_id",
        "data_seen",
        "error_code",
        "events",
        "failed",
        "skipping",
        "token_seen",
    )

    def __init__(self) -> None:
        self.events = 0  # with data, behind the one that brought the first generated content
        self.data_seen = False  # an event with data came: more than comments and keep-alives
        self.token_seen = False  # generated content came: TTFT is over
        self.failed = False  # an error event came
        self.error_code: int | None = None
        self.aborted = False  # the engine gave the request up
        self.answer_id: str | None = None
        self._usage_in: bytes | None = None
        self.skipping = False  # within an event that is too long to be kept
        self._carry = bytearray()

    def feed(self, piece: bytes) -> None:
        carry = self._carry
        if carry or not piece.endswith(b"\n\n"):
            looked_at = max(0, len(carry) - 3)  # an event's end may have begun
            carry += piece
            end = _last_event_end(carry, looked_at)
            piece = bytes(carry[:end])
            del carry[:end]
            if len(carry) > MAX_EVENT_BYTES:
                self._skip()
                del carry[:-3]  # enough to see the end of the event that is skipped
        if self.skipping and piece:
            found = EVENT_END.search(piece)
            assert found is not None
            piece = piece[found.end() :]
            self.skipping = False
        if piece:
            self._events(piece)

    @property
    def pending_bytes(self) -> int:
        """How much of an event has come that is not whole yet; nothing of one that is too long to be kept."""
        return 0 if self.skipping else len(self._carry)

    @property
    def deadly(self) -> bool:
        """Whether the stream told of its own end: the engine is dead or stops, and what is lacking won't come from there."""
        return self.aborted or (self.failed and (self.error_code is None or self.error_code >= 500))

    def usage(self) -> Usage | None:
        """The usage of the last event that carried one."""
        if self._usage_in is None:
            return None
        found = None
        for data in payloads(self._usage_in):
            found = read_answer(data)[1] or found
        return found

    def _skip(self) -> None:
        """An event too long to look at: it is data, and only generated content grows like that."""
        self.skipping = self.data_seen = self.token_seen = True

    def _events(self, events: bytes) -> None:
        if _USAGE in events and _USAGE_OBJECT.search(events):
            self._usage_in = events
        counted = self.token_seen
        if counted:
            self.events += events.count(b"\ndata:") + events.startswith(b"data:")
            if _ERROR not in events and _ABORT not in events:
                return
        for data in payloads(events):
            if self.token_seen and not counted:
                self.events += 1 + data.count(b"\n")  # as above: by lines
            if not self.data_seen:
                self.data_seen = True
                self.answer_id = read_answer(data)[0]
            kind = classify_event(data)
            if kind is Event.TOKEN:
                self.token_seen = True
            elif kind is Event.ERROR:
                self.failed = True
                self.error_code = error_status(data)
            elif kind is Event.ABORT:
                self.aborted = True


def before_death(events: bytes) -> tuple[bytes, bytes | None]:
    """What comes before the event that tells of the stream's end, and that event, if it tells of an error."""
    sound: list[bytes] = []
    for event in split(events)[0]:
        probe = SseScanner()
        probe.feed(event)
        if probe.deadly:
            return b"".join(sound), event if probe.failed else None
        sound.append(event)
    return b"".join(sound), None


def _last_event_end(piece: bytearray, start: int) -> int:
    """Offset behind the last complete event, 0 if there is none; none ends before `start`."""
    return max(_after(piece, b"\n\n", start), _after(piece, b"\n\r\n", start))


def _after(piece: bytearray, mark: bytes, start: int) -> int:
    found = piece.rfind(mark, start)
    return found + len(mark) if found >= 0 else 0
