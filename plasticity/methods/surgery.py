"""Methods that change the layers of a network that was just initialised: other activations, other norm layers.

They act on plain chains: inside one ``nn.Sequential`` (the class itself), a convolution or linear layer, a norm layer
or none, an activation. No layer changes its name, so heads stay where they are.
"""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..interventions import Intervention
from ..networks.ties import tied
from ..training import notation
from .chains import ACTIVATIONS, outputs, written_chains

LAYER_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
WIDTHS = ("out_channels", "out_features", "num_features", "num_channels")  # what layers call their number of outputs


class ConcatenatedReLU(nn.Module):
    """[ReLU(x), ReLU(-x)] along the channels, so twice as many (Shang et al. 2016, arXiv 1603.05201, definition 2.1).

    Input [batch, channels, h, w] for dim=1, [..., features] for dim=-1.
    """

    def __init__(self, dim: int = 1):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Positive parts of x, then positive parts of -x."""
        return torch.cat([x, -x], self.dim).relu()

    def extra_repr(self) -> str:
        """The dimension."""
        return f"dim={self.dim}"


@dataclass(eq=False)
class CReLU(Intervention):
    """Each ReLU of the head becomes x -> [ReLU(x), ReLU(-x)], and the layer before it has half as many outputs.

    where: "head", as Lee et al. 2024 A.4 have it in VGG, or "all" ReLUs in plain chains, as they have it in the MLP.

    Shang et al. 2016; Abbas et al. 2023 (arXiv 2303.07507); halved as in Lee et al. 2024 A.4, so that the next layer
    fits. (The latter prints -ReLU(-x) for the second half; Shang's is ReLU(-x), which is meant.) A halved layer keeps
    the first half of its initial rows, whose fan-in is unchanged; norm layers are halved likewise.
    """

    where: str = "head"

    reshapes = True

    def __post_init__(self):
        notation.within(self, where=("head", "all"))

    def reshape(self, model, head):
        """Halve and replace, in place. ValueError, where no ReLU is or a layer can't be halved."""
        chains = written_chains("crelu", model, (nn.ReLU,), head if self.where == "head" else "")
        if not chains:
            needs = "crelu needs ReLUs after a convolution or linear layer in a plain nn.Sequential"
            place, more = "", ""
            if self.where == "head":
                place, more = f"the head {head!r} of ", "; crelu(where=all) changes those of the whole network"
            raise ValueError(f"{needs}: {place}{type(model).__name__} has none{more}")
        shared = tied(model)
        halved = Counter(id(place.module) for layer, norm, _ in chains for place in (layer, norm) if place)
        for layer, norm, _ in chains:
            _refuse(layer, norm, shared, halved)
        for layer, norm, activation in chains:
            _halve(layer.module)
            if norm:
                _halve(norm.module)
            dim = 1 if isinstance(layer.module, nn.Conv2d) else -1
            layer.parent._modules[activation.name] = ConcatenatedReLU(dim)


def _refuse(layer, norm, shared: set[int], halved: Counter):
    name, module, norm = f"{layer.path}.{layer.name}".lstrip("."), layer.module, norm and norm.module
    if outputs(module) % 2:
        raise ValueError(f"crelu needs an even number of outputs to halve: layer {name!r} has {outputs(module)}")
    if getattr(module, "groups", 1) > 1:
        raise ValueError(f"crelu can't halve a convolution with groups: layer {name!r} has {module.groups}")
    if isinstance(norm, nn.GroupNorm) and norm.num_channels // 2 % norm.num_groups:
        has = f"{norm.num_channels} channels in {norm.num_groups} groups"
        raise ValueError(f"crelu can't halve the norm layer after {name!r}: {has}")
    both = [module, norm] if norm else [module]
    if any(halved[id(part)] > 1 or any(id(p) in shared for p in part.parameters()) for part in both):
        raise ValueError(f"crelu can't halve a layer that is shared, or whose weights are: layer {name!r}")


@torch.no_grad()
def _halve(layer: nn.Module):
    """Keep the first half of a layer's outputs: parameters and running statistics, each by its first dimension."""
    for name, parameter in layer._parameters.items():
        if parameter is not None:
            layer._parameters[name] = nn.Parameter(parameter[: len(parameter) // 2].clone(), parameter.requires_grad)
    for name, buffer in layer._buffers.items():
        if buffer is not None and buffer.ndim:
            layer._buffers[name] = buffer[: len(buffer) // 2].clone()
    for name in WIDTHS:
        if hasattr(layer, name):
            setattr(layer, name, getattr(layer, name) // 2)
    if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        layer.normalized_shape = (layer.normalized_shape[0] // 2, *layer.normalized_shape[1:])


class LayerNorm(Intervention):
    """A layer norm before each activation of a plain chain, instead of a batch norm there (Lyle et al. 2023).

    arXiv 2303.01486. After a linear layer nn.LayerNorm(features); after a convolution nn.GroupNorm(1, channels), which
    is layer norm over channels and positions with a gain and shift for each channel.
    """

    reshapes = True

    def reshape(self, model, head):
        """Insert or replace, in place. Raises ValueError for a network without such a place."""
        chains = written_chains("layer_norm", model, (*ACTIVATIONS, ConcatenatedReLU))
        chains = [chain for chain in chains if not (chain[1] and isinstance(chain[1].module, LAYER_NORMS))]
        if not chains:
            needs = "layer_norm needs activations after a convolution or linear layer in a plain nn.Sequential"
            has = f"{type(model).__name__} has none (transformers have theirs already)"
            raise ValueError(f"{needs}, without a layer norm yet: {has}")
        for layer, norm, activation in chains:
            size, modules = outputs(layer.module), layer.parent._modules
            new = nn.GroupNorm(1, size) if isinstance(layer.module, nn.Conv2d) else nn.LayerNorm(size)
            if norm:
                modules[norm.name] = new
            else:
                _insert(modules, activation.name, new)


def _insert(modules: dict, before: str, new: nn.Module):
    """Put a module before another, under a name of its own: the others keep theirs."""
    items = list(modules.items())
    modules.clear()
    for name, module in items:
        if name == before:
            modules[f"{name}_norm"] = new
        modules[name] = module
