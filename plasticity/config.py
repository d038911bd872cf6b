"""The protocol as data: what one run is, what a profile is, and which runs a grid has."""

import hashlib
import json
import math
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

from . import methods, scenarios
from .augment import AUGMENTATIONS
from .data import FOLDER, TITLES
from .interventions import TENSORS
from .models import architecture
from .reinit import BIASES, READINGS, SCOPES, UTILITIES

FRACTIONS = (5, 10, 25)
CASES = ("base", *(f"{p}{rf}" for p in FRACTIONS for rf in ("M", "MN", "NS", "N")))  # section 3.1
CONTROL_CASES = ("scratch", "biases")
SOURCES = ("source", "source_small")  # source tasks of the miniature world
SGD, ADAMW = {"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adamw"}
PRETRAINING = {  # the miniatures' settings on a source task
    "mini_simplenet": SGD | {"lr": 0.1, "weight_decay": 5e-4, "max_epochs": 12},
    "mini_resnet": SGD | {"lr": 0.1, "weight_decay": 5e-4, "max_epochs": 12},
    "mini_vit": ADAMW | {"lr": 2e-3, "weight_decay": 0.05, "max_epochs": 9},
}
CHOICES = {
    "reading": READINGS,
    "utility": UTILITIES,
    "scope": SCOPES,
    "biases": (None, *BIASES),
    "optimizer": ("sgd", "adamw"),
    "schedule": ("constant", "cosine", "steps"),
    "augment": tuple(AUGMENTATIONS),
    "precision": ("fp32", "tf32", "bf16"),
    "dataset": tuple(TITLES),
    "weights": ("imagenet", "random", "none", *SOURCES),
    "monitor": ("validation", "test"),
    "tensors": TENSORS,
}


@dataclass(frozen=True)
class Run:
    """One training run. The defaults are the released code's settings (facts of Coetzer et al. 2026), seed aside."""

    architecture: str  # a key of models.ARCHITECTURES, or "timm/" and timm's name of a network
    dataset: str  # a key of data.TITLES, or what own.pack_folder returned
    case: str = "base"  # "base", "10MN", "scratch", "biases", or methods joined by "+"
    seed: int = 0  # of split, head, batch order, augmentation and re-initialisation; pairs runs across cases
    weights: str = "imagenet"  # what the network was pretrained on: "imagenet", a source task, "none"; "random" for rehearsals
    reading: str = "code"  # "code" or "text": which reading of the paper, see reinit
    utility: str = "magnitude"  # "magnitude" or "gradient"
    scope: str = "tensor"  # weights compete within their "tensor", or "global"
    biases: str | None = None  # overrides what the reading does with biases: "smallest", "zero", "keep"
    optimizer: str = "sgd"  # "sgd" or "adamw"
    lr: float = 1e-3  # learning rate
    momentum: float = 0.0  # of sgd
    weight_decay: float = 0.0
    schedule: str = "constant"  # "constant"; "cosine" to zero over max_epochs; "steps": a tenth after half of them, and after 3/4
    warmup: float = 0.0  # share of a phase's steps over which the learning rate rises linearly from zero
    clip: float = 0.0  # largest gradient norm; 0 for no clipping
    batch_size: int = 32
    max_epochs: int = 2000
    patience: int = 10  # epochs without a lower validation loss before stopping; 0 trains to max_epochs
    validation: float = 0.2  # share of the train items held back for validation; 0 (not in transfer) watches the test items instead
    augment: str = "released"  # "released", "flip" or "none"
    precision: str = "fp32"  # "fp32" in full; "tf32" in a GPU's matrix products and convolutions; "bf16" autocast
    channels_last: bool = True  # memory order of images and weights: faster for most networks; False for channels first
    compiled: bool = False  # training steps through torch.compile(mode="reduce-overhead"): CUDA graphs on a GPU
    scenario: str = "transfer"  # "transfer", "single", "warm_start(subset=0.1)", "continual(...)": see scenarios; sets the phases
    beta1: float = 0.9  # of adamw
    beta2: float = 0.999  # of adamw
    epsilon: float = 1e-8  # of adamw
    measure: int = 0  # every so many epochs, and at each phase's end, the plasticity metrics go into the history; 0: never
    monitor: str = "validation"  # what early stopping and the best weights go by; "test": the test items (the split stays): a control
    tensors: str = "weights"  # which compete: "weights", all of two or more dimensions; "no_head", "no_embeddings", "with_gains"

    def __post_init__(self):
        object.__setattr__(self, "case", methods.canonical(self.case))
        object.__setattr__(self, "scenario", scenarios.canonical(self.scenario))
        architecture(self.architecture)
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed and not (name == "dataset" and FOLDER.fullmatch(str(self.dataset))):
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; allowed: {', '.join(map(repr, allowed))}")
        for name in ("seed", "batch_size", "max_epochs", "patience", "measure"):
            smallest = 1 if name in ("batch_size", "max_epochs") else 0
            if not isinstance(getattr(self, name), int) or getattr(self, name) < smallest:
                raise ValueError(f"{name}={getattr(self, name)!r} must be an integer of at least {smallest}")
        for name in ("lr", "momentum", "weight_decay", "warmup", "clip", "validation", "beta1", "beta2", "epsilon"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"{name}={value!r} must be a finite number of at least 0")
            object.__setattr__(self, name, float(value))  # 1 and 1.0 are one configuration with one key
        for name in ("channels_last", "compiled"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r} must be True or False")
        if not self.lr > 0:
            raise ValueError(f"lr={self.lr!r} must be above zero")
        phased = self.scenario != "transfer"
        if not 0 < self.validation < 1 and not (phased and self.validation == 0):
            raise ValueError(f"validation={self.validation!r} must be a share between 0 and 1")
        if phased and self.patience:
            raise ValueError(f"patience={self.patience} with scenario {self.scenario!r}: its phases have fixed lengths; use patience=0")
        if phased and self.monitor == "test":
            raise ValueError(f"monitor='test' with scenario {self.scenario!r}: only a transfer stops early or chooses weights; use "
                             f"monitor='validation'")  # fmt: skip
        if max(self.beta1, self.beta2) >= 1 or not self.epsilon > 0:
            raise ValueError(f"beta1={self.beta1}, beta2={self.beta2}, epsilon={self.epsilon}: betas below 1, epsilon above 0")
        method = methods.build(self.case)
        if method.reshapes and method.pretrained and self.weights != "none":
            raise ValueError(f"case {self.case!r} changes layers, so that {self.weights!r} weights do not fit; use weights='none', or "
                             f"'{self.case} + scratch'")  # fmt: skip

    def changed(self) -> dict:
        """The fields that differ from their defaults: a new field with a default leaves old runs' identity alone."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @cached_property
    def key(self) -> str:
        """Eight hexadecimal digits that identify this configuration."""
        return hashlib.sha256(json.dumps(self.changed(), sort_keys=True).encode()).hexdigest()[:8]

    def __str__(self) -> str:
        parts = [self.dataset, self.scenario, self.case, f"s{self.seed}", self.key]
        return f"{self.architecture.replace('/', '-')}/" + "-".join(part for part in parts if part != "transfer").replace(" ", "")


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
    more_datasets: tuple[str, ...] = ()  # of runs that are no transfer, see studies

    @property
    def all_datasets(self) -> tuple[str, ...]:
        """The targets, those of other studies, and the source task where the weights come from one."""
        return (*self.datasets, *self.more_datasets, *([self.weights] if self.weights in SOURCES else []))

    def family(self, family: str) -> str:
        """The profile's architecture of a family ("simplenet", "resnet", "vit"), or of its own name."""
        for name in self.architectures:
            if family in (name, architecture(name).family):
                return name
        raise ValueError(f"profile {self.name!r} has no architecture {family!r}; it has: {', '.join(self.architectures)}")


def source_run(name: str, weights: str) -> Run | None:
    """The run that pretrains an architecture on a source task of the miniature world; None for other weights."""
    if weights not in SOURCES or name not in PRETRAINING:
        return None
    settings = PRETRAINING[name] | {"schedule": "cosine", "warmup": 0.08, "clip": 5.0, "batch_size": 64, "patience": 0,
                             "validation": 0.01, "augment": "flip"}  # fmt: skip
    return Run(name, weights, case="scratch", weights=weights, **settings)


def source_runs(profile: Profile) -> tuple[Run, ...]:
    """The pretraining runs of a profile; none where its weights come from ImageNet."""
    return tuple(run for name in profile.architectures if (run := source_run(name, profile.weights)))


def grid(profile: Profile, architectures=None, cases=None) -> tuple[Run, ...]:
    """All runs of a profile (of some families or cases of it): 3 architectures x 3 data sets x cases x repeats, by seed."""
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
    """The profile of that name; ``repeats`` above zero and a ``reading`` replace its own. Raises ValueError if unknown."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    if not isinstance(repeats, int) or repeats < 0:
        raise ValueError(f"repeats={repeats!r} must be an integer; 0 stands for the profile's own")
    profile = PROFILES[name]
    if reading and reading not in READINGS:
        raise ValueError(f"reading={reading!r} is unknown; allowed: {', '.join(READINGS)}, or '' for the profile's own")
    return replace(profile, repeats=repeats or profile.repeats, reading=reading or profile.reading)


MINI = {"batch_size": 32, "max_epochs": 16, "patience": 3, "augment": "flip"}  # learning rates: reference/learning_rates.md
PROFILES = {
    "mini": Profile(
        "mini", "the paper in miniature: real pretraining and fine-tuning, offline, on any laptop",
        architectures=("mini_simplenet", "mini_resnet", "mini_vit"),
        datasets=("photos", "elpv", "fruits"),
        repeats=5,
        training={
            "mini_simplenet": SGD | MINI | {"lr": 0.01},
            "mini_resnet": SGD | MINI | {"lr": 0.02},
            "mini_vit": ADAMW | MINI | {"lr": 1.2e-3},
        },
        weights="source",
        seconds_a_run=1.5,
    ),
    "imagenet": Profile(
        "imagenet", "a network with real ImageNet weights on real photographs, offline, on a laptop",
        architectures=("efficientnet_lite0",),
        datasets=("photos_64", "elpv_64"),
        repeats=3,
        training={"efficientnet_lite0": SGD | {"lr": 0.01, "max_epochs": 30, "patience": 5}},
        seconds_a_run=39.0,
    ),
    "paper": Profile(
        "paper", "the paper itself, with the released code's settings",
        architectures=("simplenet", "resnet50", "vit_b_16"),
        datasets=("dtd", "brain_tumor", "fruit25"),
        repeats=10,
        training={"simplenet": {}, "resnet50": {}, "vit_b_16": {}},
    ),
}  # fmt: skip
FIRST_LOOK = {"repeats": 1, "cases": ("base", "25M", "25N"), "controls": ("scratch",)}


def derived(name: str, parent: str, title: str, training: dict, **fields) -> None:
    """Add a profile that differs from its parent in ``fields``, and in ``training`` for every architecture."""
    kept = fields.get("architectures", PROFILES[parent].architectures)
    settings = {key: value | training for key, value in PROFILES[parent].training.items() if key in kept}
    PROFILES[name] = replace(PROFILES[parent], name=name, title=title, training=settings, **fields)


derived("quick", "mini", "a first look: few runs from weaker pretraining; its numbers mean little",
        {"max_epochs": 3, "patience": 2}, **FIRST_LOOK, weights="source_small")  # fmt: skip
derived("imagenet_quick", "imagenet", "a first look: few and short runs on one data set; its numbers mean little",
        {"max_epochs": 2}, **FIRST_LOOK, datasets=("photos_64",))  # fmt: skip
derived("imagenet_128", "imagenet", "the same at 128 pixels with ten repeats, for a GPU",
        {}, datasets=("photos_128", "elpv_128"), repeats=10)  # fmt: skip
derived("paper_bf16", "paper", "the paper in bf16 autocast, for speed on a GPU or a CPU with AMX", {"precision": "bf16"})
derived("rehearsal", "paper", "the paper's data and networks, few runs of one epoch; random weights, and scaled-down data will do",
        {"max_epochs": 1}, **FIRST_LOOK, complete=False, weights="random")  # fmt: skip
