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
from .losses import cross_entropy, feature_loss, project
from .priorities import Priorities
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


class Rainbow(Agent):
    """Distributions of values, prioritised replay (Hessel et al. 2018; `games.Rainbow` has the settings)."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.priorities = Priorities(len(self.replay.action))
        self.updates = 0  # since the phase began

    def begin_phase(self):
        """The horizon begins anew."""
        self.updates = 0

    def horizon(self) -> tuple[int, float]:
        """(n, gamma) of the next update."""
        return self.settings.n_step, self.settings.gamma

    def beta(self) -> float:
        """The exponent of the importance weights, by the steps that were made."""
        settings, steps = self.settings, len(self.replay.action)
        done = (self.replay.t - settings.warmup) / (steps - settings.warmup)
        return settings.beta + (settings.last_beta - settings.beta) * done

    def update(self, model, slow):
        """Cross-entropy with the projected distribution of the action that the trained network chooses."""
        n_step, gamma = self.horizon()
        self.updates += 1
        count = self.replay.t - self.settings.needs + 1
        index, weights = self.priorities.draw(count, self.batch_size, self.draws, self.beta())
        batch = self.replay.batch(index, n_step, gamma)
        action, returned, discount, weights = (
            value.to(self.input.device) for value in (batch.action, batch.returned, batch.discount, weights)
        )
        now, later = self.augmented(batch.now), self.augmented(batch.later)
        with torch.no_grad():
            said = model.distribution(later)
            chosen = model.values(said).argmax(1)
            valued = said if slow is model else slow.distribution(later)
            target = project(valued[_each(chosen), chosen].exp(), returned, discount, model.support)
        features = model.encoder(now)
        said = model.from_features(features)
        losses = cross_entropy(said[_each(action), action], target)
        self.priorities.set(index, losses.detach())
        losses = losses + self.more(model, slow, index, features)
        return Update((weights * losses).mean(), model.values(said), now)

    def more(self, model, slow, index, features) -> Tensor | float:
        """Another loss for each item [batch] of features [batch, d]."""
        return 0.0

    def state_dict(self):
        """The priorities, and how far the phase is."""
        return {"priorities": self.priorities.state_dict(), "updates": self.updates}

    def load_state_dict(self, state):
        """Take it up."""
        self.priorities.load_state_dict(state["priorities"])
        self.updates = state["updates"]


class Bbf(Rainbow):
    """A horizon that grows in each phase, and with ``ssl`` predicted features (`games.Bbf` has the settings)."""

    def horizon(self):
        """(n, gamma) of the next update."""
        return self.settings.horizon(self.updates)

    def more(self, model, slow, index, features):
        """How far the features of the next steps, as the slow network sees them, are from those predicted."""
        settings, replay = self.settings, self.replay
        if not settings.ssl:
            return 0.0
        times = index[:, None] + torch.arange(settings.jumps)
        alive = (~replay.ended[times]).cumprod(1).to(self.input.device)
        predicted = model.predicted(features, replay.action[times].long().to(self.input.device))
        with torch.no_grad():
            seen = self.augmented(replay.observe(times + 1).flatten(0, 1))
            target = slow.projected(slow.encoder(seen)).view_as(predicted)
        return settings.weight * feature_loss(predicted, target, alive)


def _each(index: Tensor) -> Tensor:
    return torch.arange(len(index), device=index.device)


def build(settings, replay: Replay, batch_size: int, view: View, draws: torch.Generator) -> Agent:
    """The agent of these settings."""
    return AGENTS[type(settings)](settings, replay, batch_size, view, draws)


AGENTS = {games.Random: Agent, games.DrQ: Agent, games.Rainbow: Rainbow, games.Bbf: Bbf}
