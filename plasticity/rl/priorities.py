"""Prioritised replay (Schaul et al. 2016), as PLASTIC and BBF have it: by the square root of the last loss."""

import numpy as np
import torch
from torch import Tensor


class Priorities:
    """One number for each of ``steps`` transitions; a new one has the largest so far, so that it is seen soon."""

    def __init__(self, steps: int):
        self.values, self.largest, self.known = np.zeros(steps), 1.0, 0

    def draw(self, count: int, size: int, draws: torch.Generator, beta: float = 0.5) -> tuple[Tensor, Tensor]:
        """``size`` of the first ``count`` transitions, in proportion to their priorities: one of each of ``size``
        strata of equal probability (their appendix B.2.1); and their importance weights, probability^-beta over the
        largest of them. (int64 [size], float32 [size])."""
        self.values[self.known : count] = self.largest
        self.known = max(self.known, count)
        sums = self.values[:count].cumsum()
        places = np.arange(size) + torch.rand(size, generator=draws, dtype=torch.float64).numpy()
        places *= sums[-1] / size
        index = np.minimum(np.searchsorted(sums, places, side="right"), count - 1)
        weights = self.values[index] ** -beta
        return torch.from_numpy(index), torch.from_numpy(weights / weights.max()).float()

    def set(self, index: Tensor, losses: Tensor) -> None:
        """The priorities of transitions [size] after their losses [size]."""
        values = np.sqrt(losses.double().cpu().numpy() + 1e-10)
        self.values[index.numpy()] = values
        self.largest = max(self.largest, values.max())

    def state_dict(self) -> dict:
        """All of it."""
        return {"values": torch.from_numpy(self.values[: self.known].copy()), "largest": float(self.largest)}

    def load_state_dict(self, state: dict) -> None:
        """Take it up."""
        self.known, self.largest = len(state["values"]), state["largest"]
        self.values[: self.known] = state["values"].numpy()
