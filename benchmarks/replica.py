"""An embedded replica at reduced scale, as a process. `python -m benchmarks.replica --port P --profile NAME --scale S`.

At scale S every token stands for S: the model takes S times as long for each, remembers S times fewer, and computes as much
in a step as before. Times are those of the whole size, at S times less work for whoever makes, routes and reads tokens.
"""

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from balancer.embedded.engine import PROFILES, Profile
from balancer.embedded.options import ReplicaOptions
from balancer.embedded.server import run_replica

MODEL = "embedded-model"
MAX_NUM_BATCHED_TOKENS = 8192


def scaled_profile(profile: Profile, scale: int) -> Profile:
    """What grows with tokens times tokens of context costs `scale` times `scale`, as both are that many times fewer."""
    return replace(
        profile,
        base_s=profile.base_s * scale,
        prefill_s_per_token=profile.prefill_s_per_token * scale,
        attention_s_per_token_context=profile.attention_s_per_token_context * scale**2,
        decode_s_per_sequence=profile.decode_s_per_sequence * scale,
        decode_s_per_context_token=profile.decode_s_per_context_token * scale**2,
        kv_capacity_tokens=profile.kv_capacity_tokens // scale,
        max_model_len=profile.max_model_len // scale,
    )


@dataclass(frozen=True, slots=True)
class ScaledOptions(ReplicaOptions):
    scale: int = 1

    @property
    def hardware(self) -> Profile:
        return scaled_profile(PROFILES[self.profile], self.scale)


def main(
    port: Annotated[int, typer.Option()],
    profile: Annotated[str, typer.Option()],
    scale: Annotated[int, typer.Option(min=1)] = 1,
    kv_capacity_tokens: Annotated[int | None, typer.Option(help="Of the whole size.")] = None,
) -> None:
    """Serve until SIGTERM or SIGINT."""
    try:
        options = ScaledOptions(
            port=port,
            model=MODEL,
            profile=profile,
            scale=scale,
            kv_capacity_tokens=kv_capacity_tokens and kv_capacity_tokens // scale,
            max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS // scale,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    run_replica(options)


if __name__ == "__main__":
    typer.run(main)
