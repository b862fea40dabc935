"""Benchmarks of the balancer and of its peers. Each is `python -m benchmarks NAME`, and starts all it needs."""
