"""NVIDIA Dynamo's frontend. It can't stand before plain vLLM servers, so it comes with replicas of its own, Dynamo's mocker:
engines that pretend, by step times of their own. Some of their sockets listen on every address, so all are enclosed.
"""

from collections.abc import Callable

from benchmarks.peers.dynamo_model import write_model
from benchmarks.peers.enclosed import enclosing, require
from benchmarks.peers.environment import installed
from benchmarks.peers.peer import Peer, Place, Program, Tools
from benchmarks.peers.pins import DYNAMO
from benchmarks.replica import MAX_NUM_BATCHED_TOKENS

_BLOCK_TOKENS = 16
_MAX_MODEL_LEN = 32_768
_INNER_PORT = 8000
_LOOPBACK = ("TCP_RPC_HOST", "TCP_RESPONSE_STREAM_HOST", "EVENT_PLANE_HOST", "SYSTEM_HOST")


def find(mode: str) -> Callable[[Tools], Program]:
    def found(tools: Tools) -> Program:
        require()
        python = str(installed(tools, DYNAMO) / "python")

        def command(place: Place) -> list[str]:
            model = ["--model-path", str(write_model(place.folder / "model", _MAX_MODEL_LEN))]
            model += ["--model-name", place.model]
            environment = ["env", "HF_HUB_OFFLINE=1", "DO_NOT_TRACK=1", "DYN_LOG=warn"]
            environment += [f"DYN_{name}=127.0.0.1" for name in _LOOPBACK]
            environment += [f"DYN_FILE_KV={place.folder / 'store'}"]
            planes = ["--discovery-backend", "file", "--request-plane", "tcp", "--event-plane", "zmq"]
            mocker = [*environment, python, "-m", "dynamo.mocker", *model, *planes]
            mocker += ["--num-workers", str(len(place.upstreams)), "--block-size", str(_BLOCK_TOKENS)]
            mocker += ["--max-model-len", str(_MAX_MODEL_LEN), *_sizes(place)]
            frontend = [*environment, python, "-m", "dynamo.frontend", *planes, "--router-mode", mode]
            frontend += ["--kv-cache-block-size", str(_BLOCK_TOKENS)]
            frontend += ["--http-host", "127.0.0.1", "--http-port", str(_INNER_PORT)]
            return enclosing(place.port, _INNER_PORT, [mocker, frontend], place.folder / "programs.jsonl")

        return Program(command, DYNAMO.version)

    return found


def _sizes(place: Place) -> list[str]:
    sizes = ["--speedup-ratio", f"{1 / place.scale:g}"]
    sizes += ["--max-num-batched-tokens", str(MAX_NUM_BATCHED_TOKENS // place.scale)]
    if place.kv_capacity_tokens is not None:
        blocks = place.kv_capacity_tokens // place.scale // _BLOCK_TOKENS
        sizes += ["--num-gpu-blocks-override", str(blocks)]
    return sizes


PEERS = (
    Peer("dynamo/kv", find("kv"), modelled_by="dynamo_cost", own_replicas=True),
    Peer("dynamo/round-robin", find("round-robin"), modelled_by="round_robin", own_replicas=True),
)
