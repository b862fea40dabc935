"""What headers say of a request's place in line: priority, deadline, tenant. What is no such value is ignored, as if not sent:
it is the replica's to refuse.
"""

import re
from collections.abc import Mapping, Sequence
from math import inf

from balancer.core.types import RequestView

PRIORITY_HEADER = "X-Vllm-Priority"
"""vLLM's own, and as there it overrides the `priority` of the body (its page on the OpenAI-compatible server)."""
MAX_TENANT_CHARS = 128

_WHOLE = re.compile(r"-?[0-9]{1,18}")


class Claims:
    def __init__(self, timeout_headers: Sequence[str], tenant_header: str | None) -> None:
        self._timeout_headers = timeout_headers
        self._tenant_header = tenant_header

    def read(self, view: RequestView, headers: Mapping[str, str], now: float) -> None:
        priority = headers.get(PRIORITY_HEADER)
        if priority is not None and _WHOLE.fullmatch(priority):
            view.priority = int(priority)
        for name in self._timeout_headers:
            text = headers.get(name)
            if text is not None:
                timeout_s = _seconds(text)
                view.deadline = None if timeout_s is None else now + timeout_s
                break
        view.tenant = self.tenant(headers, view.tenant)

    def tenant(self, headers: Mapping[str, str], key_name: str) -> str:
        """Who asks: whom the header names, else whose key was sent."""
        if self._tenant_header is None:
            return key_name
        return headers.get(self._tenant_header, key_name)[:MAX_TENANT_CHARS]


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 < seconds < inf else None
