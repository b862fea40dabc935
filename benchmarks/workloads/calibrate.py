"""What a token is to a target: asked of its own `/tokenize`, the route that vLLM has."""

from typing import Any

import aiohttp
import msgspec

from balancer.embedded.words import WORDS
from benchmarks.workloads.texts import Template, Texts

_SAMPLE = " ".join(WORDS)
_LONGER = 5
_PATIENCE_S = 30.0


class _Count(msgspec.Struct):
    count: int


async def calibrate(url: str, model: str, api_key: str | None = None) -> Texts:
    """Words per token over every word there is, by the difference of two lengths, so that what is added once does not
    count; then what the chat template adds to each shape of prompt. A ValueError where the target has no such route.
    """
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:

        async def text(prompt: str) -> int:
            return await _count(session, url, {"model": model, "prompt": prompt, "add_special_tokens": False})

        async def chat(*roles: str) -> int:
            messages = [{"role": role, "content": _SAMPLE} for role in roles]
            return await _count(session, url, {"model": model, "messages": messages})

        short, long = await text(_SAMPLE), await text(" ".join([_SAMPLE] * _LONGER))
        alone, under_system = await chat("user"), await chat("system", "user")
        continued = await chat("user", "assistant", "user")
    if long <= short:
        raise ValueError(
            f"{url}/tokenize: expected a longer text to have more tokens, got {short} and {long}"
        )
    template = Template(alone - short, under_system - alone - short, continued - alone - 2 * short)
    return Texts((_LONGER - 1) * len(WORDS) / (long - short), template)


async def _count(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> int:
    try:
        async with session.post(f"{url.rstrip('/')}/tokenize", json=body) as response:
            answer = await response.read()
            if response.status != 200:
                raise ValueError(f"{url}/tokenize: expected status 200, got {response.status}")
            return msgspec.json.decode(answer, type=_Count).count
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ValueError(f"{url}/tokenize: cannot be asked: {error or type(error).__name__}") from None
    except msgspec.MsgspecError as error:
        raise ValueError(f"{url}/tokenize: expected a count of tokens: {error}") from None
