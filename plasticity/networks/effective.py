"""Whether a parameter is the weight that its layer works with, or only something that the weight is made from."""

import copy

import torch
from torch import Tensor, nn

PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
PARTS = ("orig", "g", "v", "bar")  # weight_orig and weight_mask, weight_g and weight_v: a hook makes `weight` of them


def not_effective(model: nn.Module, name: str) -> str | None:
    """Why the parameter ``name`` is not its layer's weight, and what to do; None if it is.

    Its smallest entries need not be the weight's smallest, and a new value in one entry may change all of the weight.
    """
    path, _, leaf = name.rpartition(".")
    if "parametrizations" in path.split("."):
        return "is reparametrised: call torch.nn.utils.parametrize.remove_parametrizations() first"
    layer = model.get_submodule(path)
    stem, _, part = leaf.rpartition("_")
    if part in PARTS and isinstance(vars(layer).get(stem), Tensor):  # weight_norm and spectral_norm of old, pruning
        return (
            f"is what a hook makes {stem!r} from: call remove_weight_norm(), remove_spectral_norm() or prune.remove()"
        )
    if leaf == "weight" and _normalises(layer):
        return f"belongs to {type(layer).__name__}, which normalises it in each forward pass"
    return None


@torch.no_grad()
def _normalises(layer) -> bool:
    """Whether a layer with a forward of its own, such as a weight-standardised convolution, gives the same output for
    the doubled or shifted weight."""
    stock = next((kind for kind in PLAIN if isinstance(layer, kind)), None)
    if stock is None or type(layer).forward is stock.forward:
        return False
    draws = torch.Generator().manual_seed(0)
    try:
        twin = copy.deepcopy(layer).cpu().float().eval()
        weight = torch.randn(twin.weight.shape, generator=draws, device="cpu")
        linear = isinstance(twin, nn.Linear)
        shape = (
            [twin.in_features]
            if linear
            else [twin.in_channels, *(2 * k * d for k, d in zip(twin.kernel_size, twin.dilation, strict=True))]
        )
        inputs = torch.randn((1, *shape), generator=draws, device="cpu")
        plain, double, shifted = (_output(twin, values, inputs) for values in (weight, 2 * weight, weight + 1))
    except Exception:  # a forward that wants more than an input can't be asked
        return False
    return torch.allclose(plain, double, rtol=1e-2, atol=1e-4) or torch.allclose(plain, shifted, rtol=1e-2, atol=1e-4)


def _output(layer, weight, inputs) -> Tensor:
    layer.weight.copy_(weight)
    return type(layer).forward(layer, inputs)
