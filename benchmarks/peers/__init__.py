"""What the balancer is compared to: each peer in a file, how it is got, and how each of its policies is started.

Peers run with their own defaults but for what keeps the comparison fair: loopback only, one worker process where the peer
lets us choose, no access log, connections to the replicas kept alive, no buffering of answers, timeouts of ten minutes.
"""
