"""A slow moving average beside the trained network: it predicts, takes the network back to itself, or teaches it.

In a combination the average begins as the network that the methods before it leave: in "10M + ema" the reset one.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ..interventions import Intervention
from ..training import notation

_WITHOUT = "'ema' is an average without resets"


@dataclass(eq=False)
class Ema(Intervention):
    """An exponential moving average of the network predicts (Tarvainen & Valpola 2017, 2; Lee et al. 2024, 5.1).

    After every optimiser step: slow <- momentum x slow + (1 - momentum) x fast, over parameters and float buffers
    (H&T's released code averages normalisation buffers, too); integer buffers are copied. It begins as a copy of the
    network before the first step and goes on through all phases, without correction for that start or ramp-up.

    momentum: from 0 (the network itself), below 1; 0.999 as Lee et al. 2024, section 4.3. restart: whether it begins
    anew, as a copy of the network, at each phase that begins from learned weights, so that a reset reaches it, too. (In
    BBF and PLASTIC the encoder of the target stays an average then.)
    """

    momentum: float = 0.999
    restart: bool = False

    predicts = True

    def __post_init__(self):
        notation.within(self, momentum="[0, 1)")

    def prepare(self, model, start):
        """In the first phase make the slow copy, always in evaluation mode and without gradients."""
        if start.phase == 1:
            self.slow = copy.deepcopy(model).eval().requires_grad_(False)
        slow, fast = ([*network.parameters(), *network.buffers()] for network in (self.slow, model))
        pairs = self.pairs = list(zip(slow, fast, strict=True))
        # Weights are loaded in place, so these lists stay valid; a tied parameter is listed, and averaged, once.
        if self.restart and start.phase > 1:
            self._follow()
        self.averaged = [[pair[i] for pair in pairs if pair[0].is_floating_point()] for i in (0, 1)]
        self.copied = [[pair[i] for pair in pairs if not pair[0].is_floating_point()] for i in (0, 1)]
        return []

    @torch.no_grad()
    def _follow(self):
        for slow, fast in self.pairs:
            slow.copy_(fast)

    @torch.no_grad()
    def after_step(self, step):
        """The average takes a step towards the network."""
        torch._foreach_lerp_(*self.averaged, 1 - self.momentum)
        if self.copied[0]:
            torch._foreach_copy_(*self.copied)

    def evaluated(self, model):
        """The average."""
        return self.slow

    def state_dict(self):
        """The average."""
        return {"slow": self.slow.state_dict()}

    def load_state_dict(self, state):
        """In place."""
        self.slow.load_state_dict(state["slow"])


@dataclass(eq=False)
class HareTortoise(Ema):
    """The trained network (hare) goes back to its moving average (tortoise) at intervals (Lee et al. 2024, Alg. 1).

    The algorithm as printed assigns the average to the hare; meant are section 4.2's equations: theta_t <- mu theta_t +
    (1 - mu) theta_h after each step, theta_h <- theta_t at each reset. The tortoise predicts (section 4.3). The hare
    gets a copy, buffers included, so that the two never share memory (in the released code they do for a step); the
    optimiser keeps its state, the tortoise goes on through all phases.

    momentum: mu, 0.999; steps: optimiser steps between resets, 1950: section 4.3's 10 epochs of 195 steps (CIFAR-10 in
    batches of 256), after which the hare keeps 1 - mu^1950 = 86% of its way. epochs: above 0, epochs between resets
    instead, as over there, where an epoch on a tenth of the data is short. Both count through all phases.
    """

    steps: int = 1950
    epochs: int = 0

    excludes = ("ema", "self_distillation")  # a network has one average

    def __post_init__(self):
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"HareTortoise: steps={self.steps} is outside its range [1, inf); {_WITHOUT}")

    def prepare(self, model, start):
        """As `Ema`. ValueError for an interval that is longer than any of the run's phases."""
        name = "epochs" if self.epochs else "steps"
        interval, most = getattr(self, name), start.shortest[name == "epochs"]
        if 0 < most < interval:
            raise ValueError(
                f"hare_tortoise: {name}={interval} is longer than the run's shortest phase, of {most} {name}; "
                f"allowed: 1 to {most}. Lower {name} or train longer; {_WITHOUT}"
            )
        self.steps_per_epoch = self.left = start.steps_per_epoch
        self.due = False
        return super().prepare(model, start)

    def after_step(self, step):
        """As `Ema`; then the reset by steps, which waits for ``after_epoch`` if this was the epoch's last step."""
        super().after_step(step)
        self.left -= 1
        self.due = not self.epochs and step % self.steps == 0
        if self.due and self.left:
            self._reset()

    def after_epoch(self, epoch):
        """The reset by epochs, and one by steps that has waited: before it, metrics are of the hare."""
        if epoch % self.epochs == 0 if self.epochs else self.due:
            self._reset()
        self.left = self.steps_per_epoch

    @torch.no_grad()
    def _reset(self):
        """The hare, but for what is out of training, goes back to the tortoise."""
        for slow, fast in self.pairs:
            if fast.requires_grad or not isinstance(fast, nn.Parameter):
                fast.copy_(slow)
        self.due = False


@dataclass(eq=False)
class SelfDistillation(Ema):
    """The moving average teaches the network: strength x KL(teacher || student), the batch's mean, joins the loss.

    The comparison of Lee et al. 2024, section 5.1, after Tarvainen & Valpola 2017 (mean teacher; there with noise, mean
    squares and a ramp-up) and Allen-Zhu & Li 2020. The paper leaves open what follows: temperature 1, a constant
    strength, the same augmented images for both. The teacher is in evaluation mode, so that what teaches is the very
    network that predicts, and no statistic or random number is touched. It predicts, and is `Ema` at strength 0.

    momentum: 0.999; strength: at least 0; 1, the smallest of those tuned over there (1, 5, 10).
    """

    strength: float = 1.0

    def prepare(self, model, start):
        """As `Ema`."""
        self.low_precision = start.precision == "bf16"
        return super().prepare(model, start)

    def penalty(self, model, logits, images):
        """Zero where student and teacher agree; d/d logits is strength x (p_student - p_teacher) / batch."""
        if not self.strength:
            return None
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=self.low_precision):
            taught = self.slow(images).float().log_softmax(1)  # computes as batches.forward does
        return self.strength * F.kl_div(logits.log_softmax(1), taught, reduction="batchmean", log_target=True)
