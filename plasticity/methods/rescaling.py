"""Soft weight rescaling: after each step every layer's norm moves a little back to what it was at initialisation."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import compress

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..interventions import Intervention
from ..networks.competitors import NORMS
from ..networks.plain import why_not_plain, why_not_shown
from ..networks.ties import distinct
from ..training import notation
from .chains import watched

CONNECTED = (nn.Linear, nn.MultiheadAttention)
PRODUCTS = ("auto", "always", "never")


@dataclass(eq=False)
class SoftRescaling(Intervention):
    """Soft Weight Rescaling (Oh et al. 2025, arXiv 2507.04683): bounds every layer's norm, not the predictions.

    After every optimiser step, with W_l and b_l of layer l and its norm n_l at the start of the first phase:

        c_l = (lambda n_l + (1 - lambda) |W_l|) / |W_l|,  W_l <- c_l W_l,  b_l <- C_l b_l,  |.| the Frobenius norm,

    C_l the product of the c's from the last norm layer (without one: from the first layer) up to l, in forward order;
    for layers in front of that one c_l alone. A layer is a module with a ``weight`` (an attention's
    ``in_proj_weight``), and gain and shift of a norm layer are one; other parameters, such as class tokens, are left
    alone, as is a weight of norm zero, and whatever is out of training. If a step adds at most g to a norm, it stays
    below n_l + g (1 - lambda) / lambda. Pretrained weights: n_l is their norm.

    A network without norm layers whose activations are homogeneous (ReLU) has its outputs multiplied by the last C: the
    predicted classes stay. With norm layers this holds from the last one on. In front of it, batch normalisation in
    training
    mode undoes any scale, but its running statistics are not rescaled, as in the paper: in evaluation they lag behind
    the scaled activations and catch up at their momentum.

    A layer whose output is not multiplied by c where its weight and bias are (a weight-standardised convolution, a gain
    of 1 + w, LoRA) and one whose weight is computed (weight norm, a pruning mask) have no such norm: they are refused.

    features: lambda of convolutions, norm and other layers, 0 to 1.
    classifier: lambda of all fully connected layers, an attention's projections included, 0 to 1.
    reinit: whether n_l becomes the present norm with the first step after each decay of the learning rate (the paper's
        "+ re-init"). Meant for decay in steps: under a cosine every step is a decay, and nothing is rescaled.
    product: "auto" takes C_l only where it keeps the promise above, which a trial on two images tells. Where branches
        are added up behind the last norm layer (ResNet), or an activation is not homogeneous, each bias gets its own
        c_l, as where a layer of the chain is out of training: the norms are bounded all the same. "always" refuses
        such networks; "never" takes c_l.
    """

    features: float = 0.001
    classifier: float = 0.001
    reinit: bool = False
    product: str = "auto"

    def __post_init__(self):
        notation.within(self, features="[0, 1]", classifier="[0, 1]", product=PRODUCTS)

    def prepare(self, model, start):
        """In the first phase find the layers, their order and norms. ValueError that names a layer that can't be scaled
        or, with "always", where the chain breaks.

        Afterwards ``names`` are the layers in order, ``norms`` [layers] the n_l, ``reason`` why C_l is not used.
        """
        if start.phase == 1:
            layers = _layers(model)
            _refuse_odd(model, layers, start.images)
            self.names, first, self.reason = list(layers), len(layers), f"product={self.product!r}"
            if self.product != "never":
                self.names, first, self.reason = _examined(model, start.images(2))
            if self.reason and self.product == "always":
                raise ValueError(f"soft rescaling with product='always': {self.reason}")
            self._first = len(layers) if self.reason else first
            self._weights = [layers[name][0] for name in self.names]
            biased = [i for i, name in enumerate(self.names) if layers[name][1] is not None]
            self._tensors = self._weights + [layers[self.names[i]][1] for i in biased]
            self._places = [*range(len(self.names)), *biased]  # the layer of each
            self.norms = self._measure()
            connected = [isinstance(model.get_submodule(name), CONNECTED) for name in self.names]
            self._strengths = self.norms.new_tensor([self.classifier if c else self.features for c in connected])
            self._biased = torch.tensor(biased, dtype=torch.long, device=self.norms.device)
        self._optimizer, self._lr = start.optimizer, 0.0  # a new phase begins with no decay, however it warms up
        return []

    @torch.no_grad()
    def after_step(self, step):
        """Rescale all layers, in a fixed number of calls, whatever the depth, and without waiting for the device."""
        if not (self.features or self.classifier):
            return
        norms, lr = self._measure(), self._optimizer.param_groups[0]["lr"]
        if self.reinit and lr < self._lr:
            self.norms = norms
        self._lr = lr
        own = norms.lerp(self.norms, self._strengths).div_(norms).masked_fill_(norms == 0, 1)
        pairs = list(zip(self._places, self._tensors, strict=True))
        moved = [tensor.requires_grad and self._weights[i].requires_grad for i, tensor in pairs]
        broken = [i for i, moves in zip(self._places, moved, strict=True) if not moves and i >= self._first]
        if broken and self.product == "always":
            why = f"{self.names[broken[0]]!r} is out of training, so the chain ends there"
            raise ValueError(f"soft rescaling with product='always': {why}")
        first = len(own) if broken else self._first
        running = torch.cat([own[:first], own[first:].cumprod(0)])
        scales = torch.cat([own, running[self._biased]]).unbind()
        if any(moved):
            torch._foreach_mul_(list(compress(self._tensors, moved)), list(compress(scales, moved)))

    @torch.no_grad()
    def _measure(self) -> Tensor:
        return torch.stack(torch._foreach_norm(self._weights))

    def state_dict(self):
        """The n_l and the last learning rate."""
        return {"norms": self.norms, "lr": self._lr}

    def load_state_dict(self, state):
        """Go on with those."""
        self.norms, self._lr = state["norms"].to(self.norms.device), state["lr"]


def _layers(model: nn.Module) -> dict[str, tuple[Tensor, Tensor | None]]:
    """(weight, bias or None) of every layer by name, as registered; a shared weight is the first layer's."""
    found = {}
    for name, module in model.named_modules():
        for prefix in ("", "in_proj_"):
            weight, bias = (module._parameters.get(prefix + kind) for kind in ("weight", "bias"))
            if weight is not None:
                found[name] = weight, bias
    return {name: found[name] for name in distinct((name, weight) for name, (weight, _) in found.items())}


def _refuse_odd(model: nn.Module, layers: dict, images: Callable[[int], Tensor] | None) -> None:
    """Raise ValueError, by name, for a layer in training whose weight's norm is not the scale of its output."""
    trained = {n: m for n, m in model.named_modules() if any(p.requires_grad for p in _own(m))}
    why = {name: reason for name, module in trained.items() if (reason := why_not_shown(module))}
    odd = [name for name, module in trained.items() if not why and name in layers and why_not_plain(module)]
    why |= dict.fromkeys(odd and _unscaled(model, odd, images(2)), "its output does not grow as its weight and bias do")
    for name, reason in why.items():
        kind = type(trained[name]).__name__
        raise ValueError(f"soft rescaling can't scale layer {name!r} ({kind}): {reason}; take another method")


def _own(module: nn.Module) -> Iterator[nn.Parameter]:
    return module.parameters(recurse=parametrize.is_parametrized(module))


@torch.no_grad()
def _unscaled(model: nn.Module, names: list[str], images: Tensor) -> list[str]:
    """Which of these layers do not give three times as much for three times their weight and bias."""
    model, found = _doubled(model), []

    def trying(name, module, args, kwargs, output):
        layer = copy.deepcopy(module)
        for part, child in layer.named_children():  # such as the activation within a norm layer
            if not list(child.parameters()):
                layer._modules[part] = nn.Identity()
        before = _first(layer.forward(*args, **kwargs))
        for kind in ("weight", "bias"):
            if layer._parameters.get(kind) is not None:
                layer._parameters[kind].mul_(3)
        if not torch.allclose(_first(layer.forward(*args, **kwargs)), 3 * before, rtol=1e-6):
            found.append(name)

    for name in names:
        model.get_submodule(name).register_forward_hook(partial(trying, name), with_kwargs=True)
    model.eval()(images.double())
    return found


def _first(output) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _doubled(model: nn.Module) -> nn.Module:
    """A copy in double precision without zeros, as in fresh shifts and heads, that would hide what stands in the
    way."""
    model, draws = copy.deepcopy(model).double(), torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    return model


@torch.no_grad()
def _examined(model: nn.Module, images: Tensor) -> tuple[list[str], int, str]:
    """Layers in forward order, the place of the last norm layer in it, and why the layers from there on are no chain.

    On a copy in double precision: the model, its buffers and the random streams see nothing of it.
    """
    model, images = _doubled(model), images.double()
    ended = {name: place for place, name in enumerate(_outputs(model, images, ()))}

    # a layer that is used without being called, as in attention, ends with the module it is in
    def place(name: str) -> int:
        return ended[name] if name in ended else place(name.rpartition(".")[0])

    layers = _layers(model)
    names = sorted(layers, key=place)
    last = max((place(name) for name, module in model.named_modules() if isinstance(module, NORMS)), default=0)
    first = sum(place(name) < last for name in names)
    where = _breaks(model, images, {name: layers[name] for name in names[first:]})
    why = "(branches that are added up, or an activation that is not homogeneous?)"
    return names, first, f"{where} is not multiplied by the scales of the layers up to it {why}" if where else ""


def _breaks(model: nn.Module, images: Tensor, layers: dict[str, tuple[Tensor, Tensor | None]]) -> str:
    """Where a trial fails, or "": scaled layer by layer, each must give its output times all scales so far."""
    before, total, totals = _outputs(model, images, (*layers, "")), 1.0, {}
    for i, (name, (weight, bias)) in enumerate(layers.items()):
        scale = 3.0 + i % 3 if i else 1000.0  # so that a capped activation (ReLU6) surely meets its cap
        totals[name] = total = total * scale
        weight.mul_(scale)
        if bias is not None:
            bias.mul_(total)
    after = _outputs(model, images, (*layers, ""))
    for name in (*layers, ""):
        if name in before:
            expected = before[name] * totals.get(name, total)
            if not (after[name] - expected).abs().max() <= 1e-6 * expected.abs().max():  # NaN is no chain, either
                return f"the output of {name!r}" if name else "the network's output"
    return ""


def _outputs(model: nn.Module, images: Tensor, keep: tuple[str, ...]) -> dict[str, Tensor | None]:
    """One forward pass: the modules by name in the order in which they ended, with copies of the outputs to keep."""
    outputs = {}

    def noting(name):
        def hook(module, inputs, output):
            outputs[name] = _first(output).clone() if name in keep else None

        return hook

    with watched(model, [(module, noting(name)) for name, module in model.named_modules()]):
        model(images)
    return outputs
