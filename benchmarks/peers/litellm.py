"""LiteLLM's proxy, with no database and no callbacks."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.peers.environment import installed
from benchmarks.peers.peer import Peer, Place, Program, Tools
from benchmarks.peers.pins import LITELLM

_QUIET = ("env", "LITELLM_LOG=ERROR", "LITELLM_LOCAL_MODEL_COST_MAP=True")


def find(strategy: str) -> Callable[[Tools], Program]:
    def found(tools: Tools) -> Program:
        program = installed(tools, LITELLM) / "litellm"

        def command(place: Place) -> list[str]:
            config = place.folder / "litellm.yaml"
            config.write_text(json.dumps(litellm_config(place, strategy)), encoding="utf-8")  # JSON is YAML
            listen = ["--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"]
            return [*_QUIET, str(program), "--config", str(config), *listen]

        return Program(command, LITELLM.version)

    return found


def litellm_config(place: Place, strategy: str) -> dict[str, Any]:
    models = [
        {
            "model_name": place.model,
            "litellm_params": {
                "model": f"hosted_vllm/{place.model}",
                "api_base": f"{url}/v1",
                "api_key": "EMPTY",
            },
        }
        for url in place.upstreams
    ]
    return {
        "model_list": models,
        "router_settings": {"routing_strategy": strategy},
        "litellm_settings": {"request_timeout": 600},
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},  # on loopback only
    }


PEERS = (
    Peer("litellm/simple-shuffle", find("simple-shuffle"), modelled_by="random"),
    Peer("litellm/least-busy", find("least-busy"), modelled_by="least_requests"),
)
