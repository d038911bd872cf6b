"""``measure``: how plastic a network still is, in ten numbers on a fixed sample, each by a named definition.

Several of these names have more than one meaning in the literature; which one, and from whom, stands with each.
"""

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

DELTA = 0.01  # srank: the singular values that are counted reach 1 - DELTA of the sum of all (Kumar et al. 2020)
TAU = 0.025  # dormant_normalised: the highest normalised score of a dormant unit (Sokar et al. 2023)
RARE = 100  # dormant_rarely: non-zero fewer than once in so many times (Dohare et al. 2024); whole, to be exact
ACTIVATIONS = (
    *(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU),
    *(nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Hardtanh, nn.Tanh, nn.Sigmoid),
)
CONCATENATED = "ConcatenatedReLU"  # known by name: its output is what counts, not that of a ReLU within it
HISTOGRAM_EDGES = 4 * np.sinh(np.linspace(-8, 8, 202)) / np.sinh(8)  # fine near zero, reaching to +-4


def measure(model: nn.Module, images: Tensor, labels: Tensor, initial: dict[str, Tensor], head: str) -> dict:
    """Plasticity metrics (name -> float) of a network in evaluation mode; a metric that is not defined is left out.

    Features: the input of the head, flattened to [n, d]. Layers: the parameters of two or more dimensions
    (convolutions, linear layers, token and position embeddings), so no bias, no gain of a normalisation. Hidden units:
    what the activation modules give out, each call of each module a layer of units; a unit is a channel of [n, c, h,
    w], else the last dimension ([n, d], [n, tokens, d]). Shares are of the units of all layers together. Every metric
    is without a unit of measurement.

    weight_magnitude: sum over the layers of the mean squared weight; Lee et al. 2024, appendix C.
    weight_distance: the same of w - w_0, w_0 from ``initial``; Lee et al. 2024, appendix C.
    zero_gradient: share of exactly zero entries in the gradient of the mean cross-entropy with respect to the features;
        Lee et al. 2024, appendix C. In float32: where the softmax saturates, a gradient rounds to zero.
    zero_activation: share of exactly zero entries in the features; Lee et al. 2024, appendix C.
    srank: smallest k such that the k largest singular values of the features reach 99% of the sum of all; Kumar et al.
        2020, delta = 0.01, and Lee et al. 2024 (Dohare et al. 2024 call it stable rank). At most min(n, d), like the
        next two.
    effective_rank: exp of the entropy (natural log) of the singular values divided by their sum; Roy & Vetterli 2007.
    stable_rank: squared Frobenius norm over squared spectral norm of the features, the numerical rank of Rudelson &
        Vershynin 2007. None of the three ranks centres the features.
    dormant_normalised: share of units whose mean |activation| over inputs and positions, divided by the mean of that
        over the layer's units, is at most tau = 0.025; Sokar et al. 2023. In a layer that is all zero, every unit.
    dormant_rarely: share of units that are non-zero on under 1% of the inputs, every position of a channel counted as
        an input; Dohare et al. 2024. Over at most 100 inputs and positions the same as the next.
    dormant_never: share of units whose activation sum is exactly zero over the sample, summed as absolute values so
    that
        nothing cancels: never active at all.

    In a run it is always the trained network that is measured, at an epoch's end before the method's ``after_epoch``
    changes it: of hare and tortoise the hare before it goes back, of an average or a teacher the network beside it. The
    accuracies of the same epoch are those of the network that predicts.

    One forward pass of the network, then one forward and backward pass of its head, in the precision of its weights. No
    gradient is left behind; training mode, buffers and random streams stay as they were.

    Args:
        images: float [n, 3, h, w] as the network sees them.
        labels: int64 [n].
        initial: state dict at initialisation. Where it does not fit, weight_distance is left out.
        head: name of the module that turns features into logits [n, classes].

    Cost: 0.08 s for mini_resnet and 512 items of 32 px, 16% of a training epoch of 1,500 items in batches of 32
    (mini_simplenet 12%, mini_vit 10%); one thread of an AMD EPYC with 2 cores, median of 6.
    """
    layers = {name: weight.detach() for name, weight in model.named_parameters() if weight.dim() > 1}
    places = {(w.data_ptr(), w.numel()): name for name, w in reversed(layers.items())}
    layers = {name: weight for name, weight in layers.items() if name in places.values()}  # a view is no second layer
    found = {"weight_magnitude": sum(_mean_square(weight) for weight in layers.values())}
    if all(name in initial and initial[name].shape == weight.shape for name, weight in layers.items()):
        gaps = (weight - initial[name].to(weight) for name, weight in layers.items())
        found["weight_distance"] = sum(_mean_square(gap) for gap in gaps)
    features, gradient, units = _observed(model, images, labels, model.get_submodule(head))
    found |= {"zero_gradient": _zeros(gradient), "zero_activation": _zeros(features)}
    found |= _ranks(features) | (_dormant(units) if units else {})
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _observed(model, images, labels, head) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor, int]]]:
    """Features [n, d], their gradient, and what `_reduce` says of each call of an activation. Leaves no trace."""
    seen, units = [], []
    whole = [module for module in model.modules() if type(module).__name__ == CONCATENATED]
    inside = {part for module in whole for part in module.modules()}
    plain = [module for module in model.modules() if isinstance(module, ACTIVATIONS) and module not in inside]
    modes = [(module, module.training) for module in model.modules()]
    hooks = [module.register_forward_hook(partial(_reduce, units)) for module in whole + plain]
    # Copied, for a head that works in place.
    hooks.append(head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone())))
    try:
        model.eval()
        with torch.no_grad():
            model(images)
        for hook in hooks:
            hook.remove()
        with torch.enable_grad():
            features = seen[-1].requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(head(features.clone()), labels), features)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:  # each its own: a frozen norm layer stays frozen
            module.training = training
    return features.detach().flatten(1), gradient, units


def _mean_square(values: Tensor) -> Tensor:
    return values.double().square().mean()


def _zeros(values: Tensor) -> Tensor:
    """Share of exact zeros; NaN, so left out, if any entry is not finite."""
    return (values == 0).double().mean() if values.isfinite().all() else torch.tensor(math.nan)


def _reduce(units: list, module: nn.Module, inputs: tuple, output: Tensor) -> None:
    """Mean |activation| [c] and times non-zero [c] of a layer's units, and how many times there were.

    At once, before the next module may overwrite the output in place.
    """
    values = output.flatten(2) if output.dim() > 3 else output.reshape(len(output), -1, output.shape[-1]).mT
    # [n, c, positions]
    active = (values != 0).float().sum(2).double().sum(0)  # exact, and faster than counting
    units.append((values.abs().mean((0, 2), dtype=torch.float).double(), active, values.shape[0] * values.shape[2]))


def _dormant(units: list[tuple[Tensor, Tensor, int]]) -> dict[str, Tensor]:
    """The three shares of dormant units; none if an activation is not finite."""
    if not all(size.isfinite().all() for size, _, _ in units):
        return {}
    sleeping = {
        # not divided: 0/0 in a layer of zeros
        "dormant_normalised": [size <= TAU * size.mean() for size, _, _ in units],
        "dormant_rarely": [active * RARE < times for _, active, times in units],
        "dormant_never": [active == 0 for _, active, _ in units],
    }
    return {name: torch.cat(layers).double().mean() for name, layers in sleeping.items()}


def _ranks(features: Tensor) -> dict[str, Tensor]:
    """The three ranks of features [n, d], in float64; none if these are not finite, or all zero."""
    if not features.isfinite().all() or not features.any():
        return {}
    features = features.cpu().double()  # on the CPU: fast enough, and the same everywhere
    values = torch.linalg.svdvals(features)  # largest first
    shares = values / values.sum()
    return {
        "srank": 1 + (shares.cumsum(0) < 1 - DELTA).sum(),
        "effective_rank": torch.special.entr(shares).sum().exp(),
        "stable_rank": values.square().sum() / values[0].square(),
    }


def all_weights(model: nn.Module) -> np.ndarray:
    """All parameters of a network as one float32 array [parameters], in order."""
    return torch.cat([p.detach().flatten().float().cpu() for p in model.parameters()]).numpy()


def weight_histogram(model: nn.Module) -> list[int]:
    """Counts of all parameters between HISTOGRAM_EDGES; what lies outside counts in the outermost bins."""
    return np.histogram(all_weights(model).clip(HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]), HISTOGRAM_EDGES)[0].tolist()
