"""Optimisers, what they remember of single entries, and learning rate schedules."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

ADAM = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
MOMENTS = {  # what may become zero in any entry at any time; step sizes, averages or copies of weights may not
    "SGD": ("momentum_buffer",),
    "Adam": ADAM,
    "AdamW": ADAM,
    "NAdam": ADAM,
    "RAdam": ADAM,
    "Adamax": ("exp_avg", "exp_inf"),
    "Adagrad": ("sum",),
    "Adadelta": ("square_avg", "acc_delta"),
    "Muon": ("momentum_buffer",),
    "RMSprop": ("square_avg", "momentum_buffer", "grad_avg"),
}


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


def moments_of(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """The names of an optimiser's moments; ValueError where they are not known, so nothing can be made to forget."""
    kind = type(optimizer)
    if getattr(torch.optim, kind.__name__, None) is not kind or kind.__name__ not in MOMENTS:
        allowed = f"allowed are torch.optim's {', '.join(MOMENTS)}"
        raise ValueError(f"optimizer={kind.__name__}: what it remembers of single weights is not known; {allowed}")
    return MOMENTS[kind.__name__]


def require_moments(optimizer: torch.optim.Optimizer | None, parameters: Iterable[Tensor]) -> None:
    """Raise ValueError unless `clear_moments` can act on this optimiser and it trains any of the parameters."""
    if optimizer is None:
        return
    moments_of(optimizer)
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not any(id(parameter) in trained for parameter in parameters):
        raise ValueError(
            f"optimizer={type(optimizer).__name__} trains no parameter that is reset: is it another model's?"
        )


def clear_moments(optimizer: torch.optim.Optimizer | None, parameter: Tensor, where) -> None:
    """Set an optimiser's moments of some entries of a parameter to zero."""
    state = optimizer.state.get(parameter) if optimizer is not None else None
    for name in moments_of(optimizer) if state else ():
        if isinstance(state.get(name), Tensor):
            state[name][where] = 0
