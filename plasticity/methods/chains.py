"""Chains of layers: a layer, a norm layer or none, an activation; and watching a network while it runs.

One rule, `hidden`, finds them in two kinds of steps: the modules of an ``nn.Sequential`` as they are written
(`written_chains`), and the calls of one forward pass (`traced_calls`), which also tell who else reads an output.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ..networks.competitors import NORMS
from ..networks.plain import why_not_plain
from ..training import measures

LAYERS = (nn.Conv2d, nn.Linear)
# Each works on every entry alone and has no parameter.
ACTIVATIONS = tuple(kind for kind in measures.ACTIVATIONS if kind not in (nn.PReLU, nn.RReLU))


def outputs(layer: nn.Module) -> int:
    """The number of outputs of a convolution (its channels) or linear layer (its features)."""
    return layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features


def refuse_odd(method: str, model: nn.Module, modules: Iterable[nn.Module]) -> None:
    """Raise ValueError, by its name in the model, for a module that does something else than its class."""
    for module in modules:
        if why := why_not_plain(module):
            name = next((name for name, other in model.named_modules() if other is module), "")
            takes = f"{method} takes only layers that compute what PyTorch's own do"
            raise ValueError(f"{takes}: {name!r} ({type(module).__name__}) does not, as {why}; take another method")


def hidden(layer, activations: tuple = ACTIVATIONS):
    """The steps (norm layer or None, activation) behind a layer's step, or None if anything else comes there.

    A step has a ``module`` and, as ``next``, the step that alone takes its output (or None).
    """
    norm, after = None, layer.next
    if after and isinstance(after.module, NORMS):
        norm, after = after, after.next
    return (norm, after) if after and isinstance(after.module, activations) else None


@dataclass(frozen=True)
class Place:
    """Step ``index`` of an ``nn.Sequential`` called ``path``, by the names its modules had at first."""

    parent: nn.Sequential
    path: str
    names: tuple[str, ...]
    index: int = 0

    @property
    def name(self) -> str:
        """The name within its parent."""
        return self.names[self.index]

    @property
    def module(self) -> nn.Module:
        """What is there now."""
        return self.parent._modules[self.name]

    @property
    def next(self) -> "Place | None":
        """The place behind it."""
        last = self.index + 1 == len(self.names)
        return None if last else Place(self.parent, self.path, self.names, self.index + 1)


def written_chains(
    method: str, model: nn.Module, activations: tuple, within: str = ""
) -> list[tuple[Place, Place | None, Place]]:
    """(layer, norm layer or None, activation) inside each ``nn.Sequential`` (the class itself) of a network, or of its
    module ``within``.

    Raises ValueError in the name of a method, if one of these does something else than its class.
    """
    found = []
    for path, parent in model.named_modules():
        if type(parent) is nn.Sequential and f"{path}.".startswith(within and f"{within}."):
            names = tuple(parent._modules)  # named_children would leave out a ReLU that is used twice
            places = (Place(parent, path, names, index) for index in range(len(names)))
            layers = (place for place in places if isinstance(place.module, LAYERS))
            found += [(layer, *behind) for layer in layers if (behind := hidden(layer, activations))]
    parts = [place.module for chain in found for place in chain if place]
    refuse_odd(method, model, [part for part in parts if isinstance(part, (*LAYERS, *NORMS, *ACTIVATIONS))])
    return found


@contextmanager
def watched(model: nn.Module, hooks: Iterable[tuple[nn.Module, Callable]]):
    """The network in evaluation mode, with a forward hook on each of these modules; afterwards as it was."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:  # each its own: a frozen norm layer stays in evaluation
            module.training = training
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a leaf module or, between modules, of a torch function (by its name)."""

    module: nn.Module | str
    takes: list  # the tensors, each by identity and version
    took: torch.Size  # shape of the first
    gave: torch.Size
    readers: list  # the calls that take the result, and None where the network gives it out

    @property
    def next(self) -> "Call | None":
        """The call that alone takes the result, and nothing besides."""
        reader = self.readers[0] if len(self.readers) == 1 else None
        return reader if reader and len(reader.takes) == 1 else None


class _Trace(TorchFunctionMode):
    """Who uses which tensor in one forward pass; by identity and version, as an in-place ReLU makes a new one."""

    def __init__(self):
        super().__init__()
        self.calls, self.readers, self.kept, self.pending = [], defaultdict(list), [], []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.pending:  # inside a leaf module
            return function(*args, **kwargs)
        taken = self.look((args, kwargs))
        result = function(*args, **kwargs)
        self.note(getattr(function, "__name__", ""), taken, result)
        return result

    def look(self, tree):
        """[(identity and version, shape)] of the tensors in it, kept alive so that no identity is used again."""
        tensors = [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
        self.kept += tensors
        return [((id(tensor), tensor._version), tensor.shape) for tensor in tensors]

    def note(self, module, taken, result):
        given, keys = self.look(result), [key for key, _ in taken]
        if not taken or not given or given[0][0] in keys:
            return  # nothing taken or made, or handed through as it was (dropout in evaluation)
        call = Call(module, keys, taken[0][1], given[0][1], self.readers[given[0][0]])
        self.calls.append(call)
        for key in keys:
            self.readers[key].append(call)

    def enter(self, module, args, kwargs):
        with torch._C.DisableTorchFunction():
            self.pending.append(self.look((args, kwargs)))

    def leave(self, module, args, result):
        with torch._C.DisableTorchFunction():
            taken = self.pending.pop()
            if not self.pending:
                self.note(module, taken, result)


@torch.no_grad()
def traced_calls(model: nn.Module, images: Tensor) -> list[Call]:
    """The calls of one forward pass of images [n, 3, h, w] in evaluation mode, in order; the network stays as it is."""
    trace = _Trace()
    # A layer with parts of its own, such as a parametrised one, is one step all the same.
    leaves = [module for module in model.modules() if isinstance(module, LAYERS) or not list(module.children())]
    # First of all hooks, so that what others compute (the old weight norm does) is inside.
    handles = [leaf.register_forward_pre_hook(trace.enter, prepend=True, with_kwargs=True) for leaf in leaves]
    try:
        with watched(model, [(leaf, trace.leave) for leaf in leaves]), trace:
            result = model(images)
    finally:
        for handle in handles:
            handle.remove()
    for key, _ in trace.look(result):
        trace.readers[key].append(None)
    return trace.calls
