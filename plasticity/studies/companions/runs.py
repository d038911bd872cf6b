"""The companion papers' experiments as grids of runs: warm start, continual learning, single task, all methods on
transfer, and how a verdict depends on the length of a phase.

Lee et al. 2024 ("H&T") and Oh et al. 2025 ("SWR"). A profile whose name begins with "companions" has a study for each
notebook from 50 to 55; ``grid`` gives the runs of those that `make companions` executes. What shrinks in the small
profiles stands in ``sizes``; nothing else differs.
"""

from collections.abc import Iterable
from itertools import product

from ... import profiles
from ...networks.table import architecture
from ...profiles import ADAMW, Profile, get_profile
from ...run import Run
from .sizes import AVERAGES, FOUND, HARDEST, LENGTHS, SIZES, Size, Strengths

COMPANION = {
    "mini": "companions",
    "quick": "companions_quick",
    "paper": "companions_paper",
    "rehearsal": "companions_rehearsal",
    "imagenet": "companions_imagenet",
}
BOTH = "l2 + augmentation"  # H&T section 5.1 adds them to every method
AT_PHASE_END = 10**6  # measure there only
LR = {"mlp": 1e-3, "resnet18": 1e-3, "vit_tiny": 3e-3, "vgg": 1e-3}  # H&T A.2
DECAY = {"mlp": 1e-4, "resnet18": 1e-3, "vit_tiny": 0.05, "vgg": 1e-3}  # as released; the text's are smaller
FROM_SCRATCH = {"weights": "none", "patience": 0, "validation": 0.0, "augment": "none"} | ADAMW
UNFIT = {"crelu": ("resnet18", "vit_tiny"), "layer_norm": ("resnet18", "vit_tiny")}  # a linear head; no plain chain
TRANSFER = "54_all_methods_on_transfer"


def size_of(profile: Profile) -> Size:
    """How large a profile's companion experiments are. ValueError for a profile that has transfer alone, or none."""
    if profile.name not in SIZES:
        raise ValueError(
            f"profile {profile.name!r} has no companion experiments but on transfer (notebook 54); "
            f"profiles that have: {', '.join(SIZES)}"
        )
    return SIZES[profile.name]


def protocol(profile: Profile, family: str, scenario: str, case: str = "base", pair=None, **fields) -> list[Run]:
    """A run for each repeat as H&T train (Table 3): AdamW, warm-up over a tenth of each phase, clipped gradients."""
    size = size_of(profile)
    network, dataset = pair or size.pairs[family]
    settings = {"lr": LR[family], "weight_decay": DECAY[family], "warmup": 0.1, "clip": 0.5}
    length = {"batch_size": size.batch_size, "max_epochs": size.epochs[family], "measure": AT_PHASE_END}
    settings = settings | length | FROM_SCRATCH | fields
    if family == "mlp":  # a mirrored digit is no digit; CReLU in every layer (H&T A.4)
        case = case.replace("augmentation", "crop").replace("crelu", "crelu(where=all)")
    return [Run(network, dataset, case, seed, scenario=scenario, **settings) for seed in range(profile.repeats)]


def plain_protocol(profile: Profile, family: str, scenario: str, case: str, **fields) -> list[Run]:
    """A run for each repeat as SWR trains: Adam at 1e-3, nothing else."""
    size = size_of(profile)
    network, dataset = size.plain[family]
    length = {"batch_size": size.batch_size, "max_epochs": size.plain_epochs[family], "measure": AT_PHASE_END}
    settings = {"lr": 1e-3} | length | FROM_SCRATCH | fields
    return [Run(network, dataset, case, seed, scenario=scenario, **settings) for seed in range(profile.repeats)]


def warm(subset: float = HARDEST[0], noise: float = HARDEST[1]) -> str:
    """H&T's warm start."""
    return f"warm_start(subset={subset}, noise={noise})"


def averaged(name: str, averages: tuple[float, int]) -> str:
    """The case of an averaging method, or of another one, with a family's momentum and epochs between resets."""
    momentum, epochs = averages
    interval = f", epochs={epochs}" if name == "hare_tortoise" else ""
    return f"{name}(momentum={momentum}{interval})" if name in AVERAGES else name


def fits(case: str, network: str) -> bool:
    """Whether every method of a case fits a network; one that does not is refused by name before training starts."""
    family = architecture(network).family
    return not any(method in case and family in families for method, families in UNFIT.items())


def runs_of(profile: Profile, families: Iterable[str], scenarios, cases=("base",), **fields) -> list[Run]:
    """Each family's runs by `protocol` in each scenario, with each case that fits its network."""
    size, runs = size_of(profile), []
    for family, scenario, case in product(families, scenarios, cases):
        if fits(case, size.pairs[family][0]):
            first, plus, rest = case.partition(" + ")
            runs += protocol(profile, family, scenario, averaged(first, size.averages[family]) + plus + rest, **fields)
    return runs


def warm_start(profile: Profile) -> dict[str, list[Run]]:
    """Study 50: figures 2 to 5, 7 and 9 and tables 4 to 7 of H&T, by what they show."""
    size, both = size_of(profile), f" + {BOTH}"

    def over(chosen: dict[str, tuple[str, ...]], first: tuple[str, ...], more: str = "") -> list[Run]:
        named = [(family, (*first, *(case + more for case in cases))) for family, cases in chosen.items()]
        return [run for family, cases in named for run in runs_of(profile, [family], [warm()], cases)]

    betas = product(size.ablated, size.betas)
    return {
        "fresh": runs_of(profile, size.pairs, ["single"], ["base", BOTH]),
        "cells": [run for family in size.pairs for run in runs_of(profile, [family], _cells(size, family))],
        "methods": over(size.compared, ("base", "shrink_perturb" + both)),
        "remedies": over(size.remedied, (BOTH,), both),
        "optimiser": [run for name, beta in betas for run in protocol(profile, name, warm(), **dict([beta]))],
        "swap": _swapped(profile, size) if size.swapped else [],
        "ablation": [run for family in size.ablated for run in _ablated(profile, size, family)],
    }


def _cells(size: Size, family: str) -> list[str]:
    grid = product(size.subsets, size.noises)
    return [warm(*cell) for cell in (grid if family in size.whole else (HARDEST, *size.cells.get(family, ())))]


def _ablated(profile, size, family):
    """Hare and tortoise with another momentum, or another interval."""
    momentum, epochs = size.averages[family]
    tried = [(other, epochs) for other in size.momenta] + [(momentum, other) for other in size.intervals]
    cases = [f"{averaged('hare_tortoise', pair)} + {BOTH}" for pair in tried]
    return [run for case in cases for run in protocol(profile, family, warm(), case)]


def _swapped(profile, size):
    """The easiest network (but MLPs) on the hardest data, and the other way round."""
    families = [family for family in size.pairs if family != "mlp"]
    first, last = families[0], families[-1]
    (easy, easy_data), (hard, hard_data) = size.pairs[first], size.pairs[last]
    swaps = (first, (easy, hard_data)), (last, ("vgg16_32" if hard == "vgg16" else hard, easy_data))
    return [run for family, pair in swaps for run in runs_of(profile, [family], ["single", warm()], pair=pair)]


def continual(profile: Profile) -> dict[str, list[Run]]:
    """Study 51: figure 6 of H&T, full and limited access, and what its released code's buffer does."""
    size, parts = size_of(profile), {"fresh": [], "full": [], "limited": [], "collapsed": []}
    methods = ("shrink_perturb", "head_reset", "hare_tortoise")
    cases = (BOTH, *(f"{method} + {BOTH}" for method in methods))
    for family, kinds in size.continual.items():
        parts["fresh"] += runs_of(profile, [family], ["single"], [BOTH])
        for access in kinds:
            kept = "" if access == "full" else f", buffer={size.buffer}"
            scenario = f"continual(chunks={size.chunks}, access={access}{kept})"
            chosen = cases if access != "collapsed" else (cases[0], cases[3])
            parts[access] += runs_of(profile, [family], [scenario], chosen)
    return parts


def soft_rescaling(profile: Profile) -> dict[str, list[Run]]:
    """Study 52: SWR's warm start, continual learning and single task (twice a phase's epochs), against vanilla, L2,
    L2-init and shrink & perturb, each with the strength that SWR found best for the network in the scenario."""
    size = size_of(profile)
    parts = {"fresh": [run for family in size.plain for run in plain_protocol(profile, family, "single", "base")]}
    chunks = f"continual(chunks={size.chunks}, noise=0"
    scenarios = {
        "single task": ("single", "single", {}),
        "single task, decaying": ("single", "single", {"schedule": "steps"}),
        "warm start": ("warm_start(subset=0.5, noise=0, equal=false)", "warm start", {}),
        "continual, full": (f"{chunks})", "full access", {}),
        "continual, limited": (f"{chunks}, access=limited, buffer=0)", "limited access", {}),
    }
    for title, (scenario, found, fields) in scenarios.items():
        parts[title] = []
        for family in size.plain:
            length = {"max_epochs": 2 * size.plain_epochs[family]} if scenario == "single" else {}
            for case in strongest(FOUND[found][family], decays="schedule" in fields):
                parts[title] += plain_protocol(profile, family, scenario, case, **length, **fields)
    return parts


def strongest(found: Strengths, decays: bool = False) -> list[str]:
    """The cases of a scenario with these strengths; ``decays``: also soft rescaling towards new norms at each decay."""
    soft = f"soft_rescaling(features={found.features}, classifier={found.classifier}"
    cases = [
        "base",
        f"l2(strength={found.l2 / 2})",
        f"l2_init(strength={found.l2_init / 2})",
    ]  # SWR halves, ours doesn't
    if found.shrink:  # it acts between phases only
        cases.append(f"shrink_perturb(keep={1 - found.shrink:g})")
    return [*cases, f"{soft})", *([f"{soft}, reinit=true)"] if decays else [])]


def transfer(profile: Profile) -> dict[str, list[Run]]:
    """Study 54: every method and the sensible combinations on the main paper's protocol."""
    return {"transfer": list(profiles.grid(profile))}


def lengths(profile: Profile) -> dict[str, list[Run]]:
    """Study 55: the warm start of section 5.1 at a quarter of the own length, at it and at four times as many epochs;
    averages scaled along."""
    size, runs = size_of(profile), []
    for family in size.lengths:
        times_of = {max(1, round(times * size.epochs[family])): times for times in LENGTHS}  # short ones may coincide
        runs += [run for epochs, times in times_of.items() for run in _of_length(profile, size, family, epochs, times)]
    return {"lengths": runs}


def _of_length(profile, size, family, epochs, times):
    """The fresh network, and the warm-started one with each method, with ``times`` the own number of epochs."""
    momentum, interval = size.averages[family]
    scaled = round(1 - (1 - momentum) / times, 4), max(1, round(times * interval))
    methods = ("head_reset", "shrink_perturb", "ema", "hare_tortoise", "soft_rescaling")
    cases = [BOTH, *(f"{averaged(method, scaled)} + {BOTH}" for method in methods)]
    runs = protocol(profile, family, "single", BOTH, max_epochs=epochs)
    return runs + [run for case in cases for run in protocol(profile, family, warm(), case, max_epochs=epochs)]


STUDIES = {
    "50_warm_start": warm_start,
    "51_continual": continual,
    "52_soft_rescaling": soft_rescaling,
    TRANSFER: transfer,
    "55_lengths": lengths,
}


def companion(name: str, repeats: int = 0, reading: str = "") -> Profile:
    """The profile of the companion studies: by its own name, or by that of the profile it belongs to ("mini", "quick",
    "paper")."""
    profile = get_profile(COMPANION.get(name, name), repeats, reading)
    if profile.name not in COMPANION.values():
        known = ", ".join([*COMPANION, *COMPANION.values()])
        raise ValueError(f"profile {name!r} has no companion studies; those that have: {known}")
    return profile


def unique(parts: dict[str, list[Run]]) -> list[Run]:
    """The runs of a study, each once."""
    return list(dict.fromkeys(run for part in parts.values() for run in part))


def study(profile: Profile, name: str) -> dict[str, list[Run]]:
    """The runs of one study by part; a run may belong to several."""
    return STUDIES[name](profile)


def grid(profile: Profile) -> list[Run]:
    """All runs of a companions profile that `make companions` does, each once; the study of lengths has its own
    command."""
    names = [name for name in STUDIES if name != "55_lengths"] if profile.name in SIZES else [TRANSFER]
    return list(dict.fromkeys(run for name in names for run in unique(study(profile, name))))
