"""What happened: one record per request, and what is made of it."""
