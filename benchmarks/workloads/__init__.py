"""Traffic: what clients ask and when, seeded. As lengths and block keys it is the simulator's (`Traffic`); with words for the
lengths, or as it was recorded, what a real run sends (`Script`). No replica, no policy, and nothing is sent here.
"""

from benchmarks.workloads.catalogue import FOR_RUNS, LADDER, MAIN, OTHERS, WORKLOADS, Workload
from benchmarks.workloads.traffic import Session, Traffic, Turn

__all__ = ["FOR_RUNS", "LADDER", "MAIN", "OTHERS", "WORKLOADS", "Session", "Traffic", "Turn", "Workload"]
