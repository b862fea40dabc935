"""Classifiers that were learned from labelled requests. How they are learned is `balancer/learning`."""

from balancer.core.tiering.learned.classifier import Learned, Projection, unit
from balancer.core.tiering.learned.heads import HEADS, Head, Seen, WrongArrays, standard
from balancer.core.tiering.score.view import view

__all__ = [
    "HEADS",
    "Head",
    "Learned",
    "Projection",
    "Seen",
    "WrongArrays",
    "standard",
    "unit",
    "view",
]
