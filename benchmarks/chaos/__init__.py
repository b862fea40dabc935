"""What clients see while replicas and the balancer itself are killed, frozen, restarted and made to lie.

A load whose right answers are known beforehand, a schedule of faults, and a verdict on every single answer.
"""
