"""What a balancer costs: CPU per request and per relayed chunk, added latency, and 2,000 streams at once."""
