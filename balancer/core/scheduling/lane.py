"""One replica as predicted_latency sees it: what is on it and before it, and what that costs a newcomer in seconds.

Prices change with what happens there, not with who asks, so they are kept until something does.
"""

from collections import deque
from dataclasses import dataclass
from math import exp, log1p

from balancer.core.fleet.meter import Mark, Meter
from balancer.core.fleet.replica import SAMPLE_MAX_AGE_S, ReplicaState
from balancer.core.fleet.speed import BUDGET_TOKENS, Speed
from balancer.core.scheduling.charge import Charge
from balancer.core.scheduling.waiting import Waiting
from balancer.core.types import EngineSample, RequestView

INFLICTED = 0.05
"""How much a second that a stream stalls weighs against a second of waiting for a first token."""
DECODE = 0.03
"""The same of a second that decoding takes longer."""
OPEN_S = 0.5
"""More backlog than this on a replica keeps no step of it fuller."""
CROWDED = 0.05
"""Memory and seats begin to be scarce that far before their end: traffic fluctuates."""
SEATS_WEIGHT = 3.0
"""A seat is waited for by all that come after, as well."""
WORKED_OFF = 0.8
"""Of the time since the last first token, what counts as prefill: the rest was decoding."""
MOST_WORKED_OFF = 0.95
"""A prompt whose first token has not come has at least so much before it."""
LATE = 1.25
"""An answer that does not stream is taken to have had its first token after so many times the predicted TTFT."""
OVERDUE = 1.5
"""A replica of which nothing is heard for so many times what was expected is believed to need as long again as it is late,"""
MOST_OVERDUE_S = 60.0
"""up to this."""
FIRST_SEATS = 256
"""vLLM's smaller default of max_num_seqs (vllm/engine/arg_utils.py; 1,024 on GPUs of 70 GiB and more). Where more run than
are believed to fit, twice as many are believed to, until the batch is seen to be full.
"""
SEATS_SLACK = 1.02
"""So many times the seats may be sent, so that a number that was read too low shows."""
FEWEST_SEATS = 8
"""Fewer that run say nothing: a batch is small while a long prompt is prefilled, too."""
FULL_READINGS = 3
"""So many readings in a row must show a full batch."""
FULL = 0.98
"""Above this KV-cache usage, what is sent waits in the engine for memory."""
ROOMY = 0.95
"""Below this KV-cache usage, a request that waits in the engine waits for a seat."""
REPRICED_S = 1.0
RECENT_S = 60.0
FEWEST_TOKENS = 8
"""The time per token of a shorter answer is mostly chance."""
BINS = 24


@dataclass(slots=True)
class Sent:
    """What the lane remembers of an attempt: the work before its first token, the context that it decodes with, and how long
    its answer was expected to be. `mark` is of when it was sent, then of its first token.
    """

    mark: Mark
    ahead_tokens: float
    context_tokens: float
    output_tokens: float


class Lane:
    """`load_s` is one step there, `per_output_s` what each token of a newcomer's answer adds, `backlog_s` what each token of
    backlog does, `prefill_s` and `attention_s` what each of its own does (the latter times its context), `harm` what a second
    of its prefill costs the others. They hold until `stale`, a new reading, or `due_s`.
    """

    __slots__ = (
        "_believed",
        "_drain",
        "_full_readings",
        "_head_since_s",
        "_head_tokens",
        "_heard_s",
        "_prompt_tokens",
        "_queue",
        "_recent",
        "_recent_s",
        "_sent",
        "_silent",
        "_unheard",
        "_used_tokens",
        "attention_s",
        "backlog_s",
        "capacity_tokens",
        "due_s",
        "evicted",
        "harm",
        "load_s",
        "meter",
        "models",
        "per_output_s",
        "prefill_s",
        "replica",
        "sample",
        "seats",
        "speed",
        "stale",
        "waiting",
        "waiting_tokens",
    )

    def __init__(self, replica: ReplicaState, speed: Speed) -> None:
        self.replica = replica
        self.speed = speed
        self.models = replica.models
        self.meter = Meter()
        self.capacity_tokens: int | None = None
        self.seats = FIRST_SEATS
        self.sample: EngineSample | None = None
        self.waiting: dict[Waiting, None] = {}
        self.waiting_tokens = [0] * BINS
        self.evicted = 0.0
        self.stale = True
        self.due_s = float("inf")
        self._queue: dict[Charge, None] = {}
        self._silent: deque[tuple[float, Charge]] = deque()
        self._sent: dict[Charge, Sent] = {}
        self._head_since_s = 0.0
        self._heard_s = 0.0
        self._prompt_tokens = 0
        self._recent = 0.0
        self._recent_s = 0.0
        self._full_readings = 0
        self._used_tokens: float | None = None  # by the last reading, and what was sent and has ended since
        self._unheard: dict[Charge, None] = {}  # taken to decode, without a sign of it

    # -- prices

    def refresh(self, now: float) -> None:
        """Price it anew, if anything happened, or nothing did for a while."""
        due = now >= self.due_s
        while self._silent and self._silent[0][0] <= now:
            _, charge = self._silent.popleft()
            if charge in self._queue:
                charge.prefilled()
                self._prefilled(charge, now)
                self._unheard[charge] = None
        replica = self.replica
        if replica.sample is not self.sample:
            self._read(replica.sample)
        elif not self.stale and not due:
            return
        self.stale = False
        self.due_s = now + REPRICED_S
        if self._silent:
            self.due_s = min(self.due_s, self._silent[0][0])
        if self.sample is not None and now - self.sample.taken_at > SAMPLE_MAX_AGE_S:
            self._used_tokens = None
        speed = self._believed = self.speed.believed(now)
        load = replica.load(now)
        step_s = speed.step_s(load, self._prompt_tokens)
        self.load_s = step_s
        self.prefill_s = speed.prefill
        self.attention_s = speed.attention
        self.backlog_s = speed.prefill + step_s / BUDGET_TOKENS
        self.per_output_s = step_s * (DECODE + self._memory_wait() + SEATS_WEIGHT * self._seat_wait(load))
        self.harm = INFLICTED * load + self.evicted
        self._drain = WORKED_OFF / speed.prefill
        head = next(iter(self._queue)).uncached_tokens if self._queue else replica.pending_tokens
        self._head_tokens = MOST_WORKED_OFF * head

    def recent(self, now: float) -> float:
        """Requests sent there in the last RECENT_S or so."""
        return self._recent * exp((self._recent_s - now) / RECENT_S) if self._recent else 0.0

    def overdue_s(self, now: float) -> float:
        """How late the next sign of life is: a replica that hangs must not go on looking idle. Streams that decode give none."""
        if not self._queue and not self._unheard:
            return 0.0
        charge = next(iter(self._queue or self._unheard))
        predicted_s = charge.predicted_s or 0.0
        if charge not in self._queue:
            predicted_s += self._sent[charge].output_tokens * self.load_s
        late_s = now - max(self._heard_s, charge.sent_at) - OVERDUE * predicted_s
        return min(max(0.0, late_s), MOST_OVERDUE_S)

    def backlog(self, now: float) -> float:
        """Prompt tokens before a newcomer on the replica. What was worked off since the last first token is of the prompt at
        the head: had more been done, its own first token would have come.
        """
        pending = self.replica.pending_tokens
        if not pending:
            return 0.0
        return pending - min((now - self._head_since_s) * self._drain, self._head_tokens)

    def open(self, now: float) -> bool:
        """Whether one more is better off there than waiting here."""
        in_flight = self.replica.in_flight
        if not in_flight:
            return True
        if self.replica.at_limit:
            return False
        if in_flight >= self.seats * SEATS_SLACK or self._full():
            return False
        return self.backlog(now) * self.prefill_s < OPEN_S

    def ahead_tokens(self, uncached_tokens: int, waiting: Waiting | None) -> int:
        """The work of those that wait here for the replica and would go before such a request."""
        tokens = sum(self.waiting_tokens[: _bin(uncached_tokens) + 1])
        if waiting is not None and waiting in self.waiting:
            tokens -= waiting.decision.uncached_tokens
        return max(0, tokens)

    def predicted_s(self, request: RequestView, matched_tokens: int, now: float) -> float:
        """TTFT, if it is sent now."""
        speed = self._believed
        uncached = request.prompt_tokens - matched_tokens
        return (
            speed.request
            + self.load_s
            + self.backlog_s * (self.backlog(now) + uncached)
            + speed.attention * uncached * (matched_tokens + uncached / 2)
        )

    def busy_s(self, prompt_tokens: int, matched_tokens: int, output_tokens: float) -> float:
        """How much longer the replica computes for such a request: its prefill, and what its answer adds to steps that are
        taken anyway.
        """
        speed = self._believed
        uncached = prompt_tokens - matched_tokens
        prefill_s = speed.prefill + speed.attention * (matched_tokens + uncached / 2)
        token_s = speed.sequence + speed.context * (prompt_tokens + output_tokens / 2)
        return uncached * prefill_s + output_tokens * token_s

    def _memory_wait(self) -> float:
        """How long memory is waited for, as a share of an answer's time: what is lacking over what is given back."""
        used = self._used_tokens
        if used is None or used <= 0 or self.capacity_tokens is None:
            return 0.0
        return self.capacity_tokens * _shortage(used / self.capacity_tokens - 1) / used

    def _full(self) -> bool:
        """Whether the engine would let a request wait for memory."""
        if self._used_tokens is None or self.capacity_tokens is None:
            return False
        return self._used_tokens > FULL * self.capacity_tokens

    def _seat_wait(self, load: float) -> float:
        """The same of a seat in the batch."""
        seats = min(self.seats, self.replica.max_in_flight or self.seats)
        return seats * _shortage((load + 1) / seats - 1) / max(load, 1)

    def _read(self, sample: EngineSample | None) -> None:
        """What a reading tells of memory and seats."""
        before, self.sample = self.sample, sample
        if sample is None:
            return
        self._used_tokens = None
        # of what the engine says that it has, even if its GPU can't hold that now
        told = sample.kv_capacity_tokens or self.capacity_tokens
        if sample.kv_usage is not None and told is not None:
            self._used_tokens = sample.kv_usage * told
        if sample.running is not None:
            self._count_seats(sample, sample.running, before)

    def _count_seats(self, sample: EngineSample, running: float, before: EngineSample | None) -> None:
        """The batch is full where requests go on waiting although there is memory, and the same number goes on running."""
        full = (
            bool(sample.waiting)
            and running >= FEWEST_SEATS
            and sample.kv_usage is not None
            and sample.kv_usage < ROOMY
            and before is not None
            and before.running == running
        )
        self._full_readings = self._full_readings + 1 if full else 0
        if running > self.seats:
            self.seats = 2 * int(running)
        elif self._full_readings >= FULL_READINGS:
            self.seats = int(running)

    # -- what happens

    def joins(self, waiting: Waiting) -> None:
        self.waiting[waiting] = None
        tokens = waiting.decision.uncached_tokens
        self.waiting_tokens[_bin(tokens)] += tokens

    def leaves(self, waiting: Waiting) -> None:
        if waiting in self.waiting:
            del self.waiting[waiting]
            tokens = waiting.decision.uncached_tokens
            self.waiting_tokens[_bin(tokens)] -= tokens

    def sent(self, charge: Charge, output_tokens: float, now: float) -> None:
        request = charge.request
        self._recent, self._recent_s = self.recent(now) + 1, now
        if self.replica.pending_tokens == charge.pending_tokens:
            self._head_since_s = now
        if request.prompt_tokens:
            self._queue[charge] = None
        else:
            charge.prefilled()  # a socket, a form, a route that computes nothing: no prefill to wait for
        self._prompt_tokens += request.prompt_tokens
        context_tokens = request.prompt_tokens + output_tokens / 2
        if self._used_tokens is not None:
            self._used_tokens += charge.uncached_tokens + output_tokens / 2
        self.stale = True
        self.refresh(now)
        self._sent[charge] = Sent(self.meter.mark(now), self.backlog(now), context_tokens, output_tokens)
        if not request.stream and request.route.generates and charge.predicted_s is not None:
            self._silent.append((now + LATE * charge.predicted_s, charge))
            self.due_s = min(self.due_s, self._silent[0][0])

    def first_token(self, charge: Charge, now: float) -> None:
        sent = self._sent.get(charge)
        if sent is None or not charge.request.prompt_tokens:
            return
        self._heard_s = now
        self._prefilled(charge, now)
        passed = self.meter.since(sent.mark, now)
        if passed.prefilled_tokens:
            share = min(1.0, sent.ahead_tokens / passed.prefilled_tokens)
            own = passed._replace(prefilled_tokens=sent.ahead_tokens, attention=passed.attention * share)
            self.speed.saw_answer(own, 1, now)
        sent.mark = self.meter.mark(now)

    def ended(self, charge: Charge, now: float) -> None:
        sent = self._sent.get(charge)
        if sent is None:
            return
        self._learn(charge, sent, now)
        del self._sent[charge]
        self._prompt_tokens -= charge.request.prompt_tokens
        if self._used_tokens is not None:
            self._used_tokens -= charge.uncached_tokens + sent.output_tokens
        self._unheard.pop(charge, None)
        self.stale = True
        self._heard_s = now

    def _learn(self, charge: Charge, sent: Sent, now: float) -> None:
        """What the end of an attempt tells of the replica's speed."""
        if not charge.request.prompt_tokens:
            return
        decoded = charge not in self._queue
        if not decoded and charge.usage is not None and not charge.request.route.generates:
            self.first_token(charge, now)  # an embedding is all prefill
            decoded = True
        self._queue.pop(charge, None)
        if decoded:
            self.meter.decodes_no_more(sent.context_tokens, now)
        passed = self.meter.since(sent.mark, now)
        tokens = charge.output_tokens
        if charge.first_token_at is not None:
            if tokens > FEWEST_TOKENS:
                self.speed.saw_tokens(passed, tokens - 1, now)
        elif tokens and decoded:
            self.speed.saw_answer(passed, tokens, now)

    def _prefilled(self, charge: Charge, now: float) -> None:
        if charge not in self._queue:
            return
        del self._queue[charge]
        self._head_since_s = now
        self.stale = True
        self.meter.prefilled(charge.uncached_tokens, charge.matched_tokens)
        self.meter.decodes(self._sent[charge].context_tokens, now)


def _shortage(over: float) -> float:
    """A smooth max(0, over): what is short on average, when demand fluctuates by CROWDED."""
    scaled = over / CROWDED
    return CROWDED * log1p(exp(min(scaled, 50.0))) if scaled > -8 else 0.0


def _bin(tokens: int) -> int:
    """Sizes by powers of two."""
    return min(BINS - 1, tokens.bit_length())
