"""Understanding a request: what is asked of which model, and the canonical bytes of its prompt."""
