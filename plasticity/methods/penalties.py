"""What is added to the loss of each batch: pulls of the parameters to zero or an anchor, and of the logits to zero.

These are terms of the loss, so their gradients go through clipping and an optimiser's moments, unlike decoupled weight
decay. Parameters that are not trained are left out, and memory that two of them share counts once. No strength is
halved but where a method's authors do; strength 0 leaves the run as it is, bit for bit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..interventions import Intervention
from ..networks.ties import distinct
from ..training import notation


class _Pull(torch.autograd.Function):
    """strength x the sum of squares of all parameters (minus their anchors), in a few kernels, with its exact gradient.

    New memory costs more than the arithmetic: the differences become the gradients in place, so backward works once.
    """

    @staticmethod
    def forward(ctx, strength: float, anchors: list[Tensor] | None, *parameters: Tensor) -> Tensor:
        ctx.strength = strength
        ctx.gaps = torch._foreach_sub(parameters, anchors) if anchors else torch._foreach_mul(parameters, 1)
        return strength * torch.stack(torch._foreach_norm(ctx.gaps)).square().sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        gaps, ctx.gaps = ctx.gaps, None  # so that autograd, too, may add to them in place
        torch._foreach_mul_(gaps, 2 * ctx.strength * gradient)
        return None, None, *gaps


def _pull(strength: float, parameters: list[Tensor], anchors: list[Tensor] | None = None) -> Tensor | None:
    """strength x sum ||parameter - anchor||^2 (no anchors: zeros) over what is trained now; None if that is nothing."""
    trained = [i for i, parameter in enumerate(parameters) if parameter.requires_grad]
    if not strength or not trained:
        return None
    return _Pull.apply(strength, anchors and [anchors[i] for i in trained], *(parameters[i] for i in trained))


@dataclass(eq=False)
class L2(Intervention):
    """strength x the sum of squares of ALL parameters, norm layers included (Krogh & Hertz 1991; Lee et al. 2024, A.4).

    Weight decay as it was meant: under SGD it is ``weight_decay`` = 2 x strength, under AdamW (decoupled) it is not.

    strength: at least 0; 1e-4, the smallest of those tuned over in A.4 (1e-4 to 1).
    """

    strength: float = 1e-4

    def __post_init__(self):
        notation.within(self)

    def prepare(self, model, start):
        """Find the parameters."""
        self.parameters = list(distinct(model.named_parameters()).values())
        return []

    def penalty(self, model, logits, images):
        """strength x sum ||theta||^2."""
        return _pull(self.strength, self.parameters)


@dataclass(eq=False)
class L2Init(L2):
    """Regenerative regularisation: strength x ||theta - theta_0||^2 (Kumar et al. 2023b; Lee et al. 2024, A.4).

    Over ALL parameters. theta_0 is the network as the seed initialised it, the same in all phases, and also where
    pretrained weights were loaded over it. (The code released with Lee et al. 2024 covers only two of the parameters.)

    strength: at least 0; 1e-3, from the middle of those tuned over in A.4 (1e-4 to 1).
    """

    strength: float = 1e-3

    def prepare(self, model, start):
        """Take theta_0 in the memory layout of the parameters, or each difference would cost several times as much."""
        named = distinct(model.named_parameters())
        self.anchors = [_laid_out(start.initial[name], parameter) for name, parameter in named.items()]
        return super().prepare(model, start)

    def penalty(self, model, logits, images):
        """strength x sum ||theta - theta_0||^2."""
        return _pull(self.strength, self.parameters, self.anchors)


@dataclass(eq=False)
class L2SP(Intervention):
    """L2-SP: the backbone is pulled to where fine-tuning starts, the new head to zero (Li et al. 2018, section 3).

    strength x ||w - w_0||^2 over the backbone + head_strength x ||w||^2 over the head, biases and norm layers included;
    the paper writes alpha / 2 and beta / 2, so alpha is 2 x strength. w_0 are the weights at the beginning of the
    phase, as the methods before this one in a combination leave them; a phase from initialisation alone has no penalty.

    strength, head_strength: at least 0; 1e-3 each.
    """

    strength: float = 1e-3
    head_strength: float = 1e-3

    excludes = ("scratch",)  # there would be nothing to go back to

    def __post_init__(self):
        notation.within(self)

    def prepare(self, model, start):
        """The network as it is becomes the anchor."""
        named = distinct(model.named_parameters()).items() if start.learned else []
        self.backbone = [p for name, p in named if not name.startswith(f"{start.head}.")]
        self.head = [p for name, p in named if name.startswith(f"{start.head}.")]
        self.anchors = [_laid_out(parameter, parameter) for parameter in self.backbone]
        return []

    def penalty(self, model, logits, images):
        """The two terms, without those of no strength."""
        terms = [_pull(self.strength, self.backbone, self.anchors), _pull(self.head_strength, self.head)]
        terms = [term for term in terms if term is not None]
        return sum(terms) if terms else None

    def state_dict(self):
        """The anchor, for a resumed run never sees the beginning of its phase."""
        return {"anchors": self.anchors}

    def load_state_dict(self, state):
        """In place, as ``prepare`` of the same phase left room for it."""
        for anchor, value in zip(self.anchors, state["anchors"], strict=True):
            anchor.copy_(value)


@dataclass(eq=False)
class SpectralDecoupling(Intervention):
    """strength / 2 x the mean squared norm of an image's logits (Pezeshki et al. 2021, 3; Lee et al. 2024, A.4).

    Summed, not averaged, over the classes. strength: their lambda; 1e-3, from the middle of A.4's 1e-5 to 1.
    """

    strength: float = 1e-3

    def __post_init__(self):
        notation.within(self)

    def penalty(self, model, logits, images):
        """strength / 2 x mean over the batch of sum_k logits_k^2."""
        return self.strength / 2 * logits.square().sum(1).mean() if self.strength else None


def _laid_out(value: Tensor, like: nn.Parameter) -> Tensor:
    """A copy of ``value``, on the device and in the memory layout of a parameter."""
    return torch.empty_like(like, requires_grad=False).copy_(value.detach())
