"""Names of decisions: 128 random bits in hexadecimal, which nobody can guess."""

import os
from collections.abc import Iterator

CHARS = 32
BATCH = 256
"""So many are drawn from the kernel at once: a system call for each would cost as much as the rest of its head."""


def decision_ids() -> Iterator[str]:
    while True:
        drawn = os.urandom(BATCH * CHARS // 2).hex()
        for start in range(0, len(drawn), CHARS):
            yield drawn[start : start + CHARS]
