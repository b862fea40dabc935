"""Upstream: connections to replicas, sending requests, relaying answers byte for byte."""
