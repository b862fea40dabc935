"""Metrics of the journal: whether it is whole."""

from collections.abc import Iterator
from typing import Protocol

from balancer.accounting.exposition import Samples, counter

_BYTES = counter("balancer_journal_bytes", "Bytes written to the journal.")
_LOST = counter(
    "balancer_journal_lost_events",
    "Events that the journal lacks, since the disk was full or too slow: what follows cannot be verified.",
)


class Written(Protocol):
    written_bytes: int
    lost_events: int


def collect(journal: Written | None) -> Iterator[Samples]:
    """No samples, where there is none."""
    kept = () if journal is None else (journal,)
    yield _BYTES, [((), each.written_bytes) for each in kept]
    yield _LOST, [((), each.lost_events) for each in kept]
