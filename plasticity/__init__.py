"""Restoring Neural Network Plasticity for Faster Transfer Learning (Coetzer, Schreuder, Bosman 2026), reproduced.

Before fine-tuning a pretrained network, re-initialise its smallest-magnitude few percent of weights, once: to their mean
(M), to the mean plus noise (MN), or to fresh draws from N(0, 0.2) or N(0, 1) (NS, N). The paper finds that M and MN
fine-tune slightly better or faster. Read ``reinit`` for the method, ``train.fit`` for the protocol.
"""

from .config import Profile, Run, get_profile, grid
from .reinit import Case, reinitialize
from .train import fit

__all__ = ["Case", "Profile", "Run", "fit", "get_profile", "grid", "reinitialize"]
