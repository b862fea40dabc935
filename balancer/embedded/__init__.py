"""A vLLM-like replica that needs no GPU: the routes, answers, errors and metrics of vLLM over a model of its engine.

`engine` is pure (continuous batching, paged KV cache, step times) and runs in virtual time as well; the rest is the
HTTP shell that runs it in real time. Nothing here knows the balancer: a replica stands on its own.
"""
