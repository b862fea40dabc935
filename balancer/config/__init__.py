"""Settings: their schema, their sources, and everything that can be wrong with them."""

from balancer.config.keys import client_keys, replica_authorization
from balancer.config.load import Loaded, load
from balancer.config.mistakes import ConfigError, Mistake
from balancer.config.replica import Replica
from balancer.config.schema import Settings

__all__ = [
    "ConfigError",
    "Loaded",
    "Mistake",
    "Replica",
    "Settings",
    "client_keys",
    "load",
    "replica_authorization",
]
