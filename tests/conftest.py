"""What holds for every test: property tests leave no files, and are not judged by a busy machine's clock.

HYPOTHESIS_PROFILE chooses how long they search: `repeatable` (the default), the same few examples each time, or `deep`, for
scripts/fuzz: others each time, FUZZ_EXAMPLES of them.
"""

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # before numpy comes: beside other workers, its threads only wait

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep",
    settings.get_profile("repeatable"),
    derandomize=False,
    print_blob=True,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "2000")),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
