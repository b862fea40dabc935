"""What a vLLM replica puts on the wire, as the benchmark's backend plays it. Shapes of vLLM 0.11's OpenAI server.

Client and backend share this file, so that the client knows to the byte what a right answer is.
"""

import json

MODEL = "m"
_CREATED = 1_760_000_000
_ID = "chatcmpl-0f3c9a6b7d5e4c218a90b1c2d3e4f506"
STREAM_END = b"data: [DONE]\n\n"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _chunk(delta: dict[str, str], finish_reason: str | None) -> bytes:
    choice = {
        "index": 0,
        "delta": delta,
        "logprobs": None,
        "finish_reason": finish_reason,
        "token_ids": None,
    }
    chunk = {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": MODEL,
        "choices": [choice],
    }
    return b"data: " + _json(chunk) + b"\n\n"


TOKEN_CHUNK = _chunk({"content": " balanced"}, None)
LAST_CHUNK = _chunk({"content": ""}, "stop")

ANSWER = _json(
    {
        "id": _ID,
        "object": "chat.completion",
        "created": _CREATED,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "A replica that holds the prefix. " * 4},
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": None,
            }
        ],
        "usage": {"prompt_tokens": 32, "total_tokens": 64, "completion_tokens": 32},
    }
)
MODELS = _json({"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 131_072}]})
VERSION = _json({"version": "0.11.0"})


def stream_bytes(chunks: int) -> int:
    """The body of a stream of `chunks` events and the end mark, without HTTP's own framing."""
    return (chunks - 1) * len(TOKEN_CHUNK) + len(LAST_CHUNK) + len(STREAM_END)


def metrics(running: int) -> bytes:
    labels = f'{{engine="0",model_name="{MODEL}"}}'
    config = (
        'block_size="16",cache_dtype="auto",enable_prefix_caching="True",engine="0",num_gpu_blocks="8192"'
    )
    return (
        f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{labels} {running}.0\n"
        f"# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{labels} 0.0\n"
        f"# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc{labels} 0.25\n"
        f"# TYPE vllm:prefix_cache_queries_total counter\nvllm:prefix_cache_queries_total{labels} 4096.0\n"
        f"# TYPE vllm:prefix_cache_hits_total counter\nvllm:prefix_cache_hits_total{labels} 1024.0\n"
        f"# TYPE vllm:cache_config_info gauge\nvllm:cache_config_info{{{config}}} 1.0\n"
        f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {_CREATED}.0\n"
    ).encode()
