"""Whether `reinitialize` did right by a network, decided from the paper's section 3.1 and from PyTorch's documentation.

Nothing here uses the package's code but the call that is judged, so that a mistake there cannot hide itself:

    verdict, why = judge(model, "10M")      # ("right", ""), ("refused", reason) or ("FAULT", what is wrong)
"""

import copy
import math
import random
import re
import warnings
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from plasticity import reinitialize
from plasticity.reinit import NothingToReset

RIGHT, REFUSED, FAULT = "right", "refused", "FAULT"
PLAIN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
SAMPLE = 20_000  # new values of a tensor that are compared with their distribution
UNLIKELY = 1e-7  # a p-value below this is no accident, with some 10,000 tensors tested


@dataclass
class Group:
    """One parameter, with every name it goes by and the modules that own it."""

    tensor: Tensor
    names: list[str]
    owners: list[tuple[nn.Module, str]]

    @property
    def frozen(self):
        return not self.tensor.requires_grad

    @property
    def is_bias(self):
        """By its last name, of a vector or of a norm layer. Two vectors called so are no offsets that could be zero."""
        module, last = self.owners[0]
        said = "bias" in re.split("[_0-9]+", last) and last not in ("dt_bias", "logit_bias")
        return said and (self.tensor.ndim < 2 or is_norm(module))

    @property
    def is_weight(self):
        return self.tensor.ndim >= 2 and not is_norm(self.owners[0][0])

    @property
    def competes(self):
        return self.is_bias or self.is_weight

    @property
    def reparametrised(self):
        """Whether the layer computes with something else that is made of this parameter."""
        return any(makes_another(module, last) or is_normalised(module, last) for module, last in self.owners)

    @property
    def unusual(self):
        t = self.tensor
        return t.is_meta or t.layout != torch.strided or t.dtype not in PLAIN or type(t.data) is not Tensor

    @property
    def stays(self) -> np.ndarray:
        """Flat mask of the entries that stay whatever happens: the padding rows of embeddings."""
        mask = torch.zeros(self.tensor.shape, dtype=torch.bool)
        for module, last in self.owners:
            row = getattr(module, "padding_idx", None)
            if last == "weight" and isinstance(row, int) and self.tensor.ndim == 2 and "Embedding" in kind_of(module):
                mask[row] = True
        return mask.numpy().ravel()


def kind_of(module):
    return " ".join(c.__name__ for c in type(module).__mro__)


def is_norm(module):
    return isinstance(module, NORMS) or bool(re.search("Norm(?!al|ed)", type(module).__name__))


def is_quantised(module):
    return ".quantized." in type(module).__module__


def makes_another(module, last):
    if type(module).__name__ == "ParametrizationList" or type(module).__name__ in ("_WeightNorm", "_SpectralNorm"):
        return True
    base = re.sub("_(orig|v|g)$", "", last)
    return base != last and isinstance(getattr(module, base, None), Tensor) and base not in module._parameters


def is_normalised(module, last):
    """Whether a linear or convolutional layer's output ignores the scale of its weight, or some of its entries."""
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    kind = next((k for k in layers if isinstance(module, k)), None)
    if last != "weight" or kind is None or type(module).forward is kind.forward or module.weight.is_meta:
        return False
    with torch.random.fork_rng(devices=[]):
        layer = copy.deepcopy(module).eval().float()
        torch.manual_seed(0)
        shape = (
            (2, layer.in_features)
            if kind is nn.Linear
            else (2, layer.in_channels, *(k + 32 for k in layer.kernel_size))
        )
        inputs, weight = torch.randn(shape), torch.randn(layer.weight.shape)
        try:
            outputs = []
            for scale in (1, 3):
                layer.weight.data.copy_(scale * weight)
                outputs.append(layer(inputs))
            gradient = torch.autograd.grad(outputs[1].square().sum(), layer.weight)[0]
        except Exception:
            return False
    return torch.allclose(*outputs, rtol=0.05, atol=1e-3) or not gradient.all()


def groups(model) -> list[Group]:
    found = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for last, tensor in module._parameters.items():
            if tensor is not None:
                group = found.setdefault(id(tensor), Group(tensor, [], []))
                group.names.append(f"{path}.{last}" if path else last)
                group.owners.append((module, last))
    return list(found.values())


# --- what must stay ---------------------------------------------------------------------------------------------------
WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.int64}


def raw(tensor: Tensor) -> np.ndarray | None:
    """A copy of a tensor's bits in logical order, one row per entry; None where there are none to see."""
    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
        return None
    flat = tensor.detach().resolve_conj().contiguous().reshape(-1).clone()
    return flat.view(WHOLE[flat.element_size()]).numpy().reshape(len(flat), -1 if len(flat) else 1)


def facts(model):
    """Everything about a model that no re-initialisation changes."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {
        "keys": list(model.state_dict()),
        "tensors": [(n, id(t), t.dtype, t.shape, t.requires_grad, t.device, t.stride()) for n, t in tensors],
        "modules": [(n, id(m), type(m), m.training, len(m._forward_pre_hooks)) for n, m in model.named_modules()],
        "random": (torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state())),
    }


class Before:
    """What a model was."""

    def __init__(self, model):
        self.facts = facts(model)
        tensors = [*model.named_parameters(), *model.named_buffers()]
        self.bytes = {id(t): (n, raw(t)) for n, t in tensors}

    def changed_facts(self, model) -> list[str]:
        now = facts(model)
        return [f"{key} changed" for key in now if now[key] != self.facts[key]]

    def changed(self, tensor) -> np.ndarray:
        """Flat mask of the entries whose bits differ."""
        old, new = self.bytes[id(tensor)][1], raw(tensor)
        if old is None:
            return np.zeros(tensor.numel(), bool)
        return (old != new).any(1) if old.shape[1] > 1 else (old != new)[:, 0]

    def changed_names(self, model) -> list[str]:
        tensors = [*model.named_parameters(), *model.named_buffers()]
        return [n for n, t in tensors if id(t) in self.bytes and self.changed(t).any()]

    def values(self, tensor) -> np.ndarray:
        """The old values, flat, in double precision."""
        flat = torch.from_numpy(self.bytes[id(tensor)][1].copy()).view(tensor.dtype)
        return flat.double().numpy().ravel()


# --- what must change -------------------------------------------------------------------------------------------------
def smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Mask of the ``count`` smallest magnitudes, ties by position."""
    size, mask = np.abs(values), np.zeros(len(values), bool)
    if count:
        cut = np.partition(size, count - 1)[count - 1]
        mask = size < cut
        mask[np.flatnonzero(size == cut)[: count - mask.sum()]] = True
    return mask


def expected(group, before, share, reading):
    """ "weight" or "bias", and the flat mask of what changes; None where the parameter stays."""
    if group.frozen or not group.competes:
        return None
    if group.unusual:
        return "weight", np.ones(group.tensor.numel(), bool)  # nobody can say which
    kind, mask = "bias" if group.is_bias else "weight", ~group.stays
    if kind == "weight" or reading == "code":
        mask[mask] = smallest(before.values(group.tensor)[mask], math.floor(share * int(mask.sum())))
    return kind, mask


def competing(model, before, case) -> list[str]:
    """Names of the weights of which some entries would change."""
    plans = {g.names[0]: expected(g, before, Fraction(case[:-1]) / 100, "code") for g in groups(model)}
    return [name for name, plan in plans.items() if plan and plan[0] == "weight" and plan[1].any()]


def law(module, last):
    """The distribution that a layer of PyTorch draws its weight from, after its documentation; None of other layers."""
    reset = getattr(type(module), "reset_parameters", None)
    weight = getattr(module, last)
    if reset in (nn.Linear.reset_parameters, nn.modules.conv._ConvNd.reset_parameters, nn.Bilinear.reset_parameters):
        fan_in = weight.shape[1] * (1 if weight.ndim < 2 or isinstance(module, nn.Bilinear) else weight[0, 0].numel())
        return stats.uniform(-1 / math.sqrt(fan_in), 2 / math.sqrt(fan_in)) if last == "weight" else None
    if reset in (nn.Embedding.reset_parameters, nn.EmbeddingBag.reset_parameters):
        return stats.norm(0, 1)
    if isinstance(module, nn.RNNBase):
        return stats.uniform(-1 / math.sqrt(module.hidden_size), 2 / math.sqrt(module.hidden_size))
    if isinstance(module, nn.MultiheadAttention) and last.endswith("proj_weight"):
        bound = math.sqrt(6 / sum(weight.shape))
        return stats.uniform(-bound, 2 * bound)
    return None


def fresh(module, last) -> np.ndarray | None:
    """What a layer's own initialiser makes of NaN: values, flat; None where it has none or does not reach them."""
    reset = next((r for r in ("reset_parameters", "_reset_parameters") if hasattr(module, r)), None)
    if reset is None:
        return None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            layer = copy.deepcopy(module).float()
            getattr(layer, last).fill_(torch.nan)
            getattr(layer, reset)()
        except Exception:
            return None
        values = getattr(layer, last).detach().double().numpy().ravel()
    return None if np.isnan(values).any() else values


def wrong_values(group, before, mask, kind, case) -> str:
    """What is wrong with the new values, or nothing."""
    tensor = group.tensor
    old = before.values(tensor)[~group.stays]
    new = tensor.detach().double().numpy().ravel()[mask]
    if not len(new):
        return ""
    if kind == "bias":
        return f"biases became {new[new != 0][0]:g}, not zero" if new.any() else ""
    if case.endswith("M"):
        room = torch.finfo(tensor.dtype).eps * (4 * abs(old.mean()) + 16 * np.abs(old).mean())
        off = np.abs(new - old.mean()).max()
        return f"new values are {off:g} off the mean {old.mean():g}" if off > room or np.ptp(new) else ""
    module, last = group.owners[0]
    reference = law(module, last)
    sample = None if reference else fresh(module, last)
    if reference is None and sample is None:
        return f"{type(module).__name__} has no initialiser that reaches it, so where do its values come from?"
    if reference is None and not np.ptp(sample):
        constant = torch.tensor(sample[0]).to(tensor.dtype).item()
        return "" if (new == constant).all() else f"its initialiser gives {constant:g} alone"
    new = new[:: math.ceil(len(new) / SAMPLE)]
    if len(new) > 2 and tensor.element_size() > 2 and np.isin(new[:100], old).all():  # half precision has few values
        return "the new values are old ones in another order"
    test = stats.kstest(new, reference.cdf) if reference else stats.ks_2samp(new, sample)
    return f"not drawn from its initialiser: p = {test.pvalue:.0e}, n = {len(new)}" if test.pvalue < UNLIKELY else ""


def faults_of(model, before, report, case, reading, exclude=()) -> list[str]:
    """Everything that is wrong with a finished re-initialisation."""
    found, rows = before.changed_facts(model), {t.name: t for t in report.tensors}
    if found:
        return found
    found = [f"buffer {n} changed" for n, b in model.named_buffers() if before.changed(b).any()]
    known = groups(model)
    found += [f"{name} is reported and is no parameter" for name in rows.keys() - {n for g in known for n in g.names}]
    for group in known:
        name, mine = group.names[0], [rows[n] for n in group.names if n in rows]
        plan = None if inside(group.names, exclude) else expected(group, before, Fraction(case[:-1]) / 100, reading)
        if plan is None:
            if mine or before.changed(group.tensor).any():
                found.append(f"{name} must stay: reported {bool(mine)}, {before.changed(group.tensor).sum()} changed")
            if group.frozen and group.competes and not inside(group.names, [*exclude, *report.frozen]):
                found.append(f"{name} is frozen, which the report does not say")
        elif group.unusual or group.reparametrised:
            found.append(f"{name} is {'unusual' if group.unusual else 'reparametrised'} and was not refused")
        else:
            found += [f"{name}: {what}" for what in faults_of_one(group, before, plan, mine, case)]
    return found


def inside(names, parts) -> bool:
    """Whether any of these names is, or belongs to, one of the parameters and modules."""
    return any(name == part or name.startswith(f"{part}.") for name in names for part in parts)


def faults_of_one(group, before, plan, rows, case):
    kind, mask = plan
    if len(rows) != 1:
        yield f"competes as a {kind} and is reported {len(rows)} times"
    for row in rows:
        said, right = (row.kind, row.size, row.reset), (kind, len(mask) - int(group.stays.sum()), int(mask.sum()))
        if said != right:
            yield f"reported {said}, right is {right}"
    stray = (before.changed(group.tensor) & ~mask).sum()
    if stray:
        yield f"{stray} of the {(~mask).sum()} entries that stay changed"
    wrong = wrong_values(group, before, mask, kind, case)
    if wrong:
        yield wrong


# --- refusals ---------------------------------------------------------------------------------------------------------
def named(model, message) -> list[str]:
    """The parameters and modules that a message names, in quotes."""
    known = {n for g in groups(model) for n in g.names} | {n for n, _ in model.named_modules(remove_duplicate=False)}
    return [n for n in re.findall("'([^']+)'", message) if n in known]


def reasons(group, before, case) -> list[str]:
    """Why this parameter may be refused."""
    module, last = group.owners[0]
    found = []
    if group.unusual:
        found.append(f"unusual tensor ({group.tensor.dtype}, {group.tensor.layout})")
    if group.reparametrised:
        found.append("reparametrised")
    if not group.unusual and not np.isfinite(before.values(group.tensor)).all():
        found.append("not finite")
    if case.endswith("R") and group.is_weight and not group.frozen:
        if not any(hasattr(module, r) for r in ("reset_parameters", "_reset_parameters")):
            found.append(f"{type(module).__name__} has no initialiser")
        elif fresh(module, last) is None:
            found.append(f"the initialiser of {type(module).__name__} does not reach it")
    return found


def refusable(model, case) -> list[str]:
    """The names of all parameters that may be refused."""
    before = Before(model)
    return [g.names[0] for g in groups(model) if reasons(g, before, case)]


def judge(model, case="10M", reading="code", act=reinitialize, **options) -> tuple[str, str]:
    """Re-initialise a model in place and say how it went: "right", "refused" with the reason, or "FAULT" with what.

    ``case`` is a percentage with M or R; ``options`` go to ``act``, and of what ``exclude`` names only that it stays is
    judged.
    """
    before, generator = Before(model), torch.Generator().manual_seed(0)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = act(model, case, reading=reading, generator=generator, **options)
    except Exception as error:
        return judge_refusal(model, before, error, case)
    found = [f"warns: {w.message}" for w in caught]
    found += faults_of(model, before, report, case, reading, options.get("exclude", ()))
    return (FAULT, "; ".join(found)) if found else (RIGHT, "")


def judge_refusal(model, before, error, case):
    what = f"{type(error).__name__}: {error}"
    broken = before.changed_names(model) + before.changed_facts(model)
    if broken:
        return FAULT, f"left half done ({', '.join(broken[:3])}) by {what}"
    if not isinstance(error, ValueError):
        return FAULT, what
    if isinstance(error, NothingToReset) and not competing(model, before, case):
        return REFUSED, "nothing to reset"
    about = named(model, str(error))
    if not about:
        return FAULT, f"names no parameter or module: {what}"
    why = [reason for g in groups(model) if inside(g.names, about) for reason in reasons(g, before, case)]
    why += [f"{kind_of(m)} is quantised" for n, m in model.named_modules() if n in about and is_quantised(m)]
    return (REFUSED, f"{about[0]}: {why[0]}") if why else (FAULT, f"no reason to refuse: {what}")
