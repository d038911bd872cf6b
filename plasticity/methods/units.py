"""Hidden units of a network, found by watching one forward pass; and two methods that recycle the least useful of them.

A unit is an output channel of a convolution or an output feature of a linear layer, as its activation function shows it.
Only plain chains count: layer, norm layer or none, activation, then pooling, dropout or flattening, then exactly one next
layer. So what a residual connection, an attention or a functional mean reads is no unit here. Sources: Sokar et al. 2023
(arXiv 2302.12902), Dohare et al. 2024 (Nature 632, 768-774; arXiv 2306.13812).
"""

import copy
from collections import Counter, defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..interventions import Intervention
from ..reinit import _forget, _initialiser
from ..training import notation
from .resets import own_generator

LAYERS = (nn.Conv2d, nn.Linear)
ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
)  # each works on every entry alone and has no parameter
POOLING = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)  # dropout hands on its input, so it is not seen
RESHAPING = ("flatten", "view", "reshape")
SCORED = 512  # images on which ReDo scores units


@dataclass(frozen=True, eq=False)
class Units:
    """The hidden units between two layers. Unit i: row i of ``producer.weight``, ``block`` input columns of the consumer from
    i x block (one, or h x w where a convolution's output was flattened), entry i of ``norm``."""

    producer: nn.Module
    norm: nn.Module | None
    activation: nn.Module  # a copy of its own, not in place
    consumer: nn.Module
    block: int = 1

    @property
    def size(self) -> int:
        """The number of units."""
        return len(self.producer.weight)

    @property
    def source(self) -> nn.Module:
        """The module whose output the activation takes; unlike the activation it is called once a forward pass."""
        return self.norm or self.producer

    @property
    def frozen(self) -> bool:
        """Whether a layer is not in training: then its units are left alone."""
        return not (self.producer.weight.requires_grad and self.consumer.weight.requires_grad)

    def magnitude(self, output: Tensor) -> Tensor:
        """E|h| [size] over items and positions, for the output of ``source``."""
        shown = self.activation.forward(output.detach()).float().abs()
        axis = 1 if isinstance(self.producer, nn.Conv2d) else shown.ndim - 1
        return shown.mean([d for d in range(shown.ndim) if d != axis])

    def outgoing(self) -> Tensor:
        """Sum of |w| over the weights that leave each unit, [size]."""
        weight = self.consumer.weight.detach().abs()
        return weight.sum([d for d in range(weight.ndim) if d != 1]).view(self.size, self.block).sum(1)

    @torch.no_grad()
    def renew(self, chosen: Tensor, optimizer: torch.optim.Optimizer | None, generator: torch.Generator) -> None:
        """Incoming weights of the ``chosen`` units (int64 [k]) redrawn as the layer's ``reset_parameters`` draws them, bias 0.

        Their entries in a norm layer begin anew (gain 1, shift 0, running mean 0 and variance 1). Moments are cleared; a step count,
        one a tensor, stays.
        """
        weight = self.producer.weight
        chosen = chosen.to(weight.device)
        fresh = _initialiser(self.producer, "weight", "R", weight[0].numel() * len(chosen), generator)
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
        if optimizer:
            mask = torch.zeros_like(tensor, dtype=torch.bool)
            mask[where] = True
            _forget(optimizer, tensor, mask)


def recycle(
    chosen: list[tuple[Units, Tensor]], optimizer: torch.optim.Optimizer | None, generator: torch.Generator
) -> None:
    """Renew the chosen units of several layers, then cut them: a weight between two renewed units ends at zero."""
    for units, which in chosen:
        units.renew(which, optimizer, generator)
    for units, which in chosen:
        units.cut(which, optimizer)


@torch.no_grad()
def mean_activations(model: nn.Module, layers: list[Units], images: Tensor, batch: int = 64) -> list[Tensor]:
    """E|h| [size] of each layer's units over images [n, 3, h, w] and positions, in evaluation mode; touches no buffer."""
    sums = [torch.zeros(units.size, device=units.producer.weight.device) for units in layers]

    def adding(total, units):
        def hook(module, inputs, output):  # what a hook returns would take the output's place
            total.add_(units.magnitude(output), alpha=len(output))

        return hook

    handles = [
        units.source.register_forward_hook(adding(total, units)) for units, total in zip(layers, sums, strict=True)
    ]
    was = model.training
    model.eval()
    try:
        for part in images.split(batch):
            model(part)
    finally:
        model.train(was)
        for handle in handles:
            handle.remove()
    return [total / len(images) for total in sums]


# --- finding them -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _Call:
    """One call of a leaf module or, between modules, of a torch function: what it took and gave."""

    what: nn.Module | str
    takes: list
    took: torch.Size  # shape of its first tensor
    gave: torch.Size
    gives: tuple


class _Trace(TorchFunctionMode):
    """Who uses which tensor in one forward pass. A tensor is its identity and its version: an in-place ReLU makes a new one."""

    def __init__(self):
        super().__init__()
        self.calls, self.users, self.kept, self.pending = [], defaultdict(list), [], []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.pending:  # inside a leaf module
            return function(*args, **kwargs)
        taken = self.look((args, kwargs))
        result = function(*args, **kwargs)
        self.note(getattr(function, "__name__", ""), taken, result)
        return result

    def look(self, tree):
        """[(identity and version, shape)] of the tensors in it, which are kept alive so that no identity is used again."""
        tensors = [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
        self.kept += tensors
        return [((id(tensor), tensor._version), tensor.shape) for tensor in tensors]

    def note(self, what, taken, result):
        given = self.look(result)
        keys = [key for key, _ in taken]
        if (
            not taken or not given or given[0][0] in keys
        ):  # nothing taken or made, or handed through as it was (dropout in evaluation)
            return
        call = _Call(what, keys, taken[0][1], given[0][1], given[0][0])
        self.calls.append(call)
        for key in keys:
            self.users[key].append(call)

    def enter(self, module, args, kwargs):
        with torch._C.DisableTorchFunction():
            self.pending.append(self.look((args, kwargs)))

    def leave(self, module, args, result):
        with torch._C.DisableTorchFunction():
            self.note(module, self.pending.pop(), result)


@torch.no_grad()
def find_units(model: nn.Module, images: Tensor) -> list[Units]:
    """The hidden units of a network, layer by layer in forward order, by one pass of images [n, 3, h, w] in evaluation mode.

    Not among them: layers called more than once, tied weights, consumers with groups, and whatever is no plain chain.
    """
    trace, handles, was = _Trace(), [], model.training
    for module in model.modules():
        if not list(module.children()):
            handles.append(module.register_forward_pre_hook(trace.enter, with_kwargs=True))
            handles.append(module.register_forward_hook(trace.leave))
    model.eval()
    try:
        with trace:
            result = model(images)
    finally:
        model.train(was)
        for handle in handles:
            handle.remove()
    for key, _ in trace.look(result):
        trace.users[key].append(None)  # what the network gives out has a reader more
    owners = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    often = Counter(id(call.what) for call in trace.calls)

    def sole(module: nn.Module) -> bool:
        own = [parameter for parameter in module._parameters.values() if parameter is not None]
        return (
            module._parameters.get("weight") is not None
            and often[id(module)] == 1
            and all(owners[id(p)] == 1 for p in own)
        )

    chains = (_chain(call, trace.users) for call in trace.calls if isinstance(call.what, LAYERS))
    return [
        u for u in chains if u and sole(u.producer) and sole(u.consumer) and (u.norm is None or often[id(u.norm)] == 1)
    ]


def _chain(first: _Call, users) -> Units | None:
    producer, norm, activation, flat, call = first.what, None, None, False, first
    size, of_conv = len(producer.weight), isinstance(producer, nn.Conv2d)
    while len(users[call.gives]) == 1 and (call := users[call.gives][0]) and len(call.takes) == 1:
        what = call.what
        if activation is None:
            if isinstance(what, ACTIVATIONS):
                activation = copy.deepcopy(what)
                activation.inplace = False  # a layer without the option takes no notice
            elif norm is None and _normalises(what, size, of_conv, call.took):
                norm = what
            else:
                return None
        elif isinstance(what, LAYERS):
            if of_conv and isinstance(what, nn.Conv2d) and not flat:
                return (
                    Units(producer, norm, activation, what) if what.groups == 1 and what.in_channels == size else None
                )
            fits = isinstance(what, nn.Linear) and flat == of_conv and what.in_features % size == 0
            return Units(producer, norm, activation, what, what.in_features // size) if fits else None
        elif (
            isinstance(what, nn.Flatten) or what in RESHAPING
        ):  # [n, channels, h, w] to [n, channels x h x w], nothing else
            if not (
                of_conv and not flat and len(call.took) == 4 and len(call.gave) == 2 and call.took[0] == call.gave[0]
            ):
                return None
            flat = True
        elif flat or not of_conv or not isinstance(what, POOLING):
            return None
    return None


def _normalises(module, size: int, of_conv: bool, shape: torch.Size) -> bool:
    """Whether it is a norm layer with an entry for each unit; ``shape`` is that of its input."""
    if isinstance(module, nn.LayerNorm):
        return not of_conv and tuple(module.normalized_shape) == (size,)
    if isinstance(module, nn.GroupNorm):
        return (of_conv or len(shape) == 2) and module.num_channels == size
    return (
        isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        and (of_conv or len(shape) == 2)
        and module.num_features == size
    )


def _units_for(method: str, model, start) -> list[Units]:
    found = find_units(model, start.images(2))
    if not found:
        raise ValueError(
            f"{method} needs units: a convolution or linear layer, its activation (a module), and one next layer in a "
            f"plain chain; {type(model).__name__} has none"
        )
    return found


# --- the methods ------------------------------------------------------------------------------------------------------
@dataclass(eq=False)
class ReDo(Intervention):
    """Every ``every`` epochs, dormant units are recycled: new incoming weights, no outgoing ones (Sokar et al. 2023, algorithm 1).

    A unit is dormant if s = E|h| / (mean over its layer's units of E|h|) <= threshold (equation 1), over up to 512 of the
    phase's images in evaluation mode and all positions; in a layer that is all zero, every unit is. Dormant units of all layers
    are chosen before any is changed. H&T A.4: every 5 epochs, thresholds from 0.01 to 0.5.

    Incoming weights come from the layer's ``reset_parameters``, biases become 0, entries of a norm layer begin anew, the
    optimiser's moments of all these entries become 0 (its step counts, one a tensor, stay). Layers out of training stay as they are.
    """

    threshold: float = 0.1
    every: int = 5

    def __post_init__(self):
        notation.within(self)
        if self.every < 1:
            raise ValueError(f"{self}: every is at least 1")

    def prepare(self, model, start):
        """Find the units. Raises ValueError if there are none."""
        self.model, self.images, self.optimizer = model, start.images, start.optimizer
        self.units, self.generator = _units_for("ReDo", model, start), own_generator(start)
        return []

    def after_epoch(self, epoch):
        """Recycle, in place."""
        if epoch % self.every:
            return
        layers = [units for units in self.units if not units.frozen]
        if not layers:
            return
        means = mean_activations(self.model, layers, self.images(SCORED))
        dormant = [(mean <= self.threshold * mean.mean()).nonzero().flatten() for mean in means]
        recycle(
            [(units, which) for units, which in zip(layers, dormant, strict=True) if len(which)],
            self.optimizer,
            self.generator,
        )

    def state_dict(self):
        """The state of the generator."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        """Go on in the same stream."""
        self.generator.set_state(state["generator"])


class _Watch:
    """A forward hook that notes E|h| of a layer's units in training. A copy of the network gets one that does nothing."""

    def __init__(self, units: Units | None = None, seen: Tensor | None = None):
        self.units, self.seen = units, seen

    def __call__(self, module, inputs, output):
        if self.units and module.training:
            with torch.no_grad():
                self.seen.copy_(self.units.magnitude(output))

    def __deepcopy__(self, memo):
        return _Watch()


@dataclass(eq=False)
class ContinualBackprop(Intervention):
    """After each step, a share ``rate`` of the mature units of each layer is replaced, the least useful first (Dohare et al. 2024).

    Utility: u <- decay u + (1 - decay) E|h| sum|w_out|, E over the step's batch and positions, w_out after the step. A unit is
    mature when its age, in steps, exceeds ``maturity``. A layer's count grows by rate x mature units a step; each whole unit in
    it replaces the one with the lowest utility (ties by position), whose weights fare as in ReDo; utility and age begin at 0.

    Utilities and ages go on through all phases, as the source knows of no tasks. ``rate=0`` changes nothing, bit for bit.
    """

    rate: float = 1e-4
    maturity: int = 100
    decay: float = 0.99

    def __post_init__(self):
        notation.within(self)
        if self.rate > 1 or self.decay >= 1:
            raise ValueError(f"{self}: rate is a share up to 1, decay is below 1")

    def prepare(self, model, start):
        """Find the units and watch them. Raises ValueError if there are none, or for a compiled network, which ignores new hooks."""
        if start.compiled:
            raise ValueError(
                "continual_backprop watches activations with hooks, which a compiled network ignores: use compiled=False"
            )
        for handle in getattr(self, "handles", []):
            handle.remove()
        self.units, self.generator = _units_for("continual_backprop", model, start), own_generator(start)
        self.optimizer = start.optimizer
        self.seen = [torch.zeros(units.size, device=units.producer.weight.device) for units in self.units]
        if start.phase == 1:
            self.utility = [torch.zeros_like(seen) for seen in self.seen]
            self.age = [
                torch.zeros(units.size, dtype=torch.int64) for units in self.units
            ]  # on the CPU: to ask it waits for no device
            self.due = [0.0] * len(self.units)
        watches = [_Watch(units, seen) for units, seen in zip(self.units, self.seen, strict=True)]
        self.handles = [watch.units.source.register_forward_hook(watch) for watch in watches]
        return []

    def after_step(self, step):
        """Take the step into the utilities, and replace the units that are due, in place."""
        chosen = []
        for i, units in enumerate(self.units):
            if units.frozen:
                continue
            self.utility[i].lerp_(self.seen[i] * units.outgoing(), 1 - self.decay)
            self.age[i] += 1
            mature = self.age[i] > self.maturity
            self.due[i] += self.rate * int(mature.sum())
            count = int(self.due[i] + 1e-9)  # ten tenths are one
            if count:
                lowest = self.utility[i].cpu().masked_fill(~mature, torch.inf).argsort(stable=True)[:count]
                self.due[i] -= count
                self.age[i][lowest] = 0
                self.utility[i][lowest.to(self.utility[i].device)] = 0
                chosen.append((units, lowest))
        recycle(chosen, self.optimizer, self.generator)

    def state_dict(self):
        """Utilities, ages, counts and the state of the generator."""
        return {"utility": self.utility, "age": self.age, "due": self.due, "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        """Go on where it was."""
        for name in ("utility", "age"):
            for mine, value in zip(getattr(self, name), state[name], strict=True):
                mine.copy_(value)
        self.due = list(state["due"])
        self.generator.set_state(state["generator"])
