"""How the answers of whoever is asked are read: which of them say that somebody else may do better.

A replica of our own answers for itself: 4xx is the client's fault, and 429 and the 5xx are not. A provider sees the balancer for
the client: that its key is refused, its quota spent or its model unknown is no fault of who asked us. Where another tier stands
behind, one that does not know the model, or whose context is too short, is passed over as well.
"""

from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus

from balancer.vllm_api.errors import is_too_long

_TOO_LONG = frozenset({400, 413, 422})
_SERVER_ERRORS = frozenset(range(500, 600))  # Cloudflare's and Anthropic's are no names of HTTP


@dataclass(frozen=True, slots=True)
class Manners:
    """Statuses: `retryable` of answers that another may better, `busy` of those that are no fault. `own`: of a replica of our
    own, whose head the client may see. `too_long`: another may better a prompt that is too long there. `kept`: a good answer,
    held whole, is not given by the exchange but by who waits for it.
    """

    retryable: frozenset[int] = frozenset({429, 500, 502, 503, 504})
    busy: frozenset[int] = frozenset({429, 503})
    own: bool = True
    too_long: bool = False
    kept: bool = False

    def finds_too_long(self, status: int, body: bytes) -> bool:
        """Whether such an answer says that the prompt needs another tier."""
        return status in _TOO_LONG and is_too_long(body)


OWN = Manners()
_PROVIDER = Manners(
    _SERVER_ERRORS | {401, 402, 403, 404, 407, 408, 429}, frozenset({402, 429, 503, 529}), own=False
)


@cache
def manners(*, external: bool, too_long: bool, kept: bool) -> Manners:
    return replace(_PROVIDER if external else OWN, too_long=too_long, kept=kept)


REFUSES_US = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}
)
"""Of a provider's answers: what it says of our key, which is nothing for the client to see."""
