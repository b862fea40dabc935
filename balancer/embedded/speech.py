"""/v1/audio/transcriptions: a multipart form in, a text out that is a function of the file's bytes."""

from aiohttp import web

from balancer.embedded.prompts import Sampling, media_tokens
from balancer.embedded.replica import replica_of
from balancer.embedded.tokenizer import NEWLINE, TURN_START
from balancer.embedded.wire import InvalidBodyError, json_response

BYTES_PER_S = 32_000  # 16 kHz, 16 bit, one channel, whatever the file is
TOKENS_PER_S = 3
MAX_TOKENS = 448


async def transcribe(request: web.Request) -> web.Response:
    replica = replica_of(request)
    form = await request.post()
    upload, model = form.get("file"), form.get("model")
    if not isinstance(upload, web.FileField):
        raise InvalidBodyError("missing", "body.file", "Field required")
    replica.check_model(model if isinstance(model, str) else None)
    audio = upload.file.read()
    seconds = max(1, len(audio) // BYTES_PER_S)
    prompt_ids = [*media_tokens("audio", audio), TURN_START, NEWLINE]
    generation = replica.generate(
        [prompt_ids], Sampling(), max_tokens=min(MAX_TOKENS, TOKENS_PER_S * seconds)
    )
    await replica.finish(generation.batch)
    text = generation.choices[0].continuation.text
    if form.get("response_format") == "text":
        return web.Response(text=text)
    return json_response({"text": text, "usage": {"type": "duration", "seconds": seconds}})
