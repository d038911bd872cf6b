"""Which code makes the numbers: a digest of the modules that a training run passes through. Standard library only."""

import hashlib
from functools import lru_cache
from pathlib import Path

ROOMS = (
    "notation",
    "reinit",
    "interventions",
    "averages",
    "penalties",
    "rescaling",
    "resets",
    "units",
    "surgery",
    "methods",
    "scenarios",
    "companion_models",
    "models",
    "render",
    "offline",
    "real",
    "decode",
    "classic",
    "data",
    "augment",
    "config",
    "measures",
    "train",
)


@lru_cache(maxsize=1)
def source() -> str:
    """Eight hexadecimal digits of the SHA-256 of the modules that decide what a run's record says.

    Records of another source are valid; `status` counts them as stale. Workers of another source are refused.
    """
    digest = hashlib.sha256()
    for room in ROOMS:
        digest.update((Path(__file__).parent / f"{room}.py").read_bytes())
    return digest.hexdigest()[:8]
