"""Traffic: what clients ask and when, seeded, as lengths and block keys. No text, no replica, no policy."""

from benchmarks.workloads.catalogue import LADDER, MAIN, OTHERS, WORKLOADS, Workload
from benchmarks.workloads.traffic import Session, Traffic, Turn

__all__ = ["LADDER", "MAIN", "OTHERS", "WORKLOADS", "Session", "Traffic", "Turn", "Workload"]
