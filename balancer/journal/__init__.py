"""The journal: every call that changes what is decided, in order, so that each decision can be made again."""
