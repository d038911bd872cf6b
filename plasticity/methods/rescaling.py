"""Soft weight rescaling: after each step every layer's norm moves a little back to what it was at initialisation."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..interventions import Intervention
from ..training import notation

NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)  # the first: batch and instance normalisation
CONNECTED = (nn.Linear, nn.MultiheadAttention)
PRODUCTS = ("auto", "always", "never")


@dataclass(eq=False)
class SoftRescaling(Intervention):
    """Soft Weight Rescaling (Oh et al. 2025, arXiv 2507.04683): bounds every layer's norm and leaves the predictions alone.

    After every optimiser step, with W_l and b_l of layer l and its norm n_l at the start of the first phase:

        c_l = (lambda n_l + (1 - lambda) |W_l|) / |W_l|,  W_l <- c_l W_l,  b_l <- C_l b_l,  |.| the Frobenius norm,

    C_l the product of the c's from the last normalisation layer (without one: from the first layer) up to l, in forward order;
    for layers in front of that one c_l alone. A layer is a module with a ``weight`` (an attention's ``in_proj_weight``), and gain
    and shift of a normalisation layer are one; other parameters, such as class tokens, are left alone, as is a weight of norm zero.
    If a step adds at most g to a norm, it stays below n_l + g (1 - lambda) / lambda. Pretrained weights: n_l is their norm.

    A network without normalisation whose activations are homogeneous (ReLU) has its outputs multiplied by the last C: the
    predicted classes stay. With normalisation layers this holds from the last one on. In front of it, batch normalisation in
    training mode undoes any scale, but its running statistics are not rescaled, as in the paper: in evaluation they lag behind the
    scaled activations and catch up at their momentum.

    features: lambda of convolutions, normalisation and other layers, 0 to 1, default 0.001.
    classifier: lambda of all fully connected layers, an attention's projections included, 0 to 1, default 0.001.
    reinit: whether n_l becomes the present norm with the first step after each decay of the learning rate (the paper's "+ re-init").
        Meant for decay in steps: under a cosine every step is a decay, and nothing is rescaled.
    product: "auto" takes C_l only where it keeps the promise above, which a trial on two images tells. Where branches are added up
        behind the last normalisation layer (ResNet), or an activation is not homogeneous, each bias gets its own c_l: the norms
        are bounded all the same. "always" refuses such networks with a ValueError; "never" takes c_l everywhere.
    """

    features: float = 0.001
    classifier: float = 0.001
    reinit: bool = False
    product: str = "auto"

    def __post_init__(self):
        notation.within(self, 0, 1)
        if self.product not in PRODUCTS:
            raise ValueError(
                f"SoftRescaling: product={self.product!r} is unknown; allowed: {', '.join(map(repr, PRODUCTS))}"
            )

    def prepare(self, model, start):
        """In the first phase find the layers, their order and norms; ValueError for a network that ``product="always"`` refuses.

        Afterwards ``names`` are the layers in order, ``norms`` [layers] the n_l, and ``reason`` says why C_l is not used ("": it is).
        """
        if start.phase == 1:
            layers = _layers(model)
            self.names, first, self.reason = list(layers), len(layers), f"product={self.product!r}"
            if self.product != "never":
                self.names, first, self.reason = _chain(model, start.images)
            if self.reason and self.product == "always":
                raise ValueError(f"soft rescaling with product='always': {self.reason}")
            self._first = len(layers) if self.reason else first
            self._weights = [layers[name][0] for name in self.names]
            biased = [i for i, name in enumerate(self.names) if layers[name][1] is not None]
            self._tensors = self._weights + [layers[self.names[i]][1] for i in biased]
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
        running = torch.cat([own[: self._first], own[self._first :].cumprod(0)])
        torch._foreach_mul_(self._tensors, torch.cat([own, running[self._biased]]).unbind())

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
    """(weight, bias or None) of every layer by name, as registered; a weight that two layers share is the first one's."""
    found, seen = {}, set()
    for name, module in model.named_modules():
        for prefix in ("", "in_proj_"):
            weight, bias = (getattr(module, prefix + kind, None) for kind in ("weight", "bias"))
            if isinstance(weight, nn.Parameter) and id(weight) not in seen:
                seen.add(id(weight))
                found[name] = weight, bias if isinstance(bias, nn.Parameter) else None
    return found


@torch.no_grad()
def _chain(model: nn.Module, images) -> tuple[list[str], int, str]:
    """Layers in forward order, the place of the last normalisation layer in it, and why the layers from there on are no chain.

    A trial decides: scaled layer by layer, does each give its output times all scales so far? It runs on a copy in double
    precision and evaluation mode: the model, its buffers and the random streams see nothing of it.
    """
    if images is None:
        return list(_layers(model)), 0, "the order of its layers is unknown without images"
    model, batch = copy.deepcopy(model).double().eval(), images(2).double()
    layers, generator = _layers(model), torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if not parameter.any():  # zeros, as in fresh shifts and heads, would hide what stands in the way
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    when = {name: place for place, name in enumerate(_run(model, batch))}

    def place(
        name: str,
    ) -> int:  # a layer that is used without being called, as in attention, ends with the module it is in
        return when[name] if name in when else place(name.rpartition(".")[0])

    names = sorted(layers, key=place)
    last = max((place(name) for name, module in model.named_modules() if isinstance(module, NORMS)), default=0)
    first = sum(place(name) < last for name in names)
    tail = names[first:]
    before, total, totals = _run(model, batch, {*tail, ""}), 1.0, {}
    for i, name in enumerate(tail):
        scale = 3.0 + i % 3 if i else 1000.0  # so that a capped activation (ReLU6) surely meets its cap
        totals[name] = total = total * scale
        weight, bias = layers[name]
        weight.mul_(scale)
        if bias is not None:
            bias.mul_(total)
    after = _run(model, batch, {*tail, ""})
    for name in (*tail, ""):
        if name in before:
            expected = before[name] * totals.get(name, total)
            if not (after[name] - expected).abs().max() <= 1e-6 * expected.abs().max():  # NaN is no chain, either
                where = f"the output of {name!r}" if name else "the network's output"
                return (
                    names,
                    first,
                    (
                        f"{where} is not multiplied by the scales of the layers up to it (branches that are added up, or "
                        "an activation that is not homogeneous?)"
                    ),
                )
    return names, first, ""


def _run(model: nn.Module, images: Tensor, keep: set[str] = frozenset()) -> dict[str, Tensor | None]:
    """One forward pass: the modules by name in the order in which they ended, with copies of the outputs to keep."""
    outputs = {}

    def note(name):
        def hook(module, inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            outputs[name] = output.clone() if name in keep else None

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    model(images)
    for hook in hooks:
        hook.remove()
    return outputs
