"""What is believed of the replicas: who exists, who is well, what each has in flight."""
