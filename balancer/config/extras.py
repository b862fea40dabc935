"""Optional dependencies: whether they are here. Each is imported by the one module that uses it."""

import importlib.util
from functools import cache


@cache
def can_heal() -> bool:
    """Whether json-repair is installed (the extra `heal`)."""
    return importlib.util.find_spec("json_repair") is not None
