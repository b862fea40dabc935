"""What spans and their attributes are called.

`gen_ai.*`, and the name of an inference span: OpenTelemetry's conventions for generative AI (docs/gen-ai/gen-ai-spans.md of
open-telemetry/semantic-conventions-genai as of 2026-08, beside semantic-conventions 1.41.1; status: Development, so they may
still change, and here is the one place for that). The names of HTTP and of errors: semantic-conventions 1.41.1, stable.
`balancer.*` are our own.

vLLM's spans (vllm/tracing/utils.py) have names of an older state: gen_ai.usage.prompt_tokens, .completion_tokens and
.cached_tokens for what is .input_tokens, .output_tokens and .cache_read.input_tokens here, and gen_ai.latency.time_in_queue,
.time_to_first_token and .e2e, which no convention has. Their gen_ai.request.id holds our request's id.
"""

from balancer.core.types import RouteKind

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
RESPONSE_MODEL = "gen_ai.response.model"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"

OPERATIONS = {
    RouteKind.CHAT: "chat",
    RouteKind.RESPONSES: "chat",
    RouteKind.MESSAGES: "chat",
    RouteKind.COMPLETIONS: "text_completion",
    RouteKind.EMBEDDINGS: "embeddings",
}
"""Others have no name there."""
OWN_PROVIDER = "vllm"
"""Not in the list of well-known ones, which is open."""

METHOD = "http.request.method"
ROUTE = "http.route"
RESEND_COUNT = "http.request.resend_count"
STATUS_CODE = "http.response.status_code"
URL_PATH = "url.path"
URL_FULL = "url.full"
URL_SCHEME = "url.scheme"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"
OTHER_ERROR = "_OTHER"

ADMISSION_SPAN = "admission"
TIER_SPAN = "tier"
SCHEDULE_SPAN = "schedule"
STREAM_SPAN = "stream"
FIRST_TOKEN_EVENT = "first token"  # noqa: S105 - no secret

REQUEST_ID = "balancer.request.id"
DECISION_ID = "balancer.decision.id"
TENANT = "balancer.tenant"
ASKED = "balancer.asked_model"
TIER = "balancer.tier"
TIER_REASON = "balancer.tier.reason"
TIER_RULE = "balancer.tier.rule"
TIER_SCORE = "balancer.tier.score"
TIER_THRESHOLD = "balancer.tier.threshold"
REPLICA = "balancer.replica"
REASON = "balancer.reason"
MATCHED_TOKENS = "balancer.matched_tokens"
PREDICTED_TTFT = "balancer.predicted_ttft"
TTFT = "balancer.ttft"
OUTCOME = "balancer.outcome"
ENDED_BY = "balancer.ended_by"
ATTEMPTS = "balancer.attempts"
RESUMED = "balancer.resumed"
