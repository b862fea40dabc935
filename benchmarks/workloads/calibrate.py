"""What a token is to a target: asked of its own `/tokenize`, the route that vLLM has."""

from typing import Any

import aiohttp
import msgspec

from benchmarks.workloads.texts import Template, Texts, spell

_SHORT_WORDS, _LONG_WORDS = 64, 1_088
_PATIENCE_S = 30.0


class _Count(msgspec.Struct):
    count: int


async def calibrate(url: str, model: str, api_key: str | None = None) -> Texts:
    """Words per token by the difference of two lengths, so that what is added once does not count; then what the chat
    template adds to each shape of prompt. A ValueError where the target has no such route.
    """
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:

        async def text(words: int) -> int:
            prompt = spell("sample", words)
            return await _count(session, url, {"model": model, "prompt": prompt, "add_special_tokens": False})

        async def chat(*roles: str) -> int:
            messages = [{"role": role, "content": spell("sample", _SHORT_WORDS)} for role in roles]
            return await _count(session, url, {"model": model, "messages": messages})

        short, long = await text(_SHORT_WORDS), await text(_LONG_WORDS)
        alone, under_system = await chat("user"), await chat("system", "user")
        continued = await chat("user", "assistant", "user")
    if long <= short:
        raise ValueError(
            f"{url}/tokenize: expected a longer text to have more tokens, got {short} and {long}"
        )
    template = Template(alone - short, under_system - alone - short, continued - alone - 2 * short)
    return Texts((_LONG_WORDS - _SHORT_WORDS) / (long - short), template)


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
