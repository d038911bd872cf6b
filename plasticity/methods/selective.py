"""Selective weight reinitialisation, repeated during training (Hernandez-Garcia et al. 2025)."""

from dataclasses import dataclass

from ..interventions import Intervention
from ..reinit import METHODS, UTILITIES, Case, _owner, reinitialize
from ..training import notation
from .resets import own_generator


@dataclass(eq=False)
class SelectiveReinit(Intervention):
    """Every ``every`` optimiser steps, the least useful weights get new values (Hernandez-Garcia et al. 2025, their SWR).

    every: optimiser steps between two resets, counted through all phases.
    threshold: a weight goes if its utility is at most this share of its tensor's mean utility.
    fraction: if above 0, instead this share of each tensor goes, rounded up with the remainder's probability (Bernoulli).
    utility: "gradient" |w g| with the gradient of the step just done, or "magnitude" |w|.
    method: "R" resamples from the layer's own initialiser (``reset_parameters``); or another of reinit.METHODS.

    Biases, gains, buffers and frozen parameters stay; so do, under "R" and "RM", parameters that no layer initialises (class
    token, position embedding). The optimiser's moments of reset entries become zero; its step count, one a tensor, stays.
    """

    every: int = 100
    threshold: float = 0.1
    fraction: float = 0.0
    utility: str = "gradient"
    method: str = "R"

    def __post_init__(self):
        notation.within(self)
        if self.every < 1 or self.fraction > 1 or self.utility not in UTILITIES or self.method not in METHODS:
            raise ValueError(
                f"{self}: every is at least 1, fraction a share up to 1, utility one of {', '.join(UTILITIES)}, "
                f"method one of {', '.join(METHODS)}"
            )

    def prepare(self, model, start):
        """Find the weights that can be reset. Raises ValueError if there are none."""
        self.model, self.optimizer, self.generator = model, start.optimizer, own_generator(start)
        self.exclude = [name for name, p in model.named_parameters() if p.ndim >= 2 and not self._has_initialiser(name)]
        if all(p.ndim < 2 or name in self.exclude for name, p in model.named_parameters()):
            raise ValueError(
                f"selective_reinit needs weights whose layer has reset_parameters(): {type(model).__name__} has none"
            )
        return []

    def _has_initialiser(self, name: str) -> bool:
        if self.method not in ("R", "RM"):
            return True
        try:
            return bool(_owner(self.model, name, self.method))
        except ValueError:
            return False

    def after_step(self, step):
        """Reset, in place. ``.grad`` still holds the step's gradient: fit clears it only before the next backward pass."""
        if step % self.every:
            return
        named = dict(self.model.named_parameters())
        still = [name for name, p in named.items() if not p.requires_grad or p.grad is None]
        gradients = (
            {name: p.grad for name, p in named.items() if p.grad is not None} if self.utility == "gradient" else None
        )
        cut = {"rounding": "bernoulli"} if self.fraction else {"threshold": self.threshold, "relative": True}
        try:
            reinitialize(
                self.model,
                Case(self.method, self.fraction or None),
                utility=self.utility,
                gradients=gradients,
                biases="keep",
                exclude=[*self.exclude, *still],
                optimizer=self.optimizer,
                generator=self.generator,
                **cut,
            )
        except ValueError as error:
            # No weight below the threshold is an ordinary outcome; a network that diverged is for fit to report.
            if not any(reason in str(error) for reason in ("resets nothing", "NaN or infinite")):
                raise

    def state_dict(self):
        """The state of the generator."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        """Go on in the same stream."""
        self.generator.set_state(state["generator"])
