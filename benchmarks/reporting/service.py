"""The service level that goodput is counted under, as `vllm bench serve --goodput` has it. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite

from benchmarks.load.record import Outcome, Record

_NAMES = ("ttft", "tpot", "e2el")


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """The most that each may take; None is no limit."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2el_ms: float | None = None

    @classmethod
    def parse(cls, text: str | Sequence[str]) -> "ServiceLevel | None":
        """`ttft:500 tpot:50`, in one text or in several; None where nothing is asked."""
        parts = " ".join([text] if isinstance(text, str) else text).split()
        limits: dict[str, float] = {}
        for part in parts:
            name, _, number = part.partition(":")
            if name not in _NAMES or name in limits:
                raise ValueError(
                    f"--goodput: expected each of {', '.join(_NAMES)} at most once, got {part!r}"
                )
            limits[name] = _milliseconds(number, part)
        return cls(**{f"{name}_ms": limit for name, limit in limits.items()}) if limits else None

    def met_by(self, record: Record) -> bool:
        """Only an answer can meet it. TPOT of an answer that has none (one token, or not streamed) counts as 0."""
        if record.outcome is not Outcome.ANSWERED:
            return False
        return (
            _within(record.ttft_s if record.token_s else record.e2e_s, self.ttft_ms)
            and _within(record.tpot_s or 0.0, self.tpot_ms)
            and _within(record.e2e_s, self.e2el_ms)
        )

    def facts(self) -> dict[str, float]:
        return {name: limit for name, limit in asdict(self).items() if limit is not None}


def _milliseconds(number: str, part: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not isfinite(value) or value < 0:
        raise ValueError(f"--goodput: expected NAME:MILLISECONDS, not negative, got {part!r}")
    return value


def _within(seconds: float | None, limit_ms: float | None) -> bool:
    return limit_ms is None or (seconds is not None and seconds * 1000 <= limit_ms)
