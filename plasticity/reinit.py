"""The method: judge every weight by a utility, pick the least useful few percent, give them new values.

Coetzer, Schreuder, Bosman 2026, section 3.1. One call does it, in place, on any ``torch.nn.Module``:

    report = reinitialize(model, "10M")

The paper's text and its released code differ; ``reading`` chooses (the code made the numbers):

    reading   biases                                       MN noise (eq. 1)
    "code"    the smallest P% of each bias tensor to zero  one draw per tensor
    "text"    all to zero, in the base case, too           one draw per weight
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from .networks.competitors import Competitor, competitors
from .networks.initialisers import draw_initial, initial_mean, require_drawable
from .training.optimizers import clear_moments, require_moments

METHODS = {
    "M": "the mean of the tensor's pretrained weights",
    "MN": "that mean plus noise a tenth its size (eq. 1)",
    "NS": "draws from N(0, 0.2); 0.2 is the standard deviation",
    "N": "draws from N(0, 1)",
    "Z": "zero: one-shot magnitude pruning without a mask",
    "R": "draws from the tensor's initial distribution (Hernandez-Garcia et al. 2025)",
    "RM": "the mean of that distribution",
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
DEFAULT_BIASES = {"code": "smallest", "text": "zero"}
ROUNDINGS = ("floor", "bernoulli")
CHOICES = dict(reading=READINGS, utility=UTILITIES, scope=SCOPES, biases=(None, *BIASES), rounding=ROUNDINGS)


class NothingToReset(ValueError):
    """The case leaves every entry of this model as it is."""


class NotFinite(ValueError):
    """A weight or its gradient is NaN or infinite, so nothing can be compared with it."""


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
            known = f"(methods: {', '.join(METHODS)}), or one of {', '.join(CONTROLS)}"
            raise ValueError(f"unknown case {text!r}; write a percentage and a method, such as '10M' {known}")
        return cls(match[2], None if match[1] is None else float(Fraction(match[1]) / 100))

    def __str__(self) -> str:
        if self.fraction is None:
            return self.method
        percentage = f"{100 * Decimal(str(self.fraction)):f}"  # exact, so that parse() gives back this very case
        return (percentage.rstrip("0").rstrip(".") if "." in percentage else percentage) + self.method


@dataclass(frozen=True)
class TensorChange:
    """What happened to one parameter tensor: ``reset`` of the ``size`` entries that compete got a new value."""

    name: str
    kind: str  # "weight" or "bias"
    size: int
    reset: int


@dataclass(frozen=True)
class Report:
    """What ``reinitialize`` did (or, after a dry run, would do), tensor by tensor. ``seed`` repeats its draws.

    ``frozen`` names the parameters that were left alone because they are not trained.
    """

    case: str
    seed: int
    tensors: tuple[TensorChange, ...]
    frozen: tuple[str, ...] = ()

    @property
    def reset(self) -> int:
        """Number of entries given a new value."""
        return sum(t.reset for t in self.tensors)

    def __str__(self) -> str:
        lines = [f"{t.name:40s} {t.kind:6s} {t.reset:>10,} of {t.size:>10,}" for t in self.tensors]
        lines += [f"{name:40s} frozen" for name in self.frozen]
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
    initial: dict[str, Tensor] | None = None,
    threshold: float | None = None,
    relative: bool = False,
    rounding: str = "floor",
    exclude: str | Sequence[str] = (),
    include: str | Sequence[str] = (),
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None,
    dry_run: bool = False,
) -> Report:
    """Re-initialise the least useful weights of ``model`` in place and report what changed.

    Every trained parameter with two or more dimensions competes, the head and embeddings included. What stays: gains of
    norm layers, buffers, padding rows of embeddings, and what is frozen (requires_grad=False), which the report names.
    Gains kept as tensors of more dimensions elsewhere (layer_scale, logit_scale, temperature) do compete: `exclude`
    them. Exactly floor(P x size) entries change, those with the smallest utility, ties by position; every other entry
    stays bit for bit. Tied parameters are reset once. (Coetzer et al. 2026, sections 2.3 and 3.1.)

    Args:
        case: percentage and method, "10M"; with ``threshold``, the method alone, "M".
        reading: "code" or "text" (see above); ``biases`` overrides it: "smallest" (as many as weights), "zero", "keep".
        utility: "magnitude" |w|, or "gradient" |w x g| with g from ``gradients`` (by name, each of its weight's shape).
        initial: for R and RM, a state dict as initialised, a new network's: ``timm.create_model(x).state_dict()``.
            Without it they take PyTorch's ``reset_parameters``, in many networks another distribution.
        scope: weights compete within their own "tensor", or "global" (biases then compete with biases).
        threshold: instead of a percentage, reset utilities <= threshold; ``relative``: <= threshold x mean utility.
        rounding: "floor" (the paper), or "bernoulli": up with the remainder's chance (Hernandez-Garcia et al. 2025).
        exclude: parameters or modules to leave alone, by name: ("fc", "cls_token").
        include: one-dimensional weights and norm layers' gains that compete too, by name; ``exclude`` wins.
        optimizer: its moments of the reset entries become zero, its step count stays; torch.optim's own only.
        generator: source of every random draw; without one, a fresh seed is drawn and reported.
        dry_run: report only; nothing is written.

    Raises ValueError that names the value and what is allowed, such as a reparametrised or quantised weight;
    `NothingToReset` where no entry at all would change. Whatever is raised, the model is as it was.
    """
    case = Case.parse(case)
    _check(case, reading, utility, scope, biases, gradients, threshold, rounding)
    generator = generator or torch.Generator().manual_seed(torch.Generator().seed())
    found, frozen = competitors(model, exclude, include)
    choose = partial(_choose, case, threshold, relative, rounding, generator)
    biases = biases or DEFAULT_BIASES[reading]
    masks = _masks(case, biases, found, partial(_prune, gradients, scope, choose))
    _require_values(model, case, biases, masks, frozen, initial)
    require_moments(optimizer, [one.parameter for one in masks])
    fresh = {} if dry_run else _draw(model, case, reading, masks, initial, generator)
    for one, values in fresh.items():  # nothing is written before all of it is known
        _write(one.parameter, masks[one], values)
        clear_moments(optimizer, one.parameter, masks[one])
    tensors = tuple(TensorChange(one.name, one.kind, one.size, _count(mask)) for one, mask in masks.items())
    return Report(str(case), generator.initial_seed(), tensors, tuple(frozen))


def _check(case, reading, utility, scope, biases, gradients, threshold, rounding):
    given = {"reading": reading, "utility": utility, "scope": scope, "biases": biases, "rounding": rounding}
    for name, value in given.items():
        if value not in CHOICES[name]:
            raise ValueError(f"{name}={value!r} is unknown; allowed: {', '.join(map(repr, CHOICES[name]))}")
    if case.method == "scratch":
        raise ValueError("case 'scratch' means training without pretrained weights; there is nothing to re-initialise")
    if case.method in METHODS and (case.fraction is None) == (threshold is None):
        raise ValueError(f"case {case} with threshold={threshold}: give a percentage ('10M') or a threshold, not both")
    if threshold is not None and not threshold >= 0:
        raise ValueError(f"threshold={threshold} must be zero or more: utilities are absolute values")
    if (utility == "gradient") != (gradients is not None):
        raise ValueError("utility='gradient' needs gradients={parameter name: tensor}; only that utility takes them")


def _masks(case, biases, found, prune) -> dict[Competitor, Tensor]:
    """Which entries of each parameter change."""
    weights, shifts = ([one for one in found if one.kind == kind] for kind in ("weight", "bias"))
    masks = prune(weights) if case.method in METHODS else {}
    if biases == "zero":
        masks |= {one: one.spread(torch.ones_like(one.pick(one.parameter), dtype=torch.bool)) for one in shifts}
    elif biases == "smallest" and case.method != "base":
        masks |= prune(shifts)
    return masks


def _require_values(model, case, biases, masks, frozen, initial):
    """Raise `NothingToReset` where no weight would change (in case "biases", no bias); ValueError for no new values."""
    kind = "weight" if case.method in METHODS else "bias"
    if case.method != "base" and not any(_count(mask) for one, mask in masks.items() if one.kind == kind):
        what = f"case {case}" if kind == "weight" else f"case 'biases' with biases={biases!r}"
        why = f"{what} resets nothing: no {kind} that competes has an entry to spare at that share"
        raise NothingToReset(f"{why}; frozen (requires_grad=False): {', '.join(frozen)}" if frozen else why)
    if case.method in ("R", "RM"):
        require_drawable(model, [one.name for one in masks if one.kind == "weight"], case.method, initial)


def _prune(gradients, scope, choose, group) -> dict[Competitor, Tensor]:
    """The least useful entries of each tensor, as masks; in scope "global" all compete as one long tensor."""
    if scope == "tensor" or not group:
        return {one: one.spread(choose(_utility(one, gradients))) for one in group}
    utilities = [_utility(one, gradients) for one in group]
    joint = torch.cat([utility.to(utilities[0].device) for utility in utilities])
    pieces = choose(joint).split([len(utility) for utility in utilities])
    return {one: one.spread(piece.to(one.parameter.device)) for one, piece in zip(group, pieces, strict=True)}


def _utility(one, gradients) -> Tensor:
    """|w| or |w x g| (section 2.3) of the entries that compete: [n], never in less than single precision."""
    weight = _wide(one.parameter)
    if gradients is not None:
        gradient = gradients.get(one.name)
        if not isinstance(gradient, Tensor) or gradient.shape != weight.shape:
            raise ValueError(f"gradients must hold a tensor of shape {tuple(weight.shape)} for {one.name!r}")
        weight = weight * (gradient.to_dense() if gradient.is_sparse else gradient).to(weight.device, weight.dtype)
    utility = one.pick(weight).abs()
    if utility.numel() and not math.isfinite(utility.max()):
        raise NotFinite(
            f"parameter {one.name!r} holds NaN or infinite values, or its gradient does: fix the weights first"
        )
    return utility


def _wide(parameter) -> Tensor:
    """Values in at least single precision."""
    return parameter.detach().float() if parameter.dtype in (torch.float16, torch.bfloat16) else parameter.detach()


def _choose(case, threshold, relative, rounding, generator, utilities) -> Tensor:
    """Mask of the entries that go, of a flat tensor."""
    fraction = BIASES_FRACTION if case.method == "biases" else case.fraction
    if threshold is not None:
        return utilities <= (threshold * utilities.mean() if relative else threshold)
    share = Fraction(str(fraction)) * len(utilities)  # exact: 0.29 x 100 is 29, not 28.999...
    count = math.floor(share)
    if rounding == "bernoulli":
        draw = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64)
        count += int(draw < float(share - count))
    return _smallest(utilities, count)


def _smallest(utilities: Tensor, count: int) -> Tensor:
    """Mask of the ``count`` smallest of a flat tensor, ties by position; by selection, which needs no sorting."""
    if count == 0:
        return torch.zeros_like(utilities, dtype=torch.bool)
    if utilities.is_cpu:  # NumPy selects and compares on the CPU several times faster than torch
        cut = _kth_smallest(utilities.numpy(), count - 1)
        mask = torch.from_numpy(utilities.numpy() <= cut)
    else:
        cut = utilities.kthvalue(count).values
        mask = utilities <= cut
    surplus = _count(mask) - count
    if surplus:
        mask[(utilities == cut).nonzero().flatten()[-surplus:]] = False
    return mask


def _kth_smallest(values: np.ndarray, k: int, sample: int = 2**16, slack: int = 512) -> float:
    """The k-th smallest (from 0) of a flat array, sought in the few percent that a sample puts around it."""
    step = max(1, len(values) // sample)
    some = values[::step]
    bounds = max(0, k // step - slack), min(len(some) - 1, k // step + slack)
    low, high = np.partition(some, bounds)[list(bounds)]
    near = values[(low <= values) & (values <= high)]
    rank = k - np.count_nonzero(values < low)
    if not 0 <= rank < len(near):  # the sample was not like the whole
        near, rank = values, k
    return float(np.partition(near, rank)[rank])


def _count(mask: Tensor) -> int:
    """Number of True entries; NumPy's count is many times faster than torch's sum on the CPU."""
    return int(np.count_nonzero(mask.numpy())) if mask.is_cpu else int(mask.sum())


def _draw(model, case, reading, masks, initial, generator) -> dict[Competitor, float | Tensor]:
    """The new values of every parameter that gets any."""
    counts = {one: _count(mask) for one, mask in masks.items()}
    return {one: _new_values(model, one, case, reading, n, initial, generator) for one, n in counts.items() if n}


def _new_values(model, one, case, reading, count, initial, generator) -> float | Tensor:
    """The method's new values: a number for all reset entries, or a tensor [count]."""
    if one.kind == "bias":
        return 0.0
    draws = partial(torch.randn, generator=generator, device=generator.device)
    if case.method in ("M", "MN"):
        weights = _wide(one.parameter)  # as they lie in memory: the order of summation decides the mean's last bit
        mean = (weights if one.stays is None else one.pick(weights)).mean().item()
        return mean if case.method == "M" else mean * (1 + draws(1 if reading == "code" else count) / 10)
    if case.method in ("NS", "N"):
        return draws(count) * (0.2 if case.method == "NS" else 1)
    if case.method == "R":
        return draw_initial(model, one.name, count, generator, initial, one.pick)
    return 0.0 if case.method == "Z" else initial_mean(model, one.name, generator, initial, one.pick)


def _write(parameter: Tensor, mask: Tensor, values: float | Tensor):
    if isinstance(values, Tensor) and values.numel() > 1:
        parameter[mask] = values.to(parameter.device, parameter.dtype)
    else:
        parameter.masked_fill_(mask, float(values))
