"""Hidden units of a network, and two methods that recycle the least useful of them.

A unit is an output channel of a convolution or an output feature of a linear layer, as its activation shows it. Only
plain chains count: layer, batch norm or none, activation, then pooling, dropout or flattening, then exactly one next
layer. So what a residual connection, an attention or a functional mean reads is no unit here. Sources: Sokar et al.
2023 (arXiv 2302.12902), Dohare et al. 2024 (Nature 632, 768-774; arXiv 2306.13812).
"""

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..networks.initialisers import require_drawable, sample
from ..networks.plain import why_not_plain
from ..networks.ties import tied
from ..training import notation
from ..training.optimizers import clear_moments
from .chains import LAYERS, Call, hidden, outputs, refuse_odd, traced_calls, watched
from .selective import Drawing

POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)  # dropout is not seen in evaluation
RESHAPING = ("flatten", "view", "reshape")
SCORED = 512  # images on which ReDo scores units


@dataclass(frozen=True, eq=False)
class Units:
    """The hidden units between two layers. Unit i: row i of ``producer.weight``, entry i of ``norm``, and ``block``
    input columns of the consumer from i x block (one, or h x w where a convolution's output was flattened). ``name`` is
    the producer's."""

    producer: nn.Module
    norm: nn.Module | None
    activation: nn.Module  # a copy of its own, not in place
    consumer: nn.Module
    block: int = 1
    name: str = ""

    @property
    def size(self) -> int:
        """The number of units."""
        return len(self.producer.weight)

    @property
    def source(self) -> nn.Module:
        """The module whose output the activation takes; unlike the activation it is called once per forward pass."""
        return self.norm or self.producer

    @property
    def frozen(self) -> bool:
        """Whether something that recycling writes to is not in training: then the units are left alone."""
        written = [parameter for part in self.parts[:-1] for parameter in part.parameters()]
        weight = self.consumer._parameters.get("weight")
        written += self.consumer.parameters() if weight is None else [weight]
        return not all(parameter.requires_grad for parameter in written)

    @property
    def parts(self) -> list[nn.Module]:
        """The modules that must do what their classes say, the consumer last."""
        return [part for part in (self.producer, self.norm, self.activation, self.consumer) if part is not None]

    def zeros(self) -> Tensor:
        """A number for each unit, [size], on the device of the layer."""
        return torch.zeros(self.size, device=self.producer.weight.device)

    def magnitude(self, output: Tensor) -> Tensor:
        """E|h| [size] over items and positions, for the output of ``source``."""
        shown = self.activation.forward(output.detach()).float().abs_()  # new memory: no activation is in place
        axis = 1 if isinstance(self.producer, nn.Conv2d) else shown.ndim - 1
        return shown.mean([d for d in range(shown.ndim) if d != axis])

    def outgoing(self) -> Tensor:
        """Sum of |w| over the weights that leave each unit, [size]."""
        weight = self.consumer.weight.detach().abs()
        weight = weight.flatten(2).sum(2) if weight.ndim > 2 else weight  # several times as fast as all at once
        return weight.sum(0).view(self.size, self.block).sum(1)

    @torch.no_grad()
    def renew(self, chosen: Tensor, initial: dict[str, Tensor], optimizer, generator: torch.Generator) -> None:
        """Incoming weights of the ``chosen`` units (int64 [k]) from the distribution they began with, bias 0.

        That is, each picked at random from the layer's weights in ``initial``, the network's state dict as initialised.
        Their entries in a norm layer begin anew (gain 1, shift 0, running mean 0 and variance 1). Moments are cleared;
        a step count, one per tensor, stays.
        """
        weight = self.producer.weight
        chosen = chosen.to(weight.device)
        fresh = sample(initial[f"{self.name}.weight"], weight[0].numel() * len(chosen), generator)
        _put(weight, chosen, fresh.view(len(chosen), *weight.shape[1:]).to(weight), optimizer)
        _put(self.producer.bias, chosen, 0.0, optimizer)
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            _put(getattr(self.norm, name, None), chosen, value, optimizer)

    @torch.no_grad()
    def cut(self, chosen: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
        """Outgoing weights of the ``chosen`` units (int64 [k]) zero, their moments cleared."""
        weight = self.consumer.weight
        chosen = chosen.to(weight.device)
        columns = (chosen[:, None] * self.block + torch.arange(self.block, device=weight.device)).flatten()
        _put(weight, (slice(None), columns), 0.0, optimizer)


def _put(tensor, where, values, optimizer):
    if tensor is not None:
        tensor[where] = values
        clear_moments(optimizer, tensor, where)


def recycle(
    chosen: list[tuple[Units, Tensor]],
    initial: dict[str, Tensor],
    optimizer: torch.optim.Optimizer | None,
    generator: torch.Generator,
) -> None:
    """Renew the chosen units of several layers, then cut them: a weight between two renewed units ends at zero."""
    for units, which in chosen:
        units.renew(which, initial, optimizer, generator)
    for units, which in chosen:
        units.cut(which, optimizer)


@torch.no_grad()
def mean_activations(model: nn.Module, layers: list[Units], images: Tensor, batch: int = 64) -> list[Tensor]:
    """E|h| [size] of each layer's units over images [n, 3, h, w] and positions, in evaluation mode."""
    sums = [units.zeros() for units in layers]

    def adding(units, total):
        def hook(module, inputs, output):  # what a hook returns would take the output's place
            total.add_(units.magnitude(output), alpha=len(output))

        return hook

    hooks = [(units.source, adding(units, total)) for units, total in zip(layers, sums, strict=True)]
    with watched(model, hooks):
        for part in images.split(batch):
            model(part)
    return [total / len(images) for total in sums]


def find_units(model: nn.Module, images: Tensor) -> list[Units]:
    """The hidden units of a network, layer by layer in forward order, by one pass of images [n, 3, h, w].

    Not among them: layers called more than once, weights that are tied or read elsewhere, consumers with groups, layers
    that compute something else than their class, and whatever is no plain chain.
    """
    return [units for units in _chains(model, images) if not any(map(why_not_plain, units.parts))]


def _chains(model: nn.Module, images: Tensor) -> Iterator[Units]:
    """What the units of a network are if each layer does what its class says."""
    calls, shared = traced_calls(model, images), tied(model)
    often = Counter(id(call.module) for call in calls)
    shared |= {key[0] for call in calls for key in call.takes}  # with the parameters that a function takes

    def sole(module: nn.Module | None) -> bool:
        return module is None or often[id(module)] == 1 and not any(id(p) in shared for p in module.parameters())

    names = {id(module): name for name, module in model.named_modules()}
    for call in calls:
        units = _units(call) if isinstance(call.module, LAYERS) else None
        if units and all(map(sole, (units.producer, units.norm, units.consumer))):
            yield replace(units, name=names[id(units.producer)])


def _units(layer: Call) -> Units | None:
    """The units of a layer, if its chain goes on through pooling and flattening to one next layer."""
    norm, activation = hidden(layer) or (None, None)
    if activation is None or (norm and not _normalises(norm, layer.module)):
        return None
    shown = copy.deepcopy(activation.module)
    shown.inplace = False  # a layer without the option takes no notice
    call, of_conv, flat = activation.next, isinstance(layer.module, nn.Conv2d), False
    while call:
        if isinstance(call.module, LAYERS):
            block = _columns(call.module, outputs(layer.module), of_conv, flat)
            return Units(layer.module, norm and norm.module, shown, call.module, block) if block else None
        if not of_conv or flat:
            return None
        flat = isinstance(call.module, nn.Flatten) or call.module in RESHAPING
        plain = isinstance(call.module, str) or not why_not_plain(call.module)
        if not plain or not (_flattens(call) if flat else isinstance(call.module, POOLING)):
            return None
        call = call.next
    return None


def _flattens(call: Call) -> bool:
    """Whether [n, channels, h, w] becomes [n, channels x h x w]."""
    return len(call.took) == 4 and len(call.gave) == 2 and call.took[0] == call.gave[0]


def _columns(consumer: nn.Module, size: int, of_conv: bool, flat: bool) -> int:
    """How many input columns of the consumer read one unit; 0 if they do not fit."""
    if isinstance(consumer, nn.Conv2d):
        return int(of_conv and not flat and consumer.groups == 1 and consumer.in_channels == size)
    return consumer.in_features // size if flat == of_conv and consumer.in_features % size == 0 else 0


def _normalises(norm: Call, layer: nn.Module) -> bool:
    """Whether a norm layer treats each unit of the layer before it by itself: layer and group norms mix them."""
    per_unit, of_conv = isinstance(norm.module, (nn.BatchNorm1d, nn.BatchNorm2d)), isinstance(layer, nn.Conv2d)
    return per_unit and (of_conv or len(norm.took) == 2) and norm.module.num_features == outputs(layer)


def _units_for(method: str, model, start) -> list[Units]:
    found = list(_chains(model, start.images(2)))
    trained = [part for units in found if not units.frozen for part in units.parts]
    refuse_odd(method, model, trained)
    found = [units for units in found if not any(map(why_not_plain, units.parts))]
    if not found:
        needs = "a layer, a batch norm or none, an activation (a module), and one next layer in a plain chain"
        raise ValueError(f"{method} needs units: {needs}; {type(model).__name__} has none")
    require_drawable(model, [f"{units.name}.weight" for units in found], method, start.initial)
    return found


@dataclass(eq=False)
class ReDo(Drawing):
    """Every ``every`` epochs, dormant units get new incoming weights, no outgoing ones (Sokar et al. 2023, alg. 1).

    A unit is dormant if s = E|h| / (mean over its layer's units of E|h|) <= threshold (equation 1), over up to 512 of
    the phase's images in evaluation mode and all positions; in a layer that is all zero, every unit is. Dormant units
    of all layers are chosen before any is changed. H&T A.4: every 5 epochs, thresholds from 0.01 to 0.5.

    Incoming weights come from the distribution they began with (Sokar et al., section 4): each is picked at random from
    the layer's own initial weights. Biases become 0, entries of a norm layer begin anew, the optimiser's moments of all
    these entries become 0 (step counts stay). Units stay if a layer or norm layer of theirs is out of training.
    """

    threshold: float = 0.1
    every: int = 5

    def __post_init__(self):
        notation.within(self, every="[1, inf)")

    def prepare(self, model, start):
        """Find the units. Raises ValueError if there are none, or a layer of theirs is no plain one (LoRA, ...)."""
        self.model, self.images, self.optimizer, self.initial = model, start.images, start.optimizer, start.initial
        self.units = _units_for("ReDo", model, start)
        return super().prepare(model, start)

    def after_epoch(self, epoch):
        """Recycle, in place."""
        layers = [units for units in self.units if not units.frozen]
        if epoch % self.every or not layers:
            return
        means = mean_activations(self.model, layers, self.images(SCORED))
        dormant = [(mean <= self.threshold * mean.mean()).nonzero().flatten() for mean in means]
        chosen = [(units, which) for units, which in zip(layers, dormant, strict=True) if len(which)]
        recycle(chosen, self.initial, self.optimizer, self.generator)


class _Watch:
    """A forward hook that notes E|h| of a layer's units in training. A copy of the network gets an idle one."""

    only_watches = True

    def __init__(self, units: Units | None = None, seen: Tensor | None = None):
        self.units, self.seen = units, seen

    def __call__(self, module, inputs, output):
        if self.units and module.training:
            with torch.no_grad():
                self.seen.copy_(self.units.magnitude(output))

    def __deepcopy__(self, memo):
        return _Watch()


@dataclass(eq=False)
class ContinualBackprop(Drawing):
    """After each step a share of each layer's mature units is replaced, least useful first (Dohare et al. 2024).

    Utility: u <- decay u + (1 - decay) E|h| sum|w_out|, E over the step's batch and positions, w_out after the step. A
    unit is mature when its age, in steps, exceeds ``maturity``. A layer's count grows by rate x mature units per step;
    each whole unit in it replaces the one with the lowest utility (ties by position), whose weights fare as in ReDo
    (incoming ones from the initial distribution: Dohare et al., algorithm 1); utility and age begin at 0.

    Utilities and ages go on through all phases, as the source knows of no tasks. How many units are of each age below
    maturity is counted by ``young`` {age: count}, as a GPU is never asked for it.
    """

    rate: float = 1e-4
    maturity: int = 100
    decay: float = 0.99

    def __post_init__(self):
        notation.within(self, rate="[0, 1]", decay="[0, 1)")

    def prepare(self, model, start):
        """Find the units and watch them. ValueError as for `ReDo`, and for a compiled network."""
        if start.compiled:
            ignores = "watches activations with hooks, which a compiled network ignores"
            raise ValueError(f"continual_backprop {ignores}: use compiled=False")
        for handle in getattr(self, "handles", []):
            handle.remove()
        self.units, self.optimizer = _units_for("continual_backprop", model, start), start.optimizer
        self.initial = start.initial
        self.seen = [units.zeros() for units in self.units]
        if start.phase == 1:
            self.utility = [units.zeros() for units in self.units]
            self.age = [utility.long() for utility in self.utility]
            self.young = [{0: units.size} for units in self.units]
            self.due = [0.0] * len(self.units)
        watches = [(units.source, _Watch(units, seen)) for units, seen in zip(self.units, self.seen, strict=True)]
        self.handles = [source.register_forward_hook(watch) for source, watch in watches]
        return super().prepare(model, start)

    def after_step(self, step):
        """Take the step into the utilities, and replace the units that are due, in place, without a wait for a GPU."""
        chosen = []
        for i, units in enumerate(self.units):
            if units.frozen:
                continue
            self.utility[i].lerp_(self.seen[i] * units.outgoing(), 1 - self.decay)
            self.age[i] += 1
            self.young[i] = {age + 1: count for age, count in self.young[i].items() if age < self.maturity}
            self.due[i] += self.rate * (units.size - sum(self.young[i].values()))
            count = int(self.due[i] + 1e-9)  # ten tenths are one
            if count:
                mature = self.age[i] > self.maturity
                lowest = self.utility[i].masked_fill(~mature, torch.inf).argsort(stable=True)[:count]
                self.due[i] -= count
                self.age[i][lowest] = self.utility[i][lowest] = 0
                self.young[i][0] = count
                chosen.append((units, lowest))
        recycle(chosen, self.initial, self.optimizer, self.generator)

    def state_dict(self):
        """Utilities, ages, counts and the state of the generator."""
        return {"utility": self.utility, "age": self.age, "due": self.due} | super().state_dict()

    def load_state_dict(self, state):
        """Go on where it was."""
        for name in ("utility", "age"):
            for mine, value in zip(getattr(self, name), state[name], strict=True):
                mine.copy_(value)
        self.due = list(state["due"])
        self.young = [Counter(age[age <= self.maturity].tolist()) for age in state["age"]]
        super().load_state_dict(state)
