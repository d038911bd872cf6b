"""The method: judge every weight by a utility, pick the least useful few percent, give them new values.

Coetzer, Schreuder, Bosman 2026, section 3.1. One call does it, in place, on any ``torch.nn.Module``:

    report = reinitialize(model, "10M")

The paper's text and its released code differ in three details; ``reading`` chooses (the code made the numbers):

    reading   biases                                       MN noise (eq. 1)
    "code"    the smallest P% of each bias tensor to zero  one draw a tensor
    "text"    all to zero, in the base case, too           one draw a weight
"""

import copy
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

METHODS = {
    "M": "the mean of the tensor's pretrained weights",
    "MN": "that mean plus noise a tenth its size (eq. 1)",
    "NS": "draws from N(0, 0.2); 0.2 is the standard deviation",
    "N": "draws from N(0, 1)",
    "Z": "zero: one-shot magnitude pruning without a mask",
    "R": "draws from the layer's own initialiser (Hernandez-Garcia et al. 2025)",
    "RM": "the mean of the layer's own initialiser",
}
CONTROLS = {
    "base": "the pretrained network as it is",
    "biases": "biases as the reading treats them, no weight touched",
    "scratch": "no pretrained weights at all",
}
BIASES_FRACTION = 0.25  # reading "code" zeroes a share of the biases: the control takes the largest the paper uses
READINGS = ("code", "text")
UTILITIES = ("magnitude", "gradient")
SCOPES = ("tensor", "global")
BIASES = ("smallest", "zero", "keep")


@dataclass(frozen=True)
class Case:
    """One experimental case in the paper's notation <P><RF> (eq. 2): ``Case.parse("10MN")``; ``str()`` gives it back.

    ``fraction`` is the share of weights to reset, in (0, 1]; ``None`` leaves the choice to a threshold.
    Raises ValueError on an unknown method or a fraction that is not in (0, 1].
    """

    method: str = "base"
    fraction: float | None = None

    def __post_init__(self):
        if self.method in CONTROLS:
            if self.fraction is not None:
                raise ValueError(f"case {self.method!r} takes no fraction, got {self.fraction}")
        elif self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; allowed: {', '.join([*METHODS, *CONTROLS])}")
        elif self.fraction is not None and not 0 < self.fraction <= 1:
            raise ValueError(f"fraction {self.fraction} is outside (0, 1]; 10M means the fraction 0.10")

    @classmethod
    def parse(cls, text: "str | Case") -> "Case":
        """Read ``"10MN"``, ``"2.5 M"``, ``"M"`` (for a threshold), ``"base"``, ``"biases"`` or ``"scratch"``."""
        if isinstance(text, Case):
            return text
        if text in CONTROLS:
            return cls(text)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)? ?([A-Z]+)", str(text))
        if not match or match[2] not in METHODS:
            raise ValueError(
                f"unknown case {text!r}; write a percentage and a method, such as '10M' (methods: {', '.join(METHODS)}), "
                f"or one of {', '.join(CONTROLS)}"
            )
        return cls(match[2], None if match[1] is None else float(Fraction(match[1]) / 100))

    def __str__(self) -> str:
        if self.fraction is None:
            return self.method
        percentage = f"{100 * Decimal(str(self.fraction)):f}"  # exact, so that parse() gives back this very case
        return (percentage.rstrip("0").rstrip(".") if "." in percentage else percentage) + self.method


@dataclass(frozen=True)
class TensorChange:
    """What happened to one parameter tensor: ``reset`` of its ``size`` entries got a new value."""

    name: str
    kind: str  # "weight" or "bias"
    size: int
    reset: int


@dataclass(frozen=True)
class Report:
    """What ``reinitialize`` did (or, after a dry run, would do), tensor by tensor. ``seed`` repeats its draws."""

    case: str
    seed: int
    tensors: tuple[TensorChange, ...]

    @property
    def reset(self) -> int:
        """Number of entries given a new value."""
        return sum(t.reset for t in self.tensors)

    def __str__(self) -> str:
        lines = [f"{t.name:40s} {t.kind:6s} {t.reset:>10,} of {t.size:>10,}" for t in self.tensors]
        return "\n".join([*lines, f"{self.case}: {self.reset:,} entries in {len(self.tensors)} tensors"])


@torch.no_grad()
def reinitialize(
    model: nn.Module,
    case: str | Case = "10M",
    *,
    reading: str = "code",
    utility: str = "magnitude",
    scope: str = "tensor",
    biases: str | None = None,
    gradients: dict[str, Tensor] | None = None,
    threshold: float | None = None,
    relative: bool = False,
    rounding: str = "floor",
    exclude: tuple[str, ...] | list[str] = (),
    include: tuple[str, ...] | list[str] = (),
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None,
    dry_run: bool = False,
) -> Report:
    """Re-initialise the least useful weights of ``model`` in place and report what changed.

    Every parameter with two or more dimensions competes, the head and embeddings included; gains of norm layers and all
    buffers stay. Exactly floor(P x size) entries change, those with the smallest utility, ties by position; every
    other entry stays bit for bit. Tied parameters are reset once. (Coetzer et al. 2026, sections 2.3 and 3.1.)

    Args:
        case: percentage and method, "10M"; with ``threshold``, the method alone, "M".
        reading: "code" or "text", see this module's docstring.
        utility: "magnitude" |w|, or "gradient" |w x g| with g from ``gradients`` (parameter name -> tensor of its shape).
        scope: weights compete within their own "tensor", or "global" (biases then compete with biases).
        biases: overrides the reading: "smallest" (reset to zero as many as weights), "zero" (all), "keep".
        threshold: instead of a percentage, reset what has utility <= threshold; ``relative``: <= threshold x mean utility.
        rounding: "floor" (the paper), or "bernoulli" (Hernandez-Garcia et al. 2025: up with probability of the remainder).
        exclude: parameters or modules to leave alone, by name: ("fc", "cls_token").
        include: one-dimensional weights, such as gains of norm layers, that compete too, each as a tensor of its own; by name of
            the parameter or of a module around it: ("bn1", "layer1"). What is excluded stays excluded.
        optimizer: its moments of the reset entries become zero (a step count belongs to the whole tensor and stays).
        generator: source of every random draw; without one, a fresh seed is drawn and reported.
        dry_run: report only; nothing is written.

    Raises:
        ValueError: naming the value and what is allowed; also where no entry at all would be reset.
    """
    case = Case.parse(case)
    _check(case, reading, utility, scope, biases, gradients, threshold, rounding)
    if generator is None:
        generator = torch.Generator()
        generator.seed()
    seed = generator.initial_seed()
    weights, shifts = _competitors(model, exclude, include)
    fraction = BIASES_FRACTION if case.method == "biases" else case.fraction
    prune = partial(
        _prune,
        gradients=gradients,
        fraction=fraction,
        threshold=threshold,
        relative=relative,
        scope=scope,
        rounding=rounding,
    )

    masks = {}
    if case.method in METHODS:
        masks = prune(weights, generator=generator)
        if not any(map(_count, masks.values())):
            raise ValueError(f"case {case} resets nothing: no tensor of the model has an entry to spare at that share")
    biases = biases or ("zero" if reading == "text" else "smallest")
    if biases == "zero":
        masks |= {n: torch.ones_like(p, dtype=torch.bool) for n, p in shifts.items()}
    elif biases == "smallest" and case.method != "base":
        masks |= prune(shifts, generator=generator)
    if case.method == "biases" and not any(map(_count, masks.values())):
        raise ValueError(
            f"case 'biases' with biases={biases!r} resets nothing: no bias of the model has an entry to spare"
        )
    if case.method in ("R", "RM"):  # before anything is written
        for name in masks.keys() - shifts.keys():
            _owner(model, name, case.method)

    changes = []
    for name, mask in masks.items():
        parameter, is_bias = model.get_parameter(name), name in shifts
        reset = _count(mask)
        if reset and not dry_run:
            _write(parameter, mask, 0.0 if is_bias else _new_values(model, name, case, reading, reset, generator))
            _forget(optimizer, parameter, mask)
        changes.append(TensorChange(name, "bias" if is_bias else "weight", parameter.numel(), reset))
    return Report(str(case), seed, tuple(changes))


def _check(case, reading, utility, scope, biases, gradients, threshold, rounding):
    choices = {
        "reading": (reading, READINGS),
        "utility": (utility, UTILITIES),
        "scope": (scope, SCOPES),
        "biases": (biases, (None, *BIASES)),
        "rounding": (rounding, ("floor", "bernoulli")),
    }
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise ValueError(f"{name}={value!r} is unknown; allowed: {', '.join(map(repr, allowed))}")
    if case.method == "scratch":
        raise ValueError("case 'scratch' means training without pretrained weights; there is nothing to re-initialise")
    if case.method in METHODS and (case.fraction is None) == (threshold is None):
        raise ValueError(
            f"case {case} with threshold={threshold}: give a percentage ('10M') or a threshold, one of them"
        )
    if threshold is not None and not threshold >= 0:
        raise ValueError(f"threshold={threshold} must be zero or more: utilities are absolute values")
    if (utility == "gradient") != (gradients is not None):
        raise ValueError(
            "utility='gradient' needs gradients={parameter name: tensor}, and only that utility takes them"
        )


def _competitors(model, exclude, include) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters that compete: tensors of two or more dimensions, and biases (any tensor named so, as the code has it)."""
    names = dict(model.named_parameters(remove_duplicate=False))  # a tied parameter goes by each of its names
    excluded = _inside(names, exclude, "exclude", "parameter or module")
    gains = {n: p for n, p in names.items() if p.ndim == 1 and "bias" not in n}
    included = _inside(gains, include, "include", "one-dimensional weight")
    named = {n: p for n, p in model.named_parameters() if p.is_floating_point() and id(p) not in excluded}
    shifts = {n: p for n, p in named.items() if "bias" in n}
    return {n: p for n, p in named.items() if (p.ndim >= 2 or id(p) in included) and n not in shifts}, shifts


def _inside(names, entries, argument, kind) -> set[int]:
    """The parameters that these entries name, themselves or by a module around them."""
    found = set()
    for entry in [entries] if isinstance(entries, str) else entries:
        inside = {id(p) for n, p in names.items() if n == entry or n.startswith(entry + ".")}
        if not inside:
            raise ValueError(
                f"{argument}={entry!r} names no {kind} of this model; it has: {', '.join(names) or 'none'}"
            )
        found |= inside
    return found


def _utility(name, parameter, gradients, room=None) -> Tensor:
    """|w| or |w x g| (section 2.3), never in less than single precision; ``room`` is float32 memory [>= size] to use."""
    weight = parameter.detach()
    weight = weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight
    if gradients is not None:
        weight = weight * _gradient(name, weight, gradients)
    fits = room is not None and room.dtype == weight.dtype and room.device == weight.device
    utility = torch.abs(weight, out=room[: weight.numel()].view(weight.shape) if fits else None)
    if utility.numel() and not math.isfinite(utility.max()):
        raise ValueError(
            f"parameter {name!r} holds NaN or infinite values (or its gradient does): mend the weights first"
        )
    return utility


def _gradient(name, weight, gradients):
    if name not in gradients or gradients[name].shape != weight.shape:
        raise ValueError(f"gradients must hold a tensor of shape {tuple(weight.shape)} for {name!r}")
    return gradients[name].to(weight.device, weight.dtype)


def _prune(group, *, gradients, fraction, threshold, relative, scope, rounding, generator) -> dict[str, Tensor]:
    """Which entries go, as a boolean mask a tensor. Scope "global" lets all tensors compete as one long tensor."""
    if scope == "global" and group:
        joint = torch.cat([_utility(n, p, gradients).flatten() for n, p in group.items()])
        pieces = _mask(joint, fraction, threshold, relative, rounding, generator)
        pieces = pieces.split([p.numel() for p in group.values()])
        return {n: piece.view(p.shape) for (n, p), piece in zip(group.items(), pieces, strict=True)}
    # Two rows of memory for all tensors: touching fresh pages for each one would take longer than the selection itself.
    rows = torch.empty(2, max((p.numel() for p in group.values()), default=0), dtype=torch.float32)
    choose = partial(
        _mask, fraction=fraction, threshold=threshold, relative=relative, rounding=rounding, generator=generator
    )
    return {
        n: choose(_utility(n, p, gradients, rows[0]).flatten(), room=rows[1]).view(p.shape) for n, p in group.items()
    }


def _mask(utility, fraction, threshold, relative, rounding, generator, room=None) -> Tensor:
    if threshold is not None:
        return utility <= (threshold * utility.mean() if relative else threshold)
    share = Fraction(str(fraction)) * utility.numel()  # exact: 0.29 x 100 is 29, not 28.999...
    count = math.floor(share)
    if rounding == "bernoulli":
        draw = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64)
        count += int(draw < float(share - count))
    return _smallest(utility, count, room)


def _smallest(utility: Tensor, count: int, room: Tensor | None = None) -> Tensor:
    """Mask of the ``count`` smallest of a flat tensor, ties by position; by selection, which needs no sorting."""
    if count == 0:
        return torch.zeros_like(utility, dtype=torch.bool)
    if not utility.is_cpu:
        cut = utility.kthvalue(count).values
        mask = utility <= cut
    else:  # NumPy selects and compares on the CPU several times faster than torch
        array = utility.numpy()
        ordered = (
            room[: utility.numel()].numpy()
            if room is not None and room.dtype == utility.dtype
            else np.empty_like(array)
        )
        np.copyto(ordered, array)
        ordered.partition(count - 1)
        cut = float(ordered[count - 1])
        mask = torch.from_numpy(array <= array.dtype.type(cut))
    surplus = _count(mask) - count
    if surplus:
        mask[(utility == cut).nonzero().flatten()[-surplus:]] = False
    return mask


def _count(mask: Tensor) -> int:
    """Number of True entries; NumPy's count is many times faster than torch's sum on the CPU."""
    return int(np.count_nonzero(mask.numpy())) if mask.is_cpu else int(mask.sum())


def _new_values(model, name, case, reading, count, generator) -> float | Tensor:
    """The method's new values: a number for all reset entries, or a tensor [count]."""
    weight = model.get_parameter(name).detach()
    draws = partial(torch.randn, generator=generator, device=generator.device)
    if case.method in ("M", "MN"):
        mean = (weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight).mean().item()
        return mean if case.method == "M" else mean * (1 + draws(1 if reading == "code" else count) / 10)
    if case.method in ("NS", "N"):
        return draws(count) * (0.2 if case.method == "NS" else 1)
    return 0.0 if case.method == "Z" else _initialiser(model, name, case.method, count, generator)


def _initialiser(model, name, method, count, generator) -> float | Tensor:
    """Values as the owning layer's own ``reset_parameters`` draws them, or the mean of that distribution."""
    owner, reset = _owner(model, name, method)
    layer = copy.deepcopy(owner).float().cpu()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        # Unlike torch.manual_seed, this leaves the streams of other devices alone.
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
        getattr(layer, reset)()
    fresh = layer.get_parameter(name.rpartition(".")[2]).detach().flatten()
    if method == "R":
        return fresh[torch.randperm(fresh.numel(), generator=generator, device=generator.device)[:count].cpu()]
    # PyTorch's layers either fill a tensor with a constant or draw it symmetrically about zero.
    return fresh[0].item() if bool((fresh == fresh[0]).all()) else 0.0


def _owner(model, name, method) -> tuple[nn.Module, str]:
    """The layer that a parameter belongs to, and the name of the function that initialises it."""
    owner = model.get_submodule(name.rpartition(".")[0])
    reset = "reset_parameters" if hasattr(owner, "reset_parameters") else "_reset_parameters"
    if not hasattr(owner, reset):
        raise ValueError(
            f"method {method!r}: {name!r} belongs to {type(owner).__name__}, which has no reset_parameters(); "
            f"exclude it or choose another method"
        )
    return owner, reset


def _write(parameter: Tensor, mask: Tensor, values: float | Tensor):
    if isinstance(values, Tensor) and values.numel() > 1:
        parameter[mask] = values.to(parameter.device, parameter.dtype)
    else:
        parameter.masked_fill_(mask, float(values))


def _forget(optimizer, parameter, mask):
    state = optimizer.state.get(parameter, {}) if optimizer else {}
    for key, value in state.items():
        if key != "step" and isinstance(value, Tensor) and value.shape == parameter.shape:
            value[mask] = 0
