"""A cache-aware load balancer for self-hosted vLLM replicas."""

__version__ = "0.1.0"
