"""Anything that acts on a network around its training, behind one small interface of five moments.

A method overrides the moments it needs; ``Combined`` runs several in the order given ("10M + ema"). What ``fit`` does
not know about a method, it does not need to know.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .reinit import CONTROLS, Case, reinitialize

if TYPE_CHECKING:
    from .config import Run


@dataclass(frozen=True)
class Start:
    """What a method may need before the first step.

    ``gradients()`` sums the loss gradient over the training items once, at the pretrained weights, and touches nothing.
    """

    run: "Run"
    generator: torch.Generator
    optimizer: torch.optim.Optimizer
    gradients: Callable[[], dict[str, Tensor]]


class Intervention:
    """The five moments, each doing nothing, and the state that a resumed run needs."""

    pretrained = True  # whether the run begins from pretrained weights

    def prepare(self, model: nn.Module, start: Start) -> list[dict]:
        """Once, before the first step; may change the model in place. Returns rows for the record."""
        return []

    def penalty(self, model: nn.Module, logits: Tensor) -> Tensor | None:
        """A scalar to add to the loss of each batch (logits: [batch, classes]), or None."""

    def after_step(self, step: int) -> None:
        """After optimiser step ``step``, counted from 1 through all epochs."""

    def after_epoch(self, epoch: int) -> None:
        """After epoch ``epoch``, counted from 1, before the validation."""

    def evaluated(self, model: nn.Module) -> nn.Module:
        """The network that predicts: validated, tested and kept."""
        return model

    def state_dict(self) -> dict:
        """All that changes during training."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Take up a state given by ``state_dict``, after ``prepare``."""


class Reinitialize(Intervention):
    """The paper's method, the base case and the bias control: once, before fine-tuning (section 3.1)."""

    def __init__(self, case: Case):
        self.case = case

    def prepare(self, model, start):
        """Re-initialise as the run's reading, utility, scope and biases say."""
        run = start.run
        gradients = start.gradients() if run.utility == "gradient" else None
        report = reinitialize(model, self.case, reading=run.reading, utility=run.utility, scope=run.scope,
                              biases=run.biases, gradients=gradients, generator=start.generator)  # fmt: skip
        return [asdict(change) for change in report.tensors]


class Scratch(Intervention):
    """The control without transfer: the same network, head and batches, but no pretrained weights."""

    pretrained = False


class Combined(Intervention):
    """Several methods as one, in order; the last one that names an evaluated network decides."""

    def __init__(self, parts: list[Intervention]):
        self.parts = parts
        self.pretrained = all(part.pretrained for part in parts)

    def prepare(self, model, start):
        """Each part in turn."""
        return [row for part in self.parts for row in part.prepare(model, start)]

    def penalty(self, model, logits):
        """The sum of the parts' penalties, or None where there is none."""
        terms = [term for part in self.parts if (term := part.penalty(model, logits)) is not None]
        return sum(terms) if terms else None

    def after_step(self, step):
        """Each part in turn."""
        for part in self.parts:
            part.after_step(step)

    def after_epoch(self, epoch):
        """Each part in turn."""
        for part in self.parts:
            part.after_epoch(epoch)

    def evaluated(self, model):
        """Each part sees the previous part's network."""
        for part in self.parts:
            model = part.evaluated(model)
        return model

    def state_dict(self):
        """The parts' states, by position."""
        return {str(i): part.state_dict() for i, part in enumerate(self.parts)}

    def load_state_dict(self, state):
        """Each part takes its own."""
        for i, part in enumerate(self.parts):
            part.load_state_dict(state[str(i)])


NAMED: dict[str, Callable[[], Intervention]] = {"scratch": Scratch}  # methods by name; the paper's cases need no entry


def canonical(text: str) -> str:
    """The one way to write a case or combination: ``"10 M+ema"`` -> ``"10M + ema"``. Raises ValueError if unknown."""
    parts = [part.strip() for part in str(text).split("+")]
    return " + ".join(part if part in NAMED else str(_case(part, text)) for part in parts)


def build(text: str) -> Intervention:
    """The intervention that a case or combination of methods names, such as ``"25NS"`` or ``"10M + ema"``."""
    parts = [NAMED[part]() if part in NAMED else Reinitialize(Case.parse(part)) for part in canonical(text).split(" + ")]
    return parts[0] if len(parts) == 1 else Combined(parts)


def _case(part: str, text: str) -> Case:
    try:
        case = Case.parse(part)
    except ValueError as error:
        raise ValueError(f"case {text!r}: {error}; or a method by name: {', '.join(NAMED)}") from None
    if case.method not in CONTROLS and case.fraction is None:
        raise ValueError(f"case {text!r} lacks the percentage to reset, as in '10{case.method}'")
    return case
