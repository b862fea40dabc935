"""Whether a request is sent now, waits, or is refused, and in which order those go that wait."""

from balancer.core.admission.limits import Limits
from balancer.core.admission.line import Line

__all__ = ["Limits", "Line"]
