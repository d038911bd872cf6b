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
    stock = next((kind for kind in PLAIN if isinstance(layer, kind)), None)
    if leaf == "weight" and stock and type(layer).forward is not stock.forward and (what := _does(layer)):
        return f"belongs to {type(layer).__name__}, whose forward pass {what}"
    return None


def _does(layer: nn.Module) -> str | None:
    """What a layer with a forward of its own does to its weight, by trying: it may standardise or mask it.

    A layer that can't be tried, since it wants more than an input, is taken for plain.
    """
    draws = torch.Generator().manual_seed(0)
    try:
        twin = copy.deepcopy(layer).cpu().float().eval()
        weight = torch.randn(twin.weight.shape, generator=draws, device="cpu")
        inputs = torch.randn(_shape(twin), generator=draws, device="cpu")
        with torch.enable_grad():
            plain = _output(twin, weight, inputs)
            (gradient,) = torch.autograd.grad(plain.square().sum(), twin.weight)
        changed = not torch.equal(twin.weight, weight)
        with torch.no_grad():
            others = [_output(twin, values, inputs) for values in (2 * weight, weight + 1)]
    except Exception:
        return None
    if any(torch.allclose(plain, other, rtol=1e-2, atol=1e-4) for other in others):
        return "normalises it"
    return "masks it" if changed or not gradient.all() else None


def _shape(layer) -> list[int]:
    if isinstance(layer, nn.Linear):
        return [4, layer.in_features]
    return [4, layer.in_channels, *(2 * k * d for k, d in zip(layer.kernel_size, layer.dilation, strict=True))]


def _output(layer, weight, inputs) -> Tensor:
    with torch.no_grad():
        layer.weight.requires_grad_().copy_(weight)
    return type(layer).forward(layer, inputs)
