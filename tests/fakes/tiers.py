"""A balancer in front of two tiers of its own and a provider, each a fake that says what it was asked."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tests.fakes.balancer import Front, balancing
from tests.fakes.client import chat
from tests.fakes.loops import until
from tests.fakes.replica import Replica

KEY = "provider-key"


class Tiered:
    """`small` serves `s`, `large` serves `l`; `hosted` is a provider that serves `p`."""

    def __init__(
        self, front: Front, small: Replica, large: Replica, hosted: Replica, given: dict[str, Any]
    ) -> None:
        self.front, self.small, self.large, self.hosted = front, small, large, hosted
        self._given = given

    async def ask(self, body: Any = None, **request: Any) -> Any:
        return await self.front.ask(chat(model="auto") if body is None else body, **request)

    def asked(self) -> list[str]:
        """The models that were asked for at small, large and hosted."""
        return [post.json()["model"] for r in (self.small, self.large, self.hosted) for post in r.posts]

    async def choose(self, virtual_models: Any) -> None:
        """Other virtual models hold; all else stays."""
        await self.front.reload(self.small, self.large, **self._given | {"virtual_models": virtual_models})

    def state(self, name: str) -> Any:
        return next(state for state in self.front.fleet if state.id == name)


def settings(virtual_models: Any, **hosted: Any) -> dict[str, Any]:
    return {
        "tiers": {
            "small": {"model": "s", "usd_per_mtok": {"input": 1, "output": 2}},
            "large": {"model": "l", "usd_per_mtok": {"input": 10, "output": 20}},
            "hosted": {
                "model": "p",
                "api_key_env": "HOSTED_API_KEY",
                "usd_per_mtok": {"input": 100, "output": 200, "cached_input": 10},
                **hosted,
            },
        },
        "virtual_models": virtual_models,
    }


@contextlib.asynccontextmanager
async def tiered(
    virtual_models: Any = None,
    hosted: dict[str, Any] | None = None,
    twins: Sequence[Replica] = (),
    **more: Any,
) -> AsyncIterator[Tiered]:
    """`twins` are further replicas. By default `auto` is the small tier, with the large one and the provider behind it for all
    troubles.
    """
    made = [
        await Replica(name, model=model).start()
        for name, model in (("r-small", "s"), ("r-large", "l"), ("r-hosted", "p"))
    ]
    small, large, provider = made
    chosen = settings(
        virtual_models or {"auto": {"tiers": ["small"], "fallback": ["large", "hosted"]}},
        url=f"{provider.url}/v1",
        **(hosted or {}),
    )
    try:
        async with balancing(small, large, *twins, wait_for=None, **chosen, **more) as front:
            own = [state for state in front.fleet if not state.external]
            await until(lambda: all(state.health == "healthy" and state.models for state in own))
            yield Tiered(front, small, large, provider, {**chosen, **more})
    finally:
        for replica in made:
            await replica.stop()
