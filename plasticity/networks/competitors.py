"""Which parameters of a network compete for re-initialisation, as weights or as biases, and which entries stay."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from .effective import not_effective
from .initialisers import owner

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
NORM_NAME = re.compile(r"Norm(\dd)?$")  # what libraries call norm layers of their own: LlamaRMSNorm, LayerNorm2d
BIAS_NAME = re.compile(r"(^|_)bias(_|\d|$)")  # "bias", "in_proj_bias", "bias_ih_l0"; not "relative_attention_biases"
NO_BIASES = {"dt_bias", "logit_bias"}  # the step sizes of state space models, SigLIP's prior: zero is not neutral there
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
HIDDEN = ("_packed_params", "qweight")  # where quantised layers keep their weights: those are no parameters


@dataclass(frozen=True, eq=False)
class Competitor:
    """One parameter: its name, "weight" or "bias", and a mask of the entries that stay, or None where all compete."""

    name: str
    parameter: nn.Parameter
    kind: str
    stays: Tensor | None

    @property
    def size(self) -> int:
        """Number of entries that compete."""
        return self.parameter.numel() - (0 if self.stays is None else int(self.stays.sum()))

    def pick(self, values: Tensor) -> Tensor:
        """The entries that compete, of a tensor of the parameter's shape: [n], in order."""
        return values.flatten() if self.stays is None else values[~self.stays.to(values.device)]

    def spread(self, chosen: Tensor) -> Tensor:
        """A mask of the parameter's shape, from one of the entries that compete [n]."""
        if self.stays is None:
            return chosen.view(self.parameter.shape)
        mask = torch.zeros_like(self.stays)
        mask[~self.stays] = chosen
        return mask


def competitors(model: nn.Module, exclude=(), include=()) -> tuple[list[Competitor], list[str]]:
    """What competes, in the model's order, and the names of the frozen parameters, which do not.

    Weights: every parameter with two or more dimensions that is no gain of a norm layer. Biases: one-dimensional
    parameters whose last name says so, and whatever a norm layer adds. Parameters that share their entries (tied,
    transposed or not) compete once, under the first name. ValueError names what can't be judged, such as a parameter
    without values or one that a hook turns into the layer's weight; nothing is ever left out in silence.
    """
    _require_layers(model)
    names = dict(model.named_parameters(remove_duplicate=False))  # a tied parameter goes by each of its names
    kinds = {name: _kind(owner(model, name), name, parameter) for name, parameter in names.items()}
    excluded = _named(names, exclude, "exclude", "parameter or module")
    gains = {name: parameter for name, parameter in names.items() if kinds[name] == "gain"}
    included = _named(gains, include, "include", "one-dimensional weight or gain of a norm layer")
    trained = {entries(p) for p in names.values() if p.requires_grad}
    stays, found, frozen, seen = dict(_padding(model)), [], [], set(excluded)
    for name, parameter in names.items():
        same = entries(parameter)
        kind = "weight" if same in included else kinds[name]
        derived = same in trained and same not in seen and not_effective(model, name)
        if same in seen or kind == "gain" and not derived:
            continue
        seen.add(same)
        if why := _unusual(parameter) or derived:
            raise ValueError(f"parameter {name!r} {why}; or leave it alone: exclude={name!r}")
        if same in trained:
            found.append(Competitor(name, parameter, kind, stays.get(same)))
        else:
            frozen.append(name)
    _require_apart(found)
    return found, frozen


def gains(model: nn.Module) -> list[str]:
    """The gains of norm layers, by name."""
    named = dict(model.named_parameters())
    layers = {name: owner(model, name) for name in named}
    return [n for n, p in named.items() if is_norm(layers[n]) and _kind(layers[n], n, p) == "gain"]


def is_norm(layer: nn.Module) -> bool:
    """Whether a layer is a norm layer: PyTorch's, one derived from those, or one that is called so."""
    return isinstance(layer, NORMS) or bool(NORM_NAME.search(type(layer).__name__))


def entries(parameter: Tensor):
    """Equal for parameters that are the same entries in memory, such as a weight and its transpose."""
    if is_lazy(parameter) or _unusual(parameter) or not parameter.numel():
        return id(parameter)
    return parameter.untyped_storage().data_ptr(), parameter.storage_offset(), parameter.numel()


def _kind(layer, name, parameter) -> str:
    leaf = name.rpartition(".")[2]
    one_dimensional = not is_lazy(parameter) and parameter.ndim < 2
    if BIAS_NAME.search(leaf) and leaf not in NO_BIASES and (one_dimensional or is_norm(layer)):
        return "bias"
    return "gain" if one_dimensional or is_norm(layer) else "weight"


def _named(parameters: dict[str, Tensor], names: str | Iterable[str], argument: str, kind: str) -> set:
    """The `entries` of the parameters that these names mean, themselves or by a module around them."""
    found = set()
    for name in [names] if isinstance(names, str) else names:
        inside = {entries(p) for n, p in parameters.items() if n == name or n.startswith(f"{name}.")}
        if not inside:
            known = ", ".join(parameters) or "none"
            raise ValueError(f"{argument}={name!r} names no {kind} of this model; it has: {known}")
        found |= inside
    return found


def _require_layers(model):
    """No weight may hide from `named_parameters`, and no layer from `isinstance`."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model={type(model).__name__} must be a torch.nn.Module")
    for name, layer in model.named_modules():
        if isinstance(layer, torch.jit.ScriptModule):
            raise ValueError(
                f"module {name!r} is TorchScript, whose layers can't be told apart: reset before scripting"
            )
        if any(hasattr(layer, hidden) for hidden in HIDDEN):
            raise ValueError(f"module {name!r} ({type(layer).__name__}) is quantised: its weights can't be reset")


def _padding(model) -> Iterator[tuple[object, Tensor]]:
    """(entries, mask) of embeddings with a padding row: it is no weight, and must stay as it is.

    Told by its ``padding_idx``: libraries write embeddings of their own that are not derived from PyTorch's.
    """
    for layer in model.modules():
        row, weight = getattr(layer, "padding_idx", None), layer._parameters.get("weight")
        if row is not None and weight is not None and not _unusual(weight) and weight.ndim == 2:
            mask = torch.zeros(weight.shape, dtype=torch.bool, device=weight.device)
            mask[row] = True
            yield entries(weight), mask


def _unusual(parameter) -> str | None:
    """Why a parameter can't be judged or written, if so."""
    if is_lazy(parameter):
        return "has no shape yet (pass a batch through the model first)"
    if parameter.is_meta:
        return "has no values, it is on the meta device (load the weights first)"
    if type(parameter.data) is not Tensor:
        return f"is a {type(parameter.data).__name__}, no plain tensor"
    if parameter.layout != torch.strided:
        return f"is sparse ({parameter.layout})"
    if parameter.dtype not in DTYPES:
        return f"holds {parameter.dtype}; allowed: {', '.join(map(str, DTYPES))}"
    if parameter.is_inference():
        return "was made under torch.inference_mode() and can't be written (copy.deepcopy the model)"
    if extent(parameter) < parameter.numel():
        return "uses one place in memory for several entries (give it a copy of its own by .clone())"
    return None


def extent(parameter: Tensor) -> int:
    """Places in memory from the first entry to the last."""
    steps = zip(parameter.shape, parameter.stride(), strict=True)
    return 1 + sum((size - 1) * stride for size, stride in steps) if parameter.numel() else 0


def _require_apart(found: list[Competitor]):
    """No entry may compete in two parameters. (Those that share all of them were counted as one.)"""
    end, before = (0, -math.inf), ""
    starts = [(*entries(one.parameter)[:2], one) for one in found if one.parameter.numel()]
    for place, start, one in sorted(starts, key=itemgetter(0, 1)):
        if (place, start) < end:
            raise ValueError(f"parameters {before!r} and {one.name!r} share part of their memory: exclude one of them")
        end, before = (place, start + extent(one.parameter)), one.name
