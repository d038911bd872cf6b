"""Whether a layer does what its class says, with the very parameters that it shows: output = W x + b, and no more.

Weight-standardised and equalised convolutions, LoRA and quantised layers are subclasses with a forward of their own;
weight norm, spectral norm and pruning compute the weight from other parameters. Who takes such a layer for a plain one
scales, resets or cuts something else than what it computes with.
"""

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

OWN = "torch.nn.modules."
CALLED = ("forward", "_conv_forward", "__call__", "__getattr__")


def why_not_plain(module: nn.Module) -> str:
    """Why a layer is no plain one of PyTorch's, such as "its forward is not that of Conv2d"; "" if it is plain."""
    kind = next(kind for kind in type(module).__mro__ if kind.__module__.startswith(OWN))
    for name in CALLED:
        if getattr(type(module), name, None) is not getattr(kind, name, None):
            return f"its {name} is not that of {kind.__name__}"
    return why_not_shown(module) or ("a hook may change what it computes" if _is_hooked(module) else "")


def why_not_shown(module: nn.Module) -> str:
    """Why a layer's weight or bias is no parameter of its own, or a copy would not compute with its own, or ""."""
    if replaced := [name for name in CALLED if name in vars(module)]:
        return f"its {replaced[0]} was replaced in this one module"
    for name in ("weight", "bias"):
        if parametrize.is_parametrized(module, name) or _is_computed(module, name):
            return f"its {name} is computed from other parameters (weight norm, spectral norm, a pruning mask, ...)"
        if is_lazy(module._parameters.get(name)):
            return f"its {name} has no shape before a first forward pass"
    return ""


def _is_computed(module: nn.Module, name: str) -> bool:
    shown = None if name in module._buffers else getattr(module, name, None)
    return isinstance(shown, Tensor) and not isinstance(shown, nn.Parameter)


def _is_hooked(module: nn.Module) -> bool:
    """By a hook that may change weight, input or output: any but those that say they only watch."""
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    return not all(getattr(hook, "only_watches", False) for hook in hooks)
