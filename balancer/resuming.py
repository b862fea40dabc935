"""One stream that another replica may go on with: what each replica is asked, and what became of what the client was given.

Facts and shapes are vLLM's (vllm_api/resume.py, tape.py, splice.py); here is only the order of things.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from balancer.core.types import RequestView
from balancer.forwarding.client import Outgoing
from balancer.forwarding.leg import Leg
from balancer.vllm_api.events import object_in
from balancer.vllm_api.resume import (
    CHAT_PATH,
    COMPLETIONS_PATH,
    going_on,
    includes_usage,
    is_sound,
    wants_ids,
    with_ids,
)
from balancer.vllm_api.routes import Route
from balancer.vllm_api.splice import Splice, WithoutIds, ending
from balancer.vllm_api.tape import Tape


class Broken(StrEnum):
    """What became of a stream whose replica was lost."""

    RESUMED = "resumed"  # another replica goes on with it
    ENDED = "ended"  # nothing was lacking but its end
    UNSOUND = "unsound"  # another replica could not go on with it
    STRANDED = "stranded"  # it could have, but none was there


@dataclass(frozen=True, slots=True)
class ResumePolicy:
    mode: Literal["off", "text", "exact"] = "text"
    sampled: bool = False


def resumable(
    route: Route, request: RequestView, outgoing: Outgoing, policy: ResumePolicy
) -> "Resumable | None":
    """The stream, if another replica might go on with it; most requests pay no more than this question."""
    if not request.stream or policy.mode == "off" or route.path not in {CHAT_PATH, COMPLETIONS_PATH}:
        return None
    return Resumable(route, request, outgoing, policy)


class Resumable:
    """`outgoing`, `request` and `leg` are what the next attempt sends, what is known of it, and its part of the stream."""

    def __init__(self, route: Route, request: RequestView, outgoing: Outgoing, policy: ResumePolicy) -> None:
        self.outgoing = outgoing
        self.request = request
        self.ending: bytes | None = None
        self._asked = outgoing
        self._seen = request
        self._chat = route.path == CHAT_PATH
        self._kind = route.kind
        self._policy = policy
        self._body: dict[str, Any] | None = None  # read when it is needed
        self._tape = Tape()
        rewrite = None
        if policy.mode == "exact" and (body := self._read()) is not None:
            self.outgoing = replace(outgoing, body=with_ids(body, outgoing.body))
            rewrite = None if wants_ids(body) else WithoutIds()
        self.leg = Leg(self._tape, rewrite)

    def broke(self, context_tokens: int | None) -> Broken:
        """The replica was lost after something was given. RESUMED: `leg` and the rest are those of a continuation now; ENDED:
        `ending` is what the client still lacks. `context_tokens`: the model's longest context, if known.
        """
        body = self._read()
        if body is None:
            return Broken.UNSOUND
        delivered = self._tape.delivered()
        rest = going_on(self._kind, body, delivered, context_tokens=context_tokens)
        if rest is None:
            return Broken.UNSOUND
        if rest.body is None:
            self.ending = ending(delivered, rest, chat=self._chat, usage=includes_usage(body))
            return Broken.ENDED
        self._tape.rewind(rest.text)
        splice = Splice(delivered, rest, chat=self._chat, ids=wants_ids(body))
        self.leg = Leg(self._tape, splice=splice)
        self.outgoing = replace(self._asked, target=rest.path.encode(), body=rest.body)
        tokens = self._seen.prompt_tokens + rest.delivered_tokens
        self.request = replace(self._seen, prompt_tokens=tokens, prompt_bytes=0)  # its usage teaches nothing
        return Broken.RESUMED

    def _read(self) -> dict[str, Any] | None:
        """The body, if a stream of it can be gone on with."""
        if self._body is None:
            body = object_in(self._asked.body)
            if body is None or not is_sound(self._kind, body, sampled=self._policy.sampled):
                return None
            self._body = body
        return self._body
