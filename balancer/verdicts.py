"""What the end of an attempt says: of its replica's health, and for the request's record."""

import logging
from http import HTTPStatus
from time import monotonic

from balancer.accounting.metrics import Metrics
from balancer.accounting.record import Record
from balancer.core.decider import Decider
from balancer.core.fleet.pins import ResponsePins
from balancer.core.fleet.replica import ReplicaState
from balancer.forwarding.ended import Ended
from balancer.forwarding.exchange import Exchange
from balancer.vllm_api.answers import read_answer, tells_of_death
from balancer.vllm_api.routes import Route

log = logging.getLogger("balancer.requests")


class Verdicts:
    def __init__(self, decider: Decider, metrics: Metrics, pins: ResponsePins) -> None:
        self._decider = decider
        self._metrics = metrics
        self._pins = pins

    def judge(self, route: Route, record: Record, replica: ReplicaState, exchange: Exchange) -> None:
        ended = exchange.ended
        assert ended is not None
        self._metrics.attempted(replica.id, record.reason, ended)
        record.token_at = record.token_at or exchange.token_at
        timing = exchange.timing
        record.connected_s, record.asked_at, record.heard_at = (
            timing.connected_s,
            timing.sent_at,
            timing.begun_at,
        )
        if ended is Ended.ANSWERED:
            record.status = exchange.status
            self._read_answer(route, record, replica, exchange)
        elif exchange.committed:
            record.status, record.ended_by = exchange.status, "replica"
        attempt = record.trail[-1]
        attempt.asked_at, attempt.heard_at, attempt.token_at = (
            timing.sent_at,
            timing.begun_at,
            exchange.token_at,
        )
        attempt.outcome, attempt.status, attempt.usage = ended, exchange.said or None, record.usage
        self._judge_health(record, replica, exchange, ended)

    def _judge_health(self, record: Record, replica: ReplicaState, exchange: Exchange, ended: Ended) -> None:
        """Backpressure and the client's errors say nothing bad, nor does a model that is not there, or too small."""
        if exchange.backpressure:
            self._decider.declined(replica, monotonic(), exchange.retry_after_s)
        elif ended is not Ended.ANSWERED:
            if ended is not Ended.STALE:
                self._blame(replica, ended, refused=ended is Ended.REFUSED, dead=exchange.aborted)
        elif exchange.retryable and not exchange.too_long and exchange.status != HTTPStatus.NOT_FOUND:
            dead = exchange.aborted or tells_of_death(exchange.held_body)
            self._blame(replica, f"answered {exchange.status}", dead=dead)
        elif self._decider.answered(replica, monotonic(), sent_at=record.sent_at):
            log.info("replica %s is healthy", replica.id)

    def _blame(self, replica: ReplicaState, error: str, *, refused: bool = False, dead: bool = False) -> None:
        if self._decider.failed(replica, error, monotonic(), refused=refused, dead=dead):
            log.warning("replica %s is %s: %s", replica.id, replica.health, error)

    def _read_answer(self, route: Route, record: Record, replica: ReplicaState, exchange: Exchange) -> None:
        if exchange.scanner is not None:
            record.usage = exchange.usage()
            record.output_events = exchange.scanner.events
        elif route.kind.generates and exchange.status == 200:
            answer_id, record.usage = read_answer(exchange.held_body)
            if route.stores_response and answer_id is not None:
                self._pins.remember(answer_id, replica.id)
