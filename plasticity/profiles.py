"""Every profile, as data: which networks, data sets, cases and repeats; and the runs of a grid."""

import re
from dataclasses import dataclass, field, replace

from .networks.table import architecture
from .reinit import READINGS
from .run import SOURCES, Run

FRACTIONS = (5, 10, 25)
CASES = ("base", *(f"{p}{rf}" for p in FRACTIONS for rf in ("M", "MN", "NS", "N")))  # section 3.1
CONTROL_CASES = ("scratch", "biases")
SGD, ADAMW = {"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adamw"}
PRETRAINING = {  # the miniatures' settings on a source task
    "mini_simplenet": SGD | {"lr": 0.1, "weight_decay": 5e-4, "max_epochs": 12},
    "mini_resnet": SGD | {"lr": 0.1, "weight_decay": 5e-4, "max_epochs": 12},
    "mini_vit": ADAMW | {"lr": 2e-3, "weight_decay": 0.05, "max_epochs": 9},
}
ALL_PRETRAINING = {"schedule": "cosine", "warmup": 0.08, "clip": 5.0, "batch_size": 64}
ALL_PRETRAINING |= {"patience": 0, "validation": 0.01, "augment": "flip"}


@dataclass(frozen=True)
class Profile:
    """A named protocol: which architectures, data sets, cases and repeats, and how each architecture is trained."""

    name: str
    title: str
    architectures: tuple[str, ...]
    datasets: tuple[str, ...]
    repeats: int
    training: dict[str, dict] = field(hash=False)  # architecture -> fields of Run
    weights: str = "imagenet"
    cases: tuple[str, ...] = CASES
    controls: tuple[str, ...] = CONTROL_CASES
    reading: str = "code"
    seconds_a_run: float | None = None  # measured once, for the first estimate
    complete: bool = True  # False accepts scaled-down copies of the real data sets
    more_datasets: tuple[str, ...] = ()  # of runs other than transfer, see studies

    @property
    def all_datasets(self) -> tuple[str, ...]:
        """The targets, those of other studies, and the source task where the weights come from one."""
        return (*self.datasets, *self.more_datasets, *([self.weights] if self.weights in SOURCES else []))

    def family(self, family: str) -> str:
        """The profile's architecture of a family ("simplenet", "resnet", "vit"), or of its own name."""
        for name in self.architectures:
            if family in (name, architecture(name).family):
                return name
        raise ValueError(
            f"profile {self.name!r} has no architecture {family!r}; it has: {', '.join(self.architectures)}"
        )


def source_run(name: str, weights: str) -> Run | None:
    """The run that pretrains an architecture on a source task of the miniature world; None for other weights."""
    if weights not in SOURCES or name not in PRETRAINING:
        return None
    return Run(name, weights, case="scratch", weights=weights, **PRETRAINING[name], **ALL_PRETRAINING)


def source_runs(profile: Profile) -> tuple[Run, ...]:
    """The pretraining runs of a profile; none where its weights come from ImageNet."""
    return tuple(run for name in profile.architectures if (run := source_run(name, profile.weights)))


def grid(profile: Profile, architectures=None, cases=None) -> tuple[Run, ...]:
    """All runs of a profile (of some families or cases of it): architectures x seeds x data sets x cases."""
    names = profile.architectures if architectures is None else [profile.family(name) for name in architectures]
    cases = (*profile.cases, *profile.controls) if cases is None else cases
    return tuple(
        Run(name, dataset, case, seed, weights=profile.weights, reading=profile.reading, **profile.training[name])
        for name in names
        for seed in range(profile.repeats)
        for dataset in profile.datasets
        for case in cases
    )


def get_profile(name: str, repeats: int = 0, reading: str = "") -> Profile:
    """The profile of that name; ``repeats`` above zero and a ``reading`` replace its own. ValueError if unknown."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    if not isinstance(repeats, int) or repeats < 0:
        raise ValueError(f"repeats={repeats!r} must be an integer; 0 stands for the profile's own")
    if reading and reading not in READINGS:
        raise ValueError(f"reading={reading!r} is unknown; allowed: {', '.join(READINGS)}, or '' for the profile's own")
    profile = PROFILES[name]
    return replace(profile, repeats=repeats or profile.repeats, reading=reading or profile.reading)


def _derived(parent: Profile, name: str, training: dict | None = None, **changes) -> Profile:
    """A profile that differs from its parent in some fields, and in ``training`` for every architecture."""
    kept = changes.get("architectures", parent.architectures)
    settings = {key: value | (training or {}) for key, value in parent.training.items() if key in kept}
    return replace(parent, name=name, title=_TITLES[name], training=settings, **changes)


_TITLES = {
    "mini": "the paper in miniature: real pretraining and fine-tuning, offline, on any laptop",
    "imagenet": "a network with real ImageNet weights on real photographs, offline, on a laptop",
    "paper": "the paper itself, with the released code's settings",
    "quick": "a first look: few runs from weaker pretraining; its numbers mean little",
    "imagenet_quick": "a first look: few and short runs on one data set; its numbers mean little",
    "imagenet_128": "the same at 128 pixels with ten repeats, for a GPU",
    "paper_bf16": "the paper in bf16 autocast, by CUDA graphs, for speed on a GPU or a CPU with AMX",
    "rehearsal": "the paper's data and networks, few runs of one epoch; random weights, and scaled-down data will do",
    "sensitivity": "what 10M's effect depends on, in miniature: one setting altered at a time; offline, on any laptop",
    "sensitivity_quick": "a first look at what 10M's effect depends on; its numbers mean little",
    "sensitivity_paper": "what 10M's effect depends on, with the paper's networks and data, for GPUs",
    "companions": "the companion papers in miniature, and all methods on transfer; offline, on any laptop",
    "companions_quick": "a first look at the companions: few and short runs; their numbers mean little",
    "companions_paper": "the companion papers as published, and all methods on the main paper's transfer, for GPUs",
    "companions_imagenet": "methods of the companion papers on a network with real ImageNet weights, offline",
    "rl": "Hare & Tortoise in games, in miniature: MinAtar; offline, on any laptop",
    "rl_quick": "a first look at games: few and short runs; their numbers mean little",
    "rl_paper": "Hare & Tortoise's Atari-100k as published, for GPUs",
    "rl_rehearsal": "its networks and games at full size, a few hundred updates",
    "companions_rehearsal": "their data and networks at full size, single epochs; scaled-down data will do",
}
_MINI = {"batch_size": 32, "max_epochs": 16, "patience": 3, "augment": "flip"}
_RATES = {"mini_simplenet": SGD | {"lr": 0.01}, "mini_resnet": SGD | {"lr": 0.02}, "mini_vit": ADAMW | {"lr": 1.2e-3}}
_mini = Profile(
    "mini",
    _TITLES["mini"],
    architectures=tuple(_RATES),  # reference/learning_rates.md
    datasets=("photos", "elpv", "fruits"),
    repeats=5,
    training={name: rate | _MINI for name, rate in _RATES.items()},
    weights="source",
    seconds_a_run=1.5,
)
_imagenet = Profile(
    "imagenet",
    _TITLES["imagenet"],
    architectures=("efficientnet_lite0",),
    datasets=("photos_64", "elpv_64"),
    repeats=3,
    training={"efficientnet_lite0": SGD | {"lr": 0.01, "max_epochs": 30, "patience": 5}},
    seconds_a_run=60.0,
)
_paper = Profile(
    "paper",
    _TITLES["paper"],
    architectures=("simplenet", "resnet50", "vit_b_16"),
    datasets=("dtd", "brain_tumor", "fruit25"),
    repeats=10,
    training=dict.fromkeys(("simplenet", "resnet50", "vit_b_16"), {"precision": "tf32"}),  # the released code's
)

_LOOK = {"repeats": 1, "cases": ("base", "25M", "25N"), "controls": ("scratch",)}
_SHORT = {"max_epochs": 3, "patience": 2}
_ANY_COPY = {"complete": False, "weights": "random"}  # of the data; and no weights to download
_quick = _derived(_mini, "quick", _SHORT, weights="source_small", **_LOOK)
_imagenet_quick = _derived(_imagenet, "imagenet_quick", {"max_epochs": 2}, datasets=("photos_64",), **_LOOK)
_imagenet_128 = _derived(_imagenet, "imagenet_128", datasets=("photos_128", "elpv_128"), repeats=10)
_paper_bf16 = _derived(_paper, "paper_bf16", {"precision": "bf16", "graph": True})
_rehearsal = _derived(_paper, "rehearsal", {"max_epochs": 1}, **_ANY_COPY, **_LOOK)

_FEW = {"cases": ("base", "10M"), "controls": ()}
_sensitivity = _derived(_mini, "sensitivity", repeats=2, **_FEW)
_sensitivity_quick = _derived(_quick, "sensitivity_quick", architectures=("mini_vit",), datasets=("elpv",), **_FEW)
_sensitivity_paper = _derived(_paper, "sensitivity_paper", repeats=3, **_FEW)

# The companion papers. Not crelu and layer_norm: they change layers, so that pretrained weights do not fit.
HARE = "hare_tortoise(momentum=0.95, steps=38)"  # steps: a reset keeps 1 - .95^38 = 86% of the way, as the paper's
TRANSFER_CASES = (
    *("base", "10M", "25M", "biases", "l2", "l2_init", "l2_sp", "spectral_decoupling", "augmentation"),
    *("shrink_perturb(keep=0.8)", "redo", "continual_backprop", "selective_reinit", "head_only", "soft_rescaling"),
    *("ema(momentum=0.95)", HARE, "self_distillation(momentum=0.95)"),
    *("10M + soft_rescaling", f"10M + {HARE}", "10M + l2_sp", f"l2_sp + {HARE}"),
)
# What the miniature leaves out for time: the first two change nothing in as few steps as it takes.
LEFT_OUT = ("redo", "continual_backprop", "spectral_decoupling", "10M + l2_sp", f"l2_sp + {HARE}")
_PUBLISHED_CASES = tuple(re.sub(r"\(momentum=[^)]*\)", "", case) for case in TRANSFER_CASES)
_FEW_CASES = ("base", "10M", "l2_sp", "soft_rescaling")
_ONE_PAIR = {"repeats": 1, "weights": "source_small", "architectures": ("mini_simplenet",), "datasets": ("photos",)}
_FULL_SIZE_PAIR = {"repeats": 1, "architectures": ("resnet50",), "datasets": ("dtd",)} | _ANY_COPY
_FULL_SIZE_PAIR |= {"cases": (*_FEW_CASES, "hare_tortoise(epochs=1)"), "controls": ()}
_companions = _derived(
    _mini,
    "companions",
    repeats=3,
    cases=tuple(case for case in TRANSFER_CASES if case not in LEFT_OUT),
    controls=("scratch",),
    seconds_a_run=7.0,
    more_datasets=("digits", "world_10", "world_20", "world_20_few"),
)
_companions_quick = _derived(_companions, "companions_quick", _SHORT, cases=_FEW_CASES, **_ONE_PAIR)
_companions_paper = _derived(
    _paper,
    "companions_paper",
    repeats=5,
    cases=_PUBLISHED_CASES,
    controls=("scratch",),
    more_datasets=("mnist", "cifar10", "cifar100", "tiny_imagenet"),
)
_companions_imagenet = _derived(
    _imagenet,
    "companions_imagenet",
    repeats=5,
    cases=("base", "10M", HARE, "ema(momentum=0.95)", "soft_rescaling", "l2_sp", "shrink_perturb(keep=0.8)"),
    controls=(),
)
_companions_rehearsal = _derived(_companions_paper, "companions_rehearsal", {"max_epochs": 1}, **_FULL_SIZE_PAIR)

# Games: what their runs are stands in studies.rl.
_rl = Profile(
    "rl",
    _TITLES["rl"],
    architectures=("mini_dqn",),
    datasets=("minatar_breakout", "minatar_space_invaders"),
    repeats=5,
    training={"mini_dqn": {}},
    weights="none",
    cases=(),
    controls=(),
    seconds_a_run=20.0,
)
_rl_quick = _derived(_rl, "rl_quick", repeats=1)
_ATARI_100K = """alien amidar assault asterix bank_heist battle_zone boxing breakout chopper_command crazy_climber
    demon_attack freeway frostbite gopher hero jamesbond kangaroo krull kung_fu_master ms_pacman pong private_eye qbert
    road_runner seaquest up_n_down"""
_FULL_SIZE = {"architectures": ("nature_cnn", "impala_x4"), "seconds_a_run": None}
_rl_paper = _derived(_rl, "rl_paper", datasets=tuple(f"atari_{game}" for game in _ATARI_100K.split()), **_FULL_SIZE)
_rl_rehearsal = _derived(_rl, "rl_rehearsal", repeats=1, datasets=("atari_breakout", "atari_pong"), **_FULL_SIZE)

PROFILES = {
    profile.name: profile
    for profile in (
        *(_mini, _imagenet, _paper, _quick, _imagenet_quick, _imagenet_128, _paper_bf16, _rehearsal),
        *(_sensitivity, _sensitivity_quick, _sensitivity_paper),
        *(_companions, _companions_quick, _companions_paper, _companions_imagenet, _companions_rehearsal),
        *(_rl, _rl_quick, _rl_paper, _rl_rehearsal),
    )
}
