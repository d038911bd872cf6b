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

    spares_biases: ClassVar[bool] = False
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

    spares_biases: ClassVar[bool] = False  # whether weight decay does
    n_step: int = 10
    gamma: float = 0.99
    warmup: int = 1600
    decay: int = 5000
    explore: float = 0.01
    test_explore: float = 0.001
    shift: int = 4
    intensity: float = 0.05

    def __post_init__(self):
        notation.within(self, **RANGES)

    @property
    def needs(self) -> int:
        """Transitions that there must be before the first update."""
        return self.n_step

    @property
    def network(self) -> dict:
        """What the network must have."""
        return {}


@dataclass(frozen=True)
class Rainbow(DrQ):
    """What the first author's PLASTIC repository calls DrQ: distributions of values, prioritised replay and noisy
    layers besides, value and advantages in separate streams (Hessel et al. 2018). It explores by its noise alone.

    atoms: of a distribution, from -v_max to v_max; noise: sigma_0 of the noisy layers; beta to last_beta: exponent of
    the importance weights, in a straight line over the run.
    """

    warmup: int = 2000
    decay: int = 0
    explore: float = 0.0
    atoms: int = 51
    v_max: float = 10.0
    noise: float = 0.5
    beta: float = 0.4
    last_beta: float = 1.0

    @property
    def network(self) -> dict:
        """What the network must have."""
        return {"atoms": self.atoms, "v_max": self.v_max, "noise": self.noise, "streams": True}


@dataclass(frozen=True)
class Bbf(DrQ):
    """Bigger, better, faster (Schwarzer et al. 2023): distributions of values, prioritised replay, a growing horizon.

    first_n to n_step, first_gamma to gamma: over ``anneal`` updates after each reset, exponentially. ssl: whether the
    network also predicts its features ``jumps`` steps ahead (SPR), a loss of this ``weight``. Importance weights have
    the exponent 0.5, and biases no weight decay.
    """

    spares_biases: ClassVar[bool] = True
    beta: ClassVar[float] = 0.5
    last_beta: ClassVar[float] = 0.5

    n_step: int = 3
    gamma: float = 0.997
    warmup: int = 2000
    decay: int = 2001
    explore: float = 0.0
    atoms: int = 51
    v_max: float = 10.0
    first_n: int = 10
    first_gamma: float = 0.97
    anneal: int = 10_000
    ssl: bool = False
    jumps: int = 5
    weight: float = 5.0

    @property
    def needs(self) -> int:
        """Transitions that there must be before the first update."""
        return max(self.n_step, self.first_n, self.jumps if self.ssl else 0)

    @property
    def network(self) -> dict:
        """What the network must have."""
        return {"atoms": self.atoms, "v_max": self.v_max} | ({"ssl": True} if self.ssl else {})

    def horizon(self, updates: int) -> tuple[int, float]:
        """(n, gamma) after so many updates since the last reset."""
        done = min(1.0, updates / self.anneal) if self.anneal else 1.0
        n = self.first_n * (self.n_step / self.first_n) ** done
        far = 1 - self.first_gamma
        return round(n), 1 - far * ((1 - self.gamma) / far) ** done


RANGES = {"n_step": "[1, inf)", "gamma": "[0, 1)", "warmup": "[1, inf)", "explore": "[0, 1]", "test_explore": "[0, 1]"}
RANGES |= {
    "atoms": "[2, inf)",
    "v_max": "(0, inf)",
    "first_n": "[1, inf)",
    "first_gamma": "[0, 1)",
    "jumps": "[1, inf)",
    "beta": "[0, 1]",
    "last_beta": "[0, 1]",
}
AGENTS = {"random": Random, "drq": DrQ, "rainbow": Rainbow, "bbf": Bbf}


def build(text: str):
    """The settings of the agent that is named, such as ``"drq(n_step=5)"``. ValueError says what is allowed."""
    return notation.parse(text, AGENTS, "agent")


def canonical(text: str) -> str:
    """The one way to write an agent; "" is none."""
    return notation.write(build(text), AGENTS) if text else ""
