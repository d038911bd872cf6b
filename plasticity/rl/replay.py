"""All that a run has seen: no transition is ever forgotten, as Atari-100k has it (capacity = environment steps)."""

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Transitions over n steps. now, later: uint8 [b, c, h, w]; action: int64 [b]; returned: float32 [b], the sum of
    gamma^k times the rewards until then; discount: float32 [b], of the value of ``later``: gamma^n, or 0 where the
    episode ended."""

    now: Tensor
    action: Tensor
    returned: Tensor
    discount: Tensor
    later: Tensor


class Replay:
    """Transitions in order. Single frames are kept, and observations of several ``frames`` are put together again.

    shape: of an observation, (channels, h, w); steps: how many transitions there will be.
    """

    def __init__(self, steps: int, shape: tuple[int, int, int], frames: int = 1):
        self.planes, self.frames, self.t, self.crc = shape[0] // frames, frames, 0, 0
        self.seen = torch.zeros(steps + 1, self.planes, *shape[1:], dtype=torch.uint8)
        self.start = torch.zeros(steps + 1, dtype=torch.int64)  # where the episode of a frame begins
        self.action, self.reward = torch.zeros(steps, dtype=torch.uint8), torch.zeros(steps)
        self.ended = torch.zeros(steps, dtype=torch.bool)
        self._numpy = self.seen.numpy()

    def begin(self, observation: np.ndarray) -> None:
        """The first observation, uint8 [c, h, w]."""
        self._keep(observation)

    def add(self, action: int, reward: float, ended: bool, observation: np.ndarray) -> None:
        """A transition and the observation after it; after an end, that of the next episode's start."""
        t = self.t
        self.action[t], self.reward[t], self.ended[t] = action, reward, ended
        self.start[t + 1] = t + 1 if ended else self.start[t]
        self.t = t + 1
        self._keep(observation)

    def _keep(self, observation: np.ndarray) -> None:
        newest = np.ascontiguousarray(observation[-self.planes :])
        self._numpy[self.t] = newest
        self.crc = zlib.crc32(newest, self.crc)

    def observe(self, index: Tensor) -> Tensor:
        """Observations uint8 [..., c, h, w] at times [...]: frames before an episode's start are zero."""
        if self.frames == 1:
            return self.seen[index]
        times = index.unsqueeze(-1) - torch.arange(self.frames - 1, -1, -1)
        inside = times >= self.start[index].unsqueeze(-1)
        stack = self.seen[times.clamp_min(0)] * inside[..., None, None, None]
        return stack.flatten(-4, -3)

    def draw(self, size: int, n_step: int, draws: torch.Generator) -> Tensor:
        """Times int64 [size], uniformly of those whose n steps have been made."""
        return torch.randint(self.t - n_step + 1, (size,), generator=draws)

    def batch(self, index: Tensor, n_step: int, gamma: float) -> Batch:
        """The transitions that begin at times [b], over n steps or until the episode's end."""
        ahead, powers = _ahead(n_step, gamma)
        times = index[:, None] + ahead
        alive = (~self.ended[times]).cumprod(1).float()  # [b, n]: whether the episode goes on behind each step
        rewards = self.reward[times]
        rewards[:, 1:] *= alive[:, :-1]
        later = self.observe(index + n_step)
        return Batch(
            self.observe(index), self.action[index].long(), rewards @ powers[:-1], powers[-1] * alive[:, -1], later
        )


@lru_cache
def _ahead(n_step: int, gamma: float) -> tuple[Tensor, Tensor]:
    return torch.arange(n_step), gamma ** torch.arange(n_step + 1)
