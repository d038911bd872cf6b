"""Anything that acts on a network around its training, behind one small interface of six hooks.

A method overrides the hooks it needs; ``Combined`` runs several in the order given ("10M + ema"). What ``fit`` does
not know about a method, it does not need to know. The methods by name: `methods`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from .networks.parts import competing
from .reinit import Case, reinitialize


@dataclass(frozen=True)
class Start:
    """What a method may need before the first step of a phase. (Fine-tuning has one phase; warm starts two; see
    `scenarios`.)

    ``gradients()`` sums the loss gradient over the training items once, at the present weights, and touches nothing.
    ``images(n)`` gives at most n of the phase's training items as the network sees them, without augmentation: [n, 3,
    h, w].
    """

    generator: torch.Generator
    optimizer: torch.optim.Optimizer  # a new one for each phase
    gradients: Callable[[], dict[str, Tensor]]
    phase: int = 1  # counted from 1
    steps_per_epoch: int = 0
    shortest: tuple[int, int] = (0, 0)  # the least steps and epochs of any phase of the run; 0: not known
    learned: bool = True  # whether the weights come from pretraining or an earlier phase, not just initialisation
    initial: dict[str, Tensor] = field(default_factory=dict)  # the state as initialised, before loading; read only
    head: str = ""  # the name of the head's module
    images: Callable[[int], Tensor] | None = None
    precision: str = "fp32"  # of the forward pass: "fp32", "tf32", "bf16"
    compiled: bool = False  # whether training steps go through torch.compile


class Intervention:
    """The six hooks, each doing nothing, and the state that a resumed run needs."""

    pretrained = True  # whether the run begins from pretrained weights
    augmentation: str | None = None  # a key of augment.AUGMENTATIONS, instead of the run's
    predicts = False  # whether `evaluated` gives another network than the trained one
    head_draw = 0  # above 0: the fresh head is drawn from another stream of the seed
    reshapes = False  # whether `reshape` changes the layers, so that pretrained weights do not fit
    excludes: tuple[str, ...] = ()  # names of methods that contradict this one

    def reshape(self, model: nn.Module, head: str) -> None:
        """Change the layers of a network just initialised, in place, before anything is loaded; head: its module."""

    def prepare(self, model: nn.Module, start: Start) -> list[dict]:
        """Before the first step of each phase; may change the model in place. Returns rows for the record.

        A resumed run calls this for every phase up to its own, in order, and then loads weights, optimiser and state
        over it.
        """
        return []

    def penalty(self, model: nn.Module, logits: Tensor, images: Tensor) -> Tensor | None:
        """A scalar to add to the loss of each batch (logits: [batch, classes] of images: [batch, 3, h, w]), or None."""

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


@dataclass(frozen=True)
class Settings:
    """How a run re-initialises: the choices that ``reinit.reinitialize`` has, and which tensors compete (see
    ``competing``)."""

    reading: str = "code"
    utility: str = "magnitude"
    scope: str = "tensor"
    biases: str | None = None
    tensors: str = "weights"


class Reinitialize(Intervention):
    """The paper's method, the base case and the bias control: once, before fine-tuning (section 3.1).

    In phased scenarios: before each phase that begins from learned weights.
    """

    def __init__(self, case: Case, settings: Settings = Settings()):  # noqa: B008 (immutable)
        self.case, self.settings = case, settings

    def prepare(self, model, start):
        """Re-initialise as the settings say."""
        if not start.learned:
            return []
        chosen = asdict(self.settings)
        names = competing(model, chosen.pop("tensors"), start.head)
        chosen["gradients"] = start.gradients() if self.settings.utility == "gradient" else None
        chosen |= names | {"initial": start.initial, "generator": start.generator}
        report = reinitialize(model, self.case, **chosen)
        return [asdict(change) for change in report.tensors]


class Scratch(Intervention):
    """The control without transfer: the same network, head and batches, but no pretrained weights."""

    pretrained = False
