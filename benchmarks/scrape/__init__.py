"""What a scrape of a large fleet's metrics costs, and whether streams feel it."""
