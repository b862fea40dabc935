"""Hours of traffic in seconds: real decisions over modelled engines, in virtual time.

    workloads -> clients -> router (balancer.core's Decider) -> replica (balancer.embedded.engine)

Nothing here decides where a request goes, and nothing here knows how an engine works.
"""
