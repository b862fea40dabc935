"""Bodies for tests, and how they become bytes."""

from hypothesis import strategies as st

from balancer.core.request.prompt import canonical_prompt
from balancer.core.types import RouteKind

TEXT = st.text(max_size=20)
IMAGE = st.binary(min_size=1, max_size=6).map(
    lambda raw: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{raw.hex()}"}}
)
PART = TEXT.map(lambda text: {"type": "text", "text": text}) | IMAGE
CALL = st.builds(
    lambda call_id, name, arguments: {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    TEXT,
    TEXT,
    st.text(min_size=1, max_size=20),
)
USER = st.fixed_dictionaries({"role": st.just("user"), "content": TEXT | st.lists(PART, max_size=3)})
ASSISTANT = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": TEXT},
    optional={
        "tool_calls": st.lists(CALL, min_size=1, max_size=2),
        "reasoning": st.text(min_size=1, max_size=9),
    },
)
TOOL = st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": TEXT, "content": TEXT})
SYSTEM = st.fixed_dictionaries({"role": st.just("system"), "content": TEXT})
MESSAGE = st.one_of(USER, ASSISTANT, TOOL, SYSTEM)
MESSAGES = st.lists(MESSAGE, max_size=6)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "messages", "tools", "system", "instructions", "input", "prompt", "query", "queries", "text_1", "documents", "role",
    "content", "text", "type", "tool_calls", "function", "name", "reasoning", "summary", "image_url", "uuid", "source",
    "prompt_embeds", "token_ids", "features", "chat_template_kwargs", "thinking", "output_config", "effort",
    "previous_response_id", "session_id", "metadata", "user_id", "conversation", "vllm_xargs", "cache_salt",
)  # fmt: skip
TYPES = (
    "text", "image_url", "input_image", "refusal", "thinking", "tool_use", "tool_result", "function_call",
    "function_call_output", "reasoning", "message", "user", "assistant", "system", "tool", "developer",
)  # fmt: skip
NAMED = st.recursive(
    JSON | st.sampled_from(TYPES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=16,
)
BODY = st.dictionaries(st.sampled_from(FIELDS), NAMED, max_size=6)


def canonical(route, **body):
    return canonical_prompt(route, body).data


def chat(messages, **more):
    return canonical(RouteKind.CHAT, messages=messages, **more)


def anthropic(messages, **more):
    return canonical(RouteKind.MESSAGES, messages=messages, **more)


def responses(given, **more):
    return canonical(RouteKind.RESPONSES, input=given, **more)


def completion(prompt, **more):
    return canonical_prompt(RouteKind.COMPLETIONS, {"prompt": prompt, **more})


def user(content):
    return [{"role": "user", "content": content}]


def assistant(content, **more):
    return [{"role": "assistant", "content": content, **more}]


def system(content):
    return [{"role": "system", "content": content}]


def common_bytes(one, other):
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length
