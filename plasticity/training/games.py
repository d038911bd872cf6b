"""Games that a run may name instead of a data set, and the agents that learn them: names and settings alone.

Sources: Mnih et al. 2015 (DQN), Kostrikov et al. 2020 (DrQ), Agarwal et al. 2021 (DrQ(eps), as Dopamine has it), Young
& Tian 2019 (MinAtar), Lee et al. 2024 (Hare & Tortoise), section 5.3.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from . import notation

GAME = re.compile(r"(minatar|atari)_([a-z0-9_]+)")


@dataclass(frozen=True)
class Random:
    """Plays at random and learns nothing: where the scores have their zero."""

    warmup: ClassVar[int] = 0
    needs: ClassVar[int] = 0  # transitions, before the first update
    network: ClassVar[dict] = {}


@dataclass(frozen=True)
class DrQ:
    """Double, dueling n-step Q-learning with augmented observations: DrQ(eps) by default, as Dopamine has it.

    n_step: rewards before the bootstrap; gamma: discount; warmup: environment steps at random before the first update;
    decay: steps over which the share of random actions then falls from 1 to ``explore``; test_explore: that share in
    test games; shift: pixels that an observation is moved by at random, at most; intensity: standard deviation of its
    random brightness (0: neither).
    """

    n_step: int = 10
    gamma: float = 0.99
    warmup: int = 1600
    decay: int = 5000
    explore: float = 0.01
    test_explore: float = 0.001
    shift: int = 4
    intensity: float = 0.05

    def __post_init__(self):
        notation.within(self, **PLAYING)

    @property
    def needs(self) -> int:
        """Transitions that there must be before the first update."""
        return self.n_step

    @property
    def network(self) -> dict:
        """What the network must have."""
        return {}


PLAYING = {"n_step": "[1, inf)", "gamma": "[0, 1]", "warmup": "[1, inf)", "explore": "[0, 1]", "test_explore": "[0, 1]"}
AGENTS = {"random": Random, "drq": DrQ}


def build(text: str):
    """The settings of the agent that is named, such as ``"drq(n_step=5)"``. ValueError says what is allowed."""
    return notation.parse(text, AGENTS, "agent")


def canonical(text: str) -> str:
    """The one way to write an agent; "" is none."""
    return notation.write(build(text), AGENTS) if text else ""
