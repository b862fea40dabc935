"""What one decision costs: a body of 8k tokens understood, a replica chosen, the attempt counted."""
