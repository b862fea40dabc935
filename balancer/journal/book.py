"""What a reader has to know to understand the next event: requests, plans, and what names and times mean."""

from typing import Any

from balancer.core.tiering.types import Plan
from balancer.core.types import Decision, EngineSample, ReplicaId, RequestView, RouteKind
from balancer.journal.chains import ChainReader
from balancer.journal.frames import Event
from balancer.journal.plans import PlanReader
from balancer.journal.scribe import EXACT, FOLLOWS, KEPT, SAMPLE_FIELDS, STREAM
from balancer.journal.tables import MOST_IDS, Named, Ticked

NOBODY: frozenset[ReplicaId] = frozenset()


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
        """A file begins: names and times are told anew."""
        ticked = Ticked()
        self.time, self.ago = ticked.time, ticked.ago
        self._names: Named[str] = Named(str)
        self.name = self._names.name
        self._ids: Named[bytes] = Named(bytes, MOST_IDS)
        self._chains = ChainReader()
        self._samples: dict[int, list[Any]] = {}

    def some(self, codes: list[Any]) -> frozenset[ReplicaId]:
        return frozenset(ReplicaId(self.name(code)) for code in codes) if codes else NOBODY

    def request(self, event: Event) -> None:
        _, number, route, model, flags, prompt_bytes, prompt_tokens, place, new, who, is_session, *rest = (
            event
        )
        name = self.name
        view = RequestView(
            RouteKind(name(route)),
            None if model is None else name(model),
            bool(flags & STREAM),
            self._chains.read(place, new),
            prompt_bytes,
            prompt_tokens,
            bool(flags & EXACT),
        )
        if who is not None:
            key = self._ids.name(who)
            if is_session:
                view.session = "#" + key.hex()
            else:
                view.conversation = key
        if flags & FOLLOWS:
            view.previous_response = ""
        if rest:
            tenant, view.priority, view.deadline, among = rest
            view.tenant = "" if tenant is None else name(tenant)
            view.among = None if among is None else self.some(among)
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

    def plan(self, event: Event) -> None:
        self.plans.plan(event, self._names, self._ids)

    def plan_of(self, number: int) -> Plan:
        return self.plans[number]
