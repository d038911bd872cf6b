"""The protocol as data: what one run is, what a profile is, and which runs a grid has."""

import hashlib
import json
import math
from dataclasses import dataclass, fields
from functools import cached_property

from .data import FOLDER, TITLES
from .interventions import Intervention, Settings
from .methods import registry as methods
from .methods.playable import require_playable
from .networks.parts import TENSORS
from .networks.table import architecture
from .reinit import BIASES, READINGS, SCOPES, UTILITIES
from .training import games, scenarios
from .training.augment import AUGMENTATIONS

SOURCES = ("source", "source_small")  # source tasks of the miniature world
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
COUNTS = {"seed": 0, "batch_size": 1, "max_epochs": 1, "patience": 0, "measure": 0}  # and their least values
NUMBERS = ("lr", "momentum", "weight_decay", "warmup", "clip", "validation", "beta1", "beta2", "epsilon")


@dataclass(frozen=True)
class Run:
    """One training run. The defaults are the released code's settings (facts of Coetzer et al. 2026), seed aside."""

    architecture: str  # a key of table.ARCHITECTURES or GAME_NETWORKS, or "timm/" and timm's name of a network
    dataset: str  # a key of data.TITLES, what own.pack_folder returned, or a game: "minatar_breakout", "atari_pong"
    case: str = "base"  # "base", "10MN", "scratch", "biases", or methods joined by "+"
    seed: int = 0  # of split, head, batch order, augmentation and re-initialisation; pairs runs across cases
    weights: str = "imagenet"  # of the pretraining: "imagenet", a source task, "none"; "random" for rehearsals
    reading: str = "code"  # "code" or "text": which reading of the paper, see reinit
    utility: str = "magnitude"  # "magnitude" or "gradient"
    scope: str = "tensor"  # weights compete within their "tensor", or "global"
    biases: str | None = None  # overrides what the reading does with biases: "smallest", "zero", "keep"
    optimizer: str = "sgd"  # "sgd" or "adamw"
    lr: float = 1e-3  # learning rate
    momentum: float = 0.0  # of sgd
    weight_decay: float = 0.0
    schedule: str = "constant"  # or "cosine", to zero over max_epochs; "steps": a tenth after 1/2, and after 3/4
    warmup: float = 0.0  # share of a phase's steps over which the learning rate rises linearly from zero
    clip: float = 0.0  # largest gradient norm; 0 for no clipping
    batch_size: int = 32
    max_epochs: int = 2000
    patience: int = 10  # epochs without a lower validation loss before stopping; 0 trains to max_epochs
    validation: float = 0.2  # share of the train items held back; 0 (not in transfer) watches the test items instead
    augment: str = "released"  # "released", "flip" or "none"
    precision: str = "fp32"  # "fp32" in full; "tf32" in a GPU's matrix products and convolutions; "bf16" autocast
    channels_last: bool = True  # memory order of images and weights: faster for most networks; False for channels first
    compiled: bool = False  # training steps through torch.compile(mode="reduce-overhead"): CUDA graphs on a GPU
    scenario: str = "transfer"  # "transfer", "single", "warm_start(subset=0.1)", "online(...)": see scenarios
    beta1: float = 0.9  # of adamw
    beta2: float = 0.999  # of adamw
    epsilon: float = 1e-8  # of adamw
    measure: int = 0  # every n epochs, and at phases' ends, plasticity metrics of the trained network (see measures)
    monitor: str = "validation"  # what early stopping and the best weights go by; "test": a control, the split stays
    tensors: str = "weights"  # of two or more dimensions compete; or "no_head", "no_embeddings", "with_gains"
    graph: bool = False  # on a GPU, each step as one CUDA graph; elsewhere without effect
    agent: str = ""  # of a game: "drq(n_step=5)", "random", see training.games

    def __post_init__(self):
        object.__setattr__(self, "case", methods.canonical(self.case))
        object.__setattr__(self, "scenario", scenarios.canonical(self.scenario))
        object.__setattr__(self, "agent", games.canonical(self.agent))
        for name in NUMBERS:
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"{name}={value!r} must be a finite number of at least 0")
            object.__setattr__(self, name, float(value))  # 1 and 1.0 are one configuration with one key
        architecture(self.architecture)
        self._check_choices()
        self._check_combinations()

    def _check_choices(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            named = name == "dataset" and (FOLDER.fullmatch(str(value)) or games.GAME.fullmatch(str(value)))
            if value not in allowed and not named:
                raise ValueError(f"{name}={value!r} is unknown; allowed: {', '.join(map(repr, allowed))}")
        for name, least in COUNTS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name}={value!r} must be an integer of at least {least}")
        for name in ("channels_last", "compiled", "graph"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r} must be True or False")

    def _check_combinations(self) -> None:
        phased, method, scenario = self.scenario != "transfer", self.intervention(), f"scenario {self.scenario!r}"
        require_playable(self, method)
        if not self.lr > 0:
            raise ValueError(f"lr={self.lr!r} must be above zero")
        if max(self.beta1, self.beta2) >= 1 or not self.epsilon > 0:
            given = f"beta1={self.beta1}, beta2={self.beta2}, epsilon={self.epsilon}"
            raise ValueError(f"{given}: betas below 1, epsilon above 0")
        if self.graph and self.compiled:
            raise ValueError("graph=True with compiled=True: both make CUDA graphs; choose one")
        if not 0 < self.validation < 1 and not (phased and self.validation == 0):
            raise ValueError(f"validation={self.validation!r} must be a share between 0 and 1")
        if phased and self.patience:
            raise ValueError(f"patience={self.patience} with {scenario}: its phases have fixed lengths; use patience=0")
        if phased and self.monitor == "test":
            why = "only a transfer stops early or chooses weights; use monitor='validation'"
            raise ValueError(f"monitor='test' with {scenario}: {why}")
        if method.reshapes and method.pretrained and self.weights != "none":
            todo = f"use weights='none', or '{self.case} + scratch'"
            raise ValueError(f"case {self.case!r} changes layers, so that {self.weights!r} weights do not fit; {todo}")

    def intervention(self) -> Intervention:
        """The method that the case names, with this run's settings."""
        return methods.build(self.case, Settings(self.reading, self.utility, self.scope, self.biases, self.tensors))

    def changed(self) -> dict:
        """The fields that differ from their defaults: a new field with a default leaves old runs' identity alone."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @cached_property
    def key(self) -> str:
        """Eight hexadecimal digits that identify this configuration."""
        return hashlib.sha256(json.dumps(self.changed(), sort_keys=True).encode()).hexdigest()[:8]

    def __str__(self) -> str:
        parts = [self.dataset, self.scenario, self.case, f"s{self.seed}", self.key]
        name = "-".join(part for part in parts if part != "transfer").replace(" ", "")
        return f"{self.architecture.replace('/', '-')}/{name}"
