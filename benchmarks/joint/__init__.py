"""Tier and replica together, in the simulator: two pools, prompts of known difficulty, against choosing the tier first."""
