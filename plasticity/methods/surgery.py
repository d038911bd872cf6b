"""Methods that change the layers of a network that was just initialised: other activations, other norm layers.

They act on plain chains: inside one ``nn.Sequential`` (the class itself), a convolution or linear layer, a norm layer or none,
an activation. No layer changes its name, so heads stay where they are.
"""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..interventions import Intervention
from .units import ACTIVATIONS, LAYERS

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)


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


@dataclass(frozen=True)
class _Chain:
    """Where a chain lies: in ``parent`` (called ``path``), by the names of its layers there."""

    parent: nn.Sequential
    path: str
    producer: str
    norm: str | None
    activation: str

    def layer(self, which: str) -> nn.Module:
        return self.parent._modules[getattr(self, which)]


def _chains(model: nn.Module, activations: tuple) -> list[_Chain]:
    found = []
    for path, parent in model.named_modules():
        if type(parent) is not nn.Sequential:
            continue
        items = list(parent._modules.items())  # named_children would leave out a ReLU that is used twice
        for i, (name, module) in enumerate(items):
            after = items[i + 1 : i + 3]
            norm = after.pop(0)[0] if after and isinstance(after[0][1], NORMS) else None
            if isinstance(module, LAYERS) and after and isinstance(after[0][1], activations):
                found.append(_Chain(parent, path, name, norm, after[0][0]))
    return found


def _dim(layer: nn.Module) -> int:
    return 1 if isinstance(layer, nn.Conv2d) else -1


class CReLU(Intervention):
    """Each ReLU of a plain chain becomes x -> [ReLU(x), ReLU(-x)], and the layer before it has half as many outputs.

    Shang et al. 2016; Abbas et al. 2023 (arXiv 2303.07507); halved as in Lee et al. 2024 A.4, so that the next layer fits. (The
    latter prints -ReLU(-x) for the second half; Shang's is ReLU(-x), which is meant.) A halved layer keeps the first half of
    its initial rows, whose fan-in is unchanged; norm layers are halved likewise.
    """

    reshapes = True

    def reshape(self, model):
        """Halve and replace, in place. Raises ValueError, before anything is changed, for a network without such a ReLU, and
        for layers that can't be halved: odd widths, groups, shared layers or weights."""
        chains = _chains(model, (nn.ReLU,))
        if not chains:
            raise ValueError(
                f"crelu needs ReLUs after a convolution or linear layer in a plain nn.Sequential: "
                f"{type(model).__name__} has none"
            )
        owners = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
        halved = Counter(
            id(chain.layer(part)) for chain in chains for part in ("producer", "norm") if getattr(chain, part)
        )
        for chain in chains:
            _check(chain, owners, halved)
        for chain in chains:
            producer = chain.layer("producer")
            _halve(producer)
            if chain.norm:
                _halve(chain.layer("norm"))
            chain.parent._modules[chain.activation] = ConcatenatedReLU(_dim(producer))


def _check(chain: _Chain, owners: Counter, halved: Counter):
    producer, norm, name = (
        chain.layer("producer"),
        chain.norm and chain.layer("norm"),
        f"{chain.path}.{chain.producer}".lstrip("."),
    )
    if len(producer.weight) % 2:
        raise ValueError(f"crelu needs an even number of outputs to halve: layer {name!r} has {len(producer.weight)}")
    if getattr(producer, "groups", 1) > 1:
        raise ValueError(f"crelu can't halve a convolution with groups: layer {name!r} has {producer.groups}")
    if isinstance(norm, nn.GroupNorm) and norm.num_channels // 2 % norm.num_groups:
        raise ValueError(
            f"crelu can't halve the norm layer after {name!r}: {norm.num_channels} channels in {norm.num_groups} groups"
        )
    layers = [layer for layer in (producer, norm) if layer]
    if any(halved[id(layer)] > 1 or any(owners[id(p)] > 1 for p in layer.parameters()) for layer in layers):
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
    for name in ("out_channels", "out_features", "num_features", "num_channels"):
        if hasattr(layer, name):
            setattr(layer, name, getattr(layer, name) // 2)
    if isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = (layer.normalized_shape[0] // 2, *layer.normalized_shape[1:])


class LayerNorm(Intervention):
    """A layer norm before each activation of a plain chain, in place of a batch norm if there is one (Lyle et al. 2023).

    arXiv 2303.01486. After a linear layer nn.LayerNorm(features); after a convolution nn.GroupNorm(1, channels), which is
    layer norm over channels and positions with a gain and shift for each channel.
    """

    reshapes = True

    def reshape(self, model):
        """Insert or replace, in place. Raises ValueError for a network without such a place."""
        chains = [
            chain
            for chain in _chains(model, (*ACTIVATIONS, ConcatenatedReLU))
            if chain.norm is None or not isinstance(chain.layer("norm"), (nn.LayerNorm, nn.GroupNorm))
        ]
        if not chains:
            raise ValueError(
                f"layer_norm needs activations after a convolution or linear layer in a plain nn.Sequential, without a "
                f"layer norm yet: {type(model).__name__} has none (transformers have theirs already)"
            )
        for chain in chains:
            producer, modules = chain.layer("producer"), chain.parent._modules
            size = len(producer.weight)
            norm = nn.GroupNorm(1, size) if isinstance(producer, nn.Conv2d) else nn.LayerNorm(size)
            if chain.norm:
                modules[chain.norm] = norm
                continue
            items = list(modules.items())
            modules.clear()
            for name, module in items:  # under a name of its own: the others keep theirs
                if name == chain.activation:
                    modules[f"{name}_norm"] = norm
                modules[name] = module
