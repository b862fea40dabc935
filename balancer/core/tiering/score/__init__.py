"""The bundled score: what it reads, and how it was fitted. MODEL_CARD.md says how far it can be trusted."""

from balancer.core.tiering.score.length import Length
from balancer.core.tiering.score.prior import Prior

__all__ = ["Length", "Prior"]
