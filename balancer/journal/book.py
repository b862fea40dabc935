"""What a reader has to know to understand the next event: requests, plans, chains and the last readings."""

from typing import Any

from balancer.core.types import Decision, EngineSample, RequestView, RouteKind
from balancer.journal.chains import ChainReader
from balancer.journal.frames import Event
from balancer.journal.plans import PlanReader
from balancer.journal.scribe import EXACT, FOLLOWS, KEPT, SAMPLE_FIELDS, STREAM


class Asked:
    """A request, and what was decided for it last."""

    __slots__ = ("decision", "number", "view")

    def __init__(self, number: int, view: RequestView) -> None:
        self.number = number
        self.view = view
        self.decision: Decision | None = None


class Book:
    def __init__(self) -> None:
        self.requests: dict[int, Asked] = {}
        self.plans = PlanReader()
        self.begin()

    def begin(self) -> None:
        """A file begins: chains and readings are told anew."""
        self._chains = ChainReader()
        self._samples: dict[int, list[Any]] = {}

    def request(self, event: Event) -> None:
        _, number, route, model, flags, prompt_bytes, prompt_tokens, place, new, who, is_session, *rest = (
            event
        )
        view = RequestView(
            RouteKind(route),
            model,
            bool(flags & STREAM),
            self._chains.read(place, new),
            prompt_bytes,
            prompt_tokens,
            bool(flags & EXACT),
        )
        if who is not None:
            if is_session:
                view.session = "#" + who.hex()
            else:
                view.conversation = who
        if flags & FOLLOWS:
            view.previous_response = ""
        if rest:
            view.tenant, view.priority, view.deadline, among = rest
            view.among = None if among is None else frozenset(among)
        self.requests.pop(number - KEPT, None)
        self.requests[number] = Asked(number, view)

    def sample(self, replica: int, taken_at: float, changed: int, told: list[Any]) -> EngineSample:
        """A reading, of which only what has changed since the replica's last one was written."""
        values = self._samples.setdefault(replica, [None] * len(SAMPLE_FIELDS))
        new = iter(told)
        for place in range(len(values)):
            if changed >> place & 1:
                values[place] = next(new)
        return EngineSample(taken_at, *values)
