"""The cross-check: one load through this project's generator and through those of others, and what each says of it."""
