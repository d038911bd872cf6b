"""What an agent learns from a batch: its loss, and how it explores. Networks, methods and the loop know nothing of it.

``slow`` is the network that bootstraps, acts and is tested: `Intervention.evaluated` of the method, so the trained one
itself in the base case, and a moving average with "ema" or "hare_tortoise" (Lee et al. 2024, section 5.3).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..training import games
from .augment import intensity, random_shift
from .replay import Replay


@dataclass(frozen=True)
class Update:
    """A loss (scalar), and for a method's penalty the Q-values [batch, actions] of the observations [batch, c, h, w] as
    the network saw them."""

    loss: Tensor
    values: Tensor
    observations: Tensor


@dataclass(frozen=True)
class View:
    """How a network sees observations: their numbers times ``scale``, on a device, in a memory order."""

    scale: float
    device: torch.device
    memory_format: torch.memory_format

    def __call__(self, observations: Tensor) -> Tensor:
        """uint8 [batch, c, h, w] -> float32."""
        moved = observations.to(self.device).to(torch.float32, memory_format=self.memory_format)
        return moved.mul_(self.scale) if self.scale != 1 else moved


class Agent:
    """Double Q-learning over n steps with the Huber loss (van Hasselt et al. 2016; `games.DrQ` has the settings)."""

    def __init__(self, settings, replay: Replay, batch_size: int, view: "View", draws: torch.Generator):
        self.settings, self.replay, self.batch_size, self.draws = settings, replay, batch_size, draws
        self.input = view

    def augmented(self, observations: Tensor) -> Tensor:
        """`input`, moved and brightened at random (Kostrikov et al. 2020)."""
        settings = self.settings
        moved = random_shift(observations, self.draws, settings.shift) if settings.shift else observations
        result = self.input(moved)
        return intensity(result, self.draws, settings.intensity) if settings.intensity else result

    def explore(self, step: int) -> float:
        """The share of random actions at environment step ``step``, from 0: all, then linearly to the least."""
        settings = self.settings
        done = min(1.0, max(0, step - settings.warmup) / settings.decay) if settings.decay else 1.0
        return 1.0 if step < settings.warmup else 1 + (settings.explore - 1) * done

    def begin_phase(self) -> None:
        """A phase begins, with a new optimiser."""

    def update(self, model: nn.Module, slow: nn.Module) -> Update:
        """The loss of a batch: the trained network chooses the action behind it, the slow one values it."""
        settings, replay = self.settings, self.replay
        batch = replay.batch(replay.draw(self.batch_size, settings.n_step, self.draws), settings.n_step, settings.gamma)
        action, returned, discount = (x.to(self.input.device) for x in (batch.action, batch.returned, batch.discount))
        now, later = self.augmented(batch.now), self.augmented(batch.later)
        with torch.no_grad():
            chosen = model(later)
            valued = chosen if slow is model else slow(later)
            target = returned + discount * valued.gather(1, chosen.argmax(1, keepdim=True))[:, 0]
        values = model(now)
        return Update(F.huber_loss(values.gather(1, action[:, None])[:, 0], target), values, now)

    def state_dict(self) -> dict:
        """What changes besides the streams."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Take it up, after the replay is full again."""


def build(settings, replay: Replay, batch_size: int, view: View, draws: torch.Generator) -> Agent:
    """The agent of these settings."""
    return AGENTS[type(settings)](settings, replay, batch_size, view, draws)


AGENTS = {games.Random: Agent, games.DrQ: Agent}
