"""Resets of weights at the start of a phase that begins from learned weights, and what may be trained at all.

Sources: Ash & Adams 2020 (arXiv 1910.08475), Nikishin et al. 2022 (arXiv 2205.07802), Lee et al. 2024 (Hare & Tortoise,
"H&T"; section 3.4, appendix A.4). "Initial" is the run's own initial network.
"""

from dataclasses import dataclass
from types import MethodType

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..interventions import Intervention
from ..networks.competitors import entries
from ..networks.initialisers import sample
from ..networks.ties import distinct
from ..training import notation


@dataclass(eq=False)
class ShrinkPerturb(Intervention):
    """w <- keep w + (1 - keep) w_initial + noise N(0, 1), for all that is trained, at each start from learned weights.

    Ash & Adams 2020, as H&T run it (A.4: "shrink ratio 0.8", so keep=0.2; the same initial copy each time; no noise;
    buffers stay). With keep=1 and noise=0 nothing changes, bit for bit. fresh: w_initial is another draw from the
    tensor's own initial values each time, instead of the copy (Schwarzer et al. 2023, "BBF").
    """

    keep: float = 0.2
    noise: float = 0.0
    fresh: bool = False

    def __post_init__(self):
        notation.within(self, keep="[0, 1]")

    @torch.no_grad()
    def prepare(self, model, start):
        """Shrink and perturb, in place."""
        for name, parameter in distinct(model.named_parameters()).items() if start.learned else ():
            if not parameter.requires_grad:
                continue
            initial = _initial(start, name, self.fresh).to(parameter)
            parameter.copy_(torch.lerp(initial, parameter, self.keep))  # exact at both ends
            if self.noise:
                draws = torch.randn(parameter.shape, generator=start.generator, device=start.generator.device)
                parameter.add_(draws.to(parameter), alpha=self.noise)
        return []


@dataclass(eq=False)
class HeadReset(Intervention):
    """The head goes back to its own initial copy at each start from learned weights (Nikishin et al. 2022; H&T A.4).

    In fine-tuning from pretrained weights the head is fresh already, so nothing changes; it acts between phases. fresh:
    its parameters are another draw from their own initial values each time, instead of the copy (in games, as Nikishin
    et al. and BBF); its buffers are always the copy's.
    """

    fresh: bool = False

    excludes = ("frozen_head",)

    def prepare(self, model, start):
        """Reset the head, buffers included, in place; what of it is out of training stays."""
        if start.learned:
            frozen = [n for n, p in _head(model, start).named_parameters() if not p.requires_grad]
            _restore_head(model, start, frozen, self.fresh)
        return []


class FrozenHead(Intervention):
    """The head keeps its initial weights and is never trained (Hoffer et al. 2018, arXiv 1801.04540).

    Weight decay does not reach it either. Name it after a case that resets weights ("10M + frozen_head"): its own
    weights are written back when its turn comes.
    """

    excludes = ("head_reset", "head_only")

    def prepare(self, model, start):
        """Put the initial head in place and take it out of training."""
        _restore_head(model, start)
        frozen = set(map(entries, _head(model, start).parameters()))
        for parameter in model.parameters():  # with what else has the same memory, such as an embedding
            parameter.requires_grad_(parameter.requires_grad and entries(parameter) not in frozen)
        return []


class HeadOnly(Intervention):
    """Only the head is trained: linear probing. All else stays bit for bit, running statistics of norm layers included.

    Norm layers of the backbone therefore normalise as in evaluation; dropout there goes on.
    """

    excludes = ("frozen_head", "scratch")

    def prepare(self, model, start):
        """Take everything but the head out of training. ValueError if the head is out of it, too."""
        head = _head(model, start)
        if not any(parameter.requires_grad for parameter in head.parameters()):
            raise ValueError(f"head_only trains the head alone, but {start.head!r} is frozen (requires_grad=False)")
        heads, trained = set(head.modules()), set(map(entries, head.parameters()))
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.requires_grad and entries(parameter) in trained)
        for module in model.modules():
            if isinstance(module, _NormBase) and module not in heads:
                # A bound method: copy.deepcopy binds it to the copy. Momentum zero would still count batches, and would
                # normalise with the batch's statistics.
                module.train = MethodType(_stays_in_evaluation, module)
                module.train()
        return []


@dataclass(eq=False)
class OtherHead(Intervention):
    """A control: the fresh head is another draw; other weights, split and augmentation are the same bit for bit.

    What a method changes should be more than this does. ``draw``: which other head, from 1.
    """

    draw: int = 1

    def __post_init__(self):
        notation.within(self, draw="[1, inf)")
        self.head_draw = self.draw


def _stays_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    return nn.Module.train(module, False)


def _head(model, start):
    return model.get_submodule(start.head)


@torch.no_grad()
def _restore_head(model, start, without=(), fresh=False):
    for name, value in _head(model, start).state_dict(keep_vars=True).items():
        if name not in without:
            value.copy_(_initial(start, f"{start.head}.{name}", fresh and isinstance(value, nn.Parameter)))


def _initial(start, name, fresh):
    """What the tensor began with; ``fresh``: a new draw from it."""
    value = start.initial[name]
    return sample(value, value.numel(), start.generator).view_as(value) if fresh else value


class Augmentation(Intervention):
    """Random crops of the image padded by 4 pixels, and flips, instead of the run's own augmentation (H&T A.4)."""

    augmentation = "crop_flip"


class Crop(Intervention):
    """`Augmentation` without the flips, for digits: mirrored, they are none."""

    augmentation = "crop"
