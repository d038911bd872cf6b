"""Optimisers and learning rate schedules."""

import math

import torch
from torch import nn


def build_optimizer(run, model: nn.Module) -> torch.optim.Optimizer:
    """SGD or AdamW over all parameters, in the fused form."""
    if run.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(), run.lr, momentum=run.momentum, weight_decay=run.weight_decay, fused=True
        )
    return torch.optim.AdamW(
        model.parameters(), run.lr, (run.beta1, run.beta2), run.epsilon, run.weight_decay, fused=True
    )


def lr_factor(run, step: int, total_steps: int) -> float:
    """What the learning rate is multiplied by at ``step`` (from 1) of a phase: linear warm-up, then as ``run.schedule``
    says."""
    warmup = min(1.0, step / (run.warmup * total_steps)) if run.warmup else 1.0
    if run.schedule == "cosine":
        return warmup * (0.5 + 0.5 * math.cos(math.pi * (step - 1) / total_steps))
    done = (step - 1) / total_steps
    return warmup * 0.1 ** ((done >= 0.5) + (done >= 0.75)) if run.schedule == "steps" else warmup
