"""The companion papers' experiments as grids of runs: warm start, continual learning, single task, and all methods on
transfer.

Lee et al. 2024 ("H&T") and Oh et al. 2025 ("SWR"). A profile whose name begins with "companions" has five studies, one
for each notebook from 50 to 54; ``grid`` gives all of their runs together. In the small profiles networks, data, epochs
and with them the time scales of the averages shrink; nothing else differs.
"""

from dataclasses import dataclass, replace
from itertools import product

from ... import profiles
from ...methods.registry import build
from ...networks.table import architecture
from ...profiles import ADAMW, Profile, get_profile
from ...run import Run

COMPANION = {
    "mini": "companions",
    "quick": "companions_quick",
    "paper": "companions_paper",
    "rehearsal": "companions_rehearsal",
}
TRAINABILITY = ("spectral_decoupling", "l2_init", "redo", "crelu", "layer_norm", "continual_backprop")
RESETS = ("head_reset", "shrink_perturb", "25M", "selective_reinit")
BOTH = "l2 + augmentation"  # H&T section 5.1 adds them to every method
AT_PHASE_END = 10**6  # measure there only


@dataclass(frozen=True)
class Size:
    """How large the companion experiments are."""

    pairs: dict[str, tuple[str, str]]  # H&T: family -> network and data set, hardest last
    plain: dict[str, tuple[str, str]]  # SWR's
    epochs: dict[str, int]  # of a phase with all data, by family
    chunk_epochs: int
    buffer: int
    batch_size: int
    subsets: tuple[float, ...]
    noises: tuple[float, ...]
    cells: tuple[tuple[float, float], ...]  # (subset, noise) of the families that do not get the whole grid
    whole: tuple[str, ...]  # the families that get it
    average: dict[str, str]  # the averages' texts: their momentum counts steps, their interval epochs
    momenta: tuple[float, ...]
    intervals: tuple[int, ...]
    compared: tuple[str, ...]  # families of figures 4 and 5
    ablated: tuple[str, ...]  # families of figures 3 and 9
    continual: tuple[str, ...]  # families of figure 6


LR = {"mlp": 1e-3, "resnet18": 1e-3, "vit_tiny": 3e-3, "vgg": 1e-3}  # H&T A.2
DECAY = {"mlp": 1e-4, "resnet18": 1e-3, "vit_tiny": 0.05, "vgg": 1e-3}  # as released; the text's are smaller
HARDEST = (0.1, 0.5)  # subset and noise of H&T sections 3.4 and 5.1
BETAS = [("beta1", 0.0), ("beta1", 0.5), ("beta2", 0.9), ("beta2", 0.99)]
BETAS += [("epsilon", 1e-6), ("epsilon", 1e-4), ("epsilon", 1e-2)]
SOFT = {  # SWR's best lambdas for a warm start
    "mlp": "soft_rescaling(features=0.0001, classifier=0.0001)",
    "cnn": "soft_rescaling(features=0.001, classifier=0.001)",
    "cnn_bn": "soft_rescaling(features=0.0001, classifier=1)",
    "vgg": "soft_rescaling(features=0.01, classifier=0.1)",
}
PAPER = Size(
    pairs={
        "mlp": ("mlp_bn", "mnist"),
        "resnet18": ("resnet18", "cifar10"),
        "vit_tiny": ("vit_tiny", "cifar100"),
        "vgg": ("vgg16", "tiny_imagenet"),
    },
    plain={
        "mlp": ("mlp", "mnist"),
        "cnn": ("cnn", "cifar10"),
        "cnn_bn": ("cnn_bn", "cifar100"),
        "vgg": ("vgg16", "tiny_imagenet"),
    },
    epochs=dict.fromkeys(("mlp", "resnet18", "vit_tiny", "vgg", "cnn", "cnn_bn"), 100),
    chunk_epochs=100,
    buffer=5000,
    batch_size=256,
    subsets=(0.1, 0.2, 0.4, 0.6, 0.8, 1.0),
    noises=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    cells=(),
    whole=("mlp", "resnet18", "vit_tiny", "vgg"),
    average={"ema": "ema", "hare_tortoise": "hare_tortoise(epochs=10)", "self_distillation": "self_distillation"},
    momenta=(0.9, 0.99, 0.9999),
    intervals=(1, 5, 20, 50),
    compared=("resnet18", "vit_tiny", "vgg"),
    ablated=("resnet18", "vit_tiny", "vgg"),
    continual=("resnet18", "vit_tiny", "vgg"),
)
MINI = replace(
    PAPER,
    pairs={
        "mlp": ("mini_mlp_bn", "digits"),
        "resnet18": ("mini_resnet18", "world_10"),
        "vit_tiny": ("mini_vit_tiny", "world_20"),
        "vgg": ("mini_vgg", "world_40"),
    },
    plain={
        "mlp": ("mini_mlp", "digits"),
        "cnn": ("mini_cnn", "digits"),
        "cnn_bn": ("mini_cnn_bn", "digits"),
        "vgg": ("mini_vgg", "world_40"),
    },
    epochs={"mlp": 15, "resnet18": 12, "vit_tiny": 12, "vgg": 12, "cnn": 15, "cnn_bn": 15},
    chunk_epochs=5,
    buffer=100,
    batch_size=32,
    cells=((0.1, 0.0), (1.0, 0.0), (1.0, 0.5)),
    whole=("mlp",),
    # As many averaging windows of 1 / (1 - momentum) steps and as many resets in a phase as H&T's 19,500 steps of
    # 100 epochs have.
    average={
        "ema": "ema(momentum=0.95)",
        "hare_tortoise": "hare_tortoise(momentum=0.95, epochs=1)",
        "self_distillation": "self_distillation(momentum=0.95)",
    },
    momenta=(0.9, 0.99),
    intervals=(2, 4, 10),
    ablated=("resnet18",),
    continual=("mlp", "resnet18", "vgg"),
)
QUICK = replace(
    MINI,
    epochs=dict.fromkeys(MINI.epochs, 1),
    chunk_epochs=1,
    cells=((0.1, 0.0),),
    whole=(),
    momenta=(0.9,),
    intervals=(),
    continual=("mlp",),
    compared=("vgg",),
    ablated=("vgg",),
    pairs={family: MINI.pairs[family] for family in ("mlp", "vgg")},
    plain={family: MINI.plain[family] for family in ("mlp", "cnn_bn")},
)
REHEARSAL = replace(
    PAPER,
    epochs=dict.fromkeys(PAPER.epochs, 1),
    chunk_epochs=1,
    buffer=10,
    cells=((0.1, 0.0),),
    whole=(),
    momenta=(0.9,),
    intervals=(),
    average=PAPER.average | {"hare_tortoise": "hare_tortoise(epochs=1)"},
    compared=("vit_tiny",),
    ablated=("vit_tiny",),
    continual=("vit_tiny",),
    plain={family: PAPER.plain[family] for family in ("mlp", "cnn", "cnn_bn")},
)
SIZES = {"companions": MINI, "companions_quick": QUICK, "companions_paper": PAPER, "companions_rehearsal": REHEARSAL}
FROM_SCRATCH = {"weights": "none", "patience": 0, "validation": 0.0, "augment": "none"} | ADAMW
UNFIT = {"crelu": ("resnet18", "vit_tiny"), "layer_norm": ("resnet18", "vit_tiny")}  # no plain chain of layers


def protocol(profile: Profile, family: str, scenario: str, case: str = "base", pair=None, **fields) -> list[Run]:
    """A run for each repeat as H&T train (Table 3): AdamW, warm-up over a tenth of each phase, clipped gradients."""
    size = SIZES[profile.name]
    network, dataset = pair or size.pairs[family]
    settings = {"lr": LR[family], "weight_decay": DECAY[family], "warmup": 0.1, "clip": 0.5}
    length = {"batch_size": size.batch_size, "max_epochs": size.epochs[family], "measure": AT_PHASE_END}
    settings = settings | length | FROM_SCRATCH | fields
    case = case.replace("augmentation", "crop") if family == "mlp" else case  # a mirrored digit is no digit
    return [Run(network, dataset, case, seed, scenario=scenario, **settings) for seed in range(profile.repeats)]


def plain_protocol(profile: Profile, family: str, scenario: str, case: str, twice=False, **fields) -> list[Run]:
    """A run for each repeat as SWR trains: Adam at 1e-3, nothing else."""
    size = SIZES[profile.name]
    network, dataset = size.plain[family]
    length = {"batch_size": size.batch_size, "max_epochs": size.epochs[family] * (1 + twice), "measure": AT_PHASE_END}
    settings = {"lr": 1e-3} | length | FROM_SCRATCH | fields
    return [Run(network, dataset, case, seed, scenario=scenario, **settings) for seed in range(profile.repeats)]


def warm(subset: float = HARDEST[0], noise: float = HARDEST[1]) -> str:
    """H&T's warm start."""
    return f"warm_start(subset={subset}, noise={noise})"


def fits(case: str, network: str) -> bool:
    """Whether every method of a case fits a network; one that does not is refused by name before training starts."""
    family = architecture(network).family
    return not any(method in case and family in families for method, families in UNFIT.items())


def runs_of(profile: Profile, families, scenarios, cases=("base",), **fields) -> list[Run]:
    """Each family's runs by `protocol` in each scenario, with each case that fits its network."""
    pairs, runs = SIZES[profile.name].pairs, []
    for family, scenario, case in product(families, scenarios, cases):
        runs += protocol(profile, family, scenario, case, **fields) if fits(case, pairs[family][0]) else []
    return runs


def warm_start(profile: Profile) -> dict[str, list[Run]]:
    """Study 50: figures 2 to 5, 7 and 9 and tables 4 to 7 of H&T, by what they show."""
    size, both = SIZES[profile.name], f" + {BOTH}"
    methods = ("base", "l2", "augmentation", *TRAINABILITY, *RESETS, "shrink_perturb" + both)
    remedies = ("head_reset", "shrink_perturb", *size.average.values(), "soft_rescaling")
    hare = build(size.average["hare_tortoise"])
    tried = [(momentum, hare.epochs) for momentum in size.momenta] + [(hare.momentum, n) for n in size.intervals]
    hares = [f"hare_tortoise(momentum={momentum}, epochs={epochs}){both}" for momentum, epochs in tried]
    cells = {family: [warm(*cell) for cell in _cells(size, family)] for family in size.pairs}
    betas = product(size.ablated, BETAS)
    return {
        "fresh": runs_of(profile, size.pairs, ["single"], ["base", BOTH]),
        "cells": [run for family in cells for run in runs_of(profile, [family], cells[family])],
        "methods": runs_of(profile, size.compared, [warm()], methods),
        "remedies": runs_of(profile, size.compared, [warm()], [BOTH, *(case + both for case in remedies)]),
        "optimiser": [run for name, beta in betas for run in protocol(profile, name, warm(), **dict([beta]))],
        "swap": _swapped(profile, size),
        "ablation": runs_of(profile, size.ablated, [warm()], hares),
    }


def _cells(size: Size, family: str) -> list[tuple[float, float]]:
    return list(product(size.subsets, size.noises)) if family in size.whole else [HARDEST, *size.cells]


def _swapped(profile, size):
    """The easiest network (but MLPs) on the hardest data, and the other way round."""
    families = [family for family in size.pairs if family != "mlp"]
    first, last = families[0], families[-1]
    (easy, easy_data), (hard, hard_data) = size.pairs[first], size.pairs[last]
    swaps = (first, (easy, hard_data)), (last, ("vgg16_32" if hard == "vgg16" else hard, easy_data))
    return [run for family, pair in swaps for run in runs_of(profile, [family], ["single", warm()], pair=pair)]


def continual(profile: Profile) -> dict[str, list[Run]]:
    """Study 51: figure 6 of H&T, full and limited access, and what its released code's buffer does."""
    size, parts = SIZES[profile.name], {}
    methods = ("shrink_perturb", "head_reset", size.average["hare_tortoise"], "soft_rescaling")
    cases = (BOTH, *(f"{method} + {BOTH}" for method in methods))
    for access in ("full", "limited", "collapsed"):
        scenario = f"continual(access={access}" + (")" if access == "full" else f", buffer={size.buffer})")
        chosen = cases if access != "collapsed" else (cases[0], cases[3])
        parts[access] = runs_of(profile, size.continual, [scenario], chosen, max_epochs=size.chunk_epochs)
    return parts


def soft_rescaling(profile: Profile) -> dict[str, list[Run]]:
    """Study 52: SWR's warm start, continual learning and single task (twice a phase's epochs), against vanilla, L2,
    L2-init and shrink & perturb."""
    size, parts = SIZES[profile.name], {}
    scenarios = {
        "single task": ("single", {"twice": True}),
        "single task, decaying": ("single", {"twice": True, "schedule": "steps"}),
        "warm start": ("warm_start(subset=0.5, noise=0, equal=false)", {}),
        "continual, full": ("continual(noise=0)", {"max_epochs": size.chunk_epochs}),
        "continual, limited": ("continual(noise=0, access=limited, buffer=0)", {"max_epochs": size.chunk_epochs}),
    }
    for title, (scenario, fields) in scenarios.items():
        parts[title], between = [], ["shrink_perturb"] * (scenario != "single")  # it acts between phases only
        for family in size.plain:
            reset = [SOFT[family].replace(")", ", reinit=true)")] if "schedule" in fields else []
            for case in ("base", "l2", "l2_init", *between, SOFT[family], *reset):
                parts[title] += plain_protocol(profile, family, scenario, case, **fields)
    return parts


def transfer(profile: Profile) -> dict[str, list[Run]]:
    """Study 54: every method and the sensible combinations on the main paper's protocol."""
    return {"transfer": list(profiles.grid(profile))}


STUDIES = {
    "50_warm_start": warm_start,
    "51_continual": continual,
    "52_soft_rescaling": soft_rescaling,
    "54_all_methods_on_transfer": transfer,
}


def companion(name: str, repeats: int = 0, reading: str = "") -> Profile:
    """The profile of the companion studies: by its own name, or by that of the profile it belongs to ("mini", "quick",
    "paper")."""
    profile = get_profile(COMPANION.get(name, name), repeats, reading)
    if profile.name not in SIZES:
        known = ", ".join([*COMPANION, *SIZES])
        raise ValueError(f"profile {name!r} has no companion studies; those that have: {known}")
    return profile


def unique(parts: dict[str, list[Run]]) -> list[Run]:
    """The runs of a study, each once."""
    return list(dict.fromkeys(run for part in parts.values() for run in part))


def study(profile: Profile, name: str) -> dict[str, list[Run]]:
    """The runs of one study by part; a run may belong to several."""
    return STUDIES[name](profile)
