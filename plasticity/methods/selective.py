"""Selective weight reinitialisation, repeated during training (Hernandez-Garcia et al. 2025)."""

from dataclasses import dataclass

import torch

from ..interventions import Intervention
from ..networks.ties import distinct
from ..reinit import METHODS, UTILITIES, Case, NotFinite, NothingToReset, reinitialize
from ..training import notation


class Drawing(Intervention):
    """A method that draws during training: from a stream of its own, which is part of its state."""

    def prepare(self, model, start):
        """Seed the stream by one draw from the phase's generator."""
        seed = torch.randint(2**62, (), generator=start.generator, device=start.generator.device)
        self.generator = torch.Generator().manual_seed(int(seed))
        return []

    def state_dict(self):
        """The state of the generator."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        """Go on in the same stream."""
        self.generator.set_state(state["generator"])


@dataclass(eq=False)
class SelectiveReinit(Drawing):
    """Every ``every`` steps the least useful weights get new values (Hernandez-Garcia et al. 2025, their SWR).

    every: optimiser steps between two resets, counted through all phases.
    threshold: a weight goes if its utility is at most this share of its tensor's mean utility.
    fraction: if above 0, instead this share of each tensor goes, rounded up with the remainder's probability.
    utility: "gradient" |w g| with the gradient of the step just done, or "magnitude" |w|.
    method: "R" resamples from the tensor's own initial values; or another of reinit.METHODS.

    Biases, gains, buffers and frozen parameters stay. The optimiser's moments of reset entries become zero; its step
    count stays.
    """

    every: int = 100
    threshold: float = 0.1
    fraction: float = 0.0
    utility: str = "gradient"
    method: str = "R"

    def __post_init__(self):
        notation.within(self, every="[1, inf)", fraction="[0, 1]", utility=UTILITIES, method=tuple(METHODS))

    def prepare(self, model, start):
        """Find the weights that can be reset. Raises ValueError if there are none, or one can't be judged."""
        self.model, self.optimizer, self.initial = model, start.optimizer, start.initial
        named = distinct(model.named_parameters())
        if not any(parameter.ndim >= 2 for parameter in named.values()):
            needs = "selective_reinit needs weights of two or more dimensions"
            raise ValueError(f"{needs}: {type(model).__name__} has none")
        still = [name for name, p in named.items() if not p.requires_grad]
        trial = torch.Generator().manual_seed(0)
        self._reset(still, trial, utility="magnitude", dry_run=True)  # what can't be reset is refused now, not later
        return super().prepare(model, start)

    def after_step(self, step):
        """Reset, in place. ``.grad`` still holds the step's gradient: it is cleared before the next backward pass."""
        if step % self.every:
            return
        named = distinct(self.model.named_parameters())
        still = [name for name, p in named.items() if not p.requires_grad or p.grad is None]
        gradients = {name: p.grad for name, p in named.items() if p.grad is not None}
        judged = {"utility": self.utility, "gradients": gradients if self.utility == "gradient" else None}
        self._reset(still, self.generator, **judged)

    def _reset(self, still, generator, **more):
        cut = {"rounding": "bernoulli"} if self.fraction else {"threshold": self.threshold, "relative": True}
        try:
            reinitialize(
                self.model,
                Case(self.method, self.fraction or None),
                biases="keep",
                exclude=still,
                initial=self.initial,
                optimizer=self.optimizer,
                generator=generator,
                **cut,
                **more,
            )
        except (NothingToReset, NotFinite):
            pass  # no weight below the threshold is an ordinary outcome; a network that diverged is for fit to report
