"""How large the companion experiments are in each profile: networks, data, lengths and strengths.

How long a phase is in profile "companions" follows one rule, written down before any method was run: as long as the
fresh network (no warm start; with L2 and augmentation, which every method of H&T section 5.1 has) takes to fit 80% of
its training data, mean of three seeds. Tried in this order, from runs of it alone: 372 steps (12 epochs of 1,000
items), twice, four times as many; then other learning rates, data sets with fewer classes, wider networks, fewer items.
Momenta and intervals of the averages follow by arithmetic: H&T's phase has 19,500 steps, so 19.5 averaging windows of
1 / (1 - momentum) steps, and 10 resets.
"""

from dataclasses import dataclass, replace

FITS = 0.8  # share of its training data that the fresh network must fit
WINDOWS, RESETS = 19.5, 10  # of a phase


@dataclass(frozen=True)
class Size:
    """How large the companion experiments are. Dicts are by family of networks."""

    pairs: dict[str, tuple[str, str]]  # H&T: network and data set, hardest last
    plain: dict[str, tuple[str, str]]  # SWR's
    epochs: dict[str, int]  # of a phase with all data
    plain_epochs: dict[str, int]
    averages: dict[str, tuple[float, int]]  # momentum, which counts steps, and epochs between resets
    chunks: int
    buffer: int
    batch_size: int
    subsets: tuple[float, ...]
    noises: tuple[float, ...]
    cells: dict[str, tuple[tuple[float, float], ...]]  # (subset, noise) where a family does not get the whole grid
    whole: tuple[str, ...]  # the families that get it
    momenta: tuple[float, ...]  # figure 9's, besides the own
    intervals: tuple[int, ...]  # epochs
    betas: tuple[tuple[str, float], ...]  # figure 3's: one of AdamW's parameters and its value
    compared: dict[str, tuple[str, ...]]  # figure 4's families, and the methods of each
    remedied: dict[str, tuple[str, ...]]  # figure 5's
    ablated: tuple[str, ...]  # families of figures 3 and 9
    swapped: bool  # figure 7
    continual: dict[str, tuple[str, ...]]  # figure 6's families, and the kinds of access of each
    lengths: tuple[str, ...] = ()  # the families of the study of lengths


TRAINABILITY = ("spectral_decoupling", "l2_init", "redo", "crelu", "layer_norm", "continual_backprop")
RESET = ("head_reset", "shrink_perturb", "25M", "selective_reinit")
METHODS = ("l2", "augmentation", *TRAINABILITY, *RESET)
AVERAGES = ("ema", "hare_tortoise", "self_distillation")
REMEDIES = ("head_reset", "shrink_perturb", *AVERAGES, "soft_rescaling")
FAMILIES = ("mlp", "resnet18", "vit_tiny", "vgg")
NETWORKS = FAMILIES[1:]  # those of figures 3 to 7 and 9
HARDEST = (0.1, 0.5)  # subset and noise of H&T sections 3.4 and 5.1
BETAS = (("beta1", 0.0), ("beta1", 0.5), ("beta2", 0.9), ("beta2", 0.99))
BETAS += (("epsilon", 1e-6), ("epsilon", 1e-4), ("epsilon", 1e-2))
ACCESS = ("full", "limited", "collapsed")

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
    epochs=dict.fromkeys(FAMILIES, 100),
    plain_epochs=dict.fromkeys(("mlp", "cnn", "cnn_bn", "vgg"), 100),
    averages=dict.fromkeys(FAMILIES, (0.999, 10)),  # H&T section 4.3
    chunks=10,
    buffer=5000,
    batch_size=256,
    subsets=(0.1, 0.2, 0.4, 0.6, 0.8, 1.0),
    noises=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    cells={},
    whole=FAMILIES,
    momenta=(0.9, 0.99, 0.9999),
    intervals=(1, 5, 20, 50),
    betas=BETAS,
    compared=dict.fromkeys(NETWORKS, METHODS),
    remedied=dict.fromkeys(NETWORKS, REMEDIES),
    ablated=NETWORKS,
    swapped=True,
    continual=dict.fromkeys(NETWORKS, ACCESS),
)
COMPARED = ("l2", "augmentation", "spectral_decoupling", "l2_init", "redo", "head_reset", "shrink_perturb", "25M")
FEW = ("l2", "augmentation", "redo", "crelu", "head_reset", "shrink_perturb")
MINI = replace(
    PAPER,
    pairs={
        "mlp": ("mini_mlp_bn", "digits"),
        "resnet18": ("mini_resnet18", "world_10"),
        "vit_tiny": ("mini_vit_tiny", "world_20_few"),
        "vgg": ("mini_vgg", "world_20"),
    },
    plain={
        "mlp": ("mini_mlp", "digits"),
        "cnn": ("mini_cnn", "world_10"),
        "cnn_bn": ("mini_cnn_bn", "world_20"),
        "vgg": ("mini_vgg", "world_20"),
    },
    epochs={"mlp": 15, "resnet18": 48, "vit_tiny": 124, "vgg": 48},  # 555 steps; 1,488 each
    plain_epochs={"mlp": 15, "cnn": 24, "cnn_bn": 24, "vgg": 12},
    averages={"mlp": (0.965, 2), "resnet18": (0.987, 5), "vit_tiny": (0.987, 12), "vgg": (0.987, 5)},
    chunks=5,
    buffer=100,
    batch_size=32,
    subsets=(0.1, 0.2, 0.4, 1.0),
    noises=(0.0, 0.2, 0.5),
    cells={"resnet18": ((0.1, 0.0), (1.0, 0.0), (1.0, 0.5))},
    whole=("mlp",),
    momenta=(0.87, 0.9987),
    intervals=(1, 24),
    betas=(("beta2", 0.9), ("epsilon", 1e-2)),
    compared={"resnet18": COMPARED, "vgg": FEW},
    remedied={
        "resnet18": REMEDIES,
        "vit_tiny": ("head_reset", "shrink_perturb", "ema", "hare_tortoise"),
        "vgg": ("head_reset", "shrink_perturb", "ema", "hare_tortoise", "soft_rescaling"),
    },
    ablated=("resnet18",),
    swapped=False,
    continual={"mlp": ACCESS, "resnet18": ACCESS, "vgg": ("limited",)},
    lengths=("resnet18", "vgg"),
)
ONE_EPOCH = {
    "averages": dict.fromkeys(FAMILIES, (0.95, 1)),
    "momenta": (0.9,),
    "cells": {"vgg": ((0.1, 0.0),)},
    "whole": (),
}
QUICK = replace(
    MINI,
    epochs=dict.fromkeys(MINI.epochs, 1),
    plain_epochs=dict.fromkeys(MINI.plain_epochs, 1),
    chunks=10,
    intervals=(),
    betas=BETAS,
    compared={"vgg": METHODS},
    remedied={"vgg": REMEDIES},
    ablated=("vgg",),
    swapped=True,
    continual={"mlp": ACCESS},
    pairs={family: MINI.pairs[family] for family in ("mlp", "vgg")},
    plain={family: MINI.plain[family] for family in ("mlp", "cnn_bn")},
    lengths=("vgg",),
    **ONE_EPOCH,
)
REHEARSAL = replace(
    PAPER,
    epochs=dict.fromkeys(PAPER.epochs, 1),
    plain_epochs=dict.fromkeys(PAPER.plain_epochs, 1),
    buffer=10,
    intervals=(),
    compared={"vit_tiny": METHODS},
    remedied={"vit_tiny": REMEDIES},
    ablated=("vit_tiny",),
    continual={"vit_tiny": ACCESS},
    plain={family: PAPER.plain[family] for family in ("mlp", "cnn", "cnn_bn")},
    **ONE_EPOCH,
)
SIZES = {"companions": MINI, "companions_quick": QUICK, "companions_paper": PAPER, "companions_rehearsal": REHEARSAL}
LENGTHS = (0.25, 1, 4)  # of the own phase: x 1, x 4 and x 16 of 372 steps


@dataclass(frozen=True)
class Strengths:
    """The strengths that SWR found best for one network in one scenario (its appendix D, tables 2 to 4)."""

    shrink: float  # shrink & perturb: w <- (1 - shrink) w + shrink w_0
    l2: float  # of half the sum of squares
    l2_init: float
    features: float  # soft rescaling
    classifier: float


FOUND = {  # scenario -> family -> strengths
    "single": {
        "mlp": Strengths(0, 1e-5, 1e-5, 1e-4, 1e-4),
        "cnn": Strengths(0, 1e-2, 1e-2, 1e-3, 1e-3),
        "cnn_bn": Strengths(0, 1e-2, 1e-2, 1e-4, 1e-1),
        "vgg": Strengths(0, 1e-5, 1e-5, 1e-2, 1e-1),
    },
    "warm start": {
        "mlp": Strengths(0.4, 1e-5, 1e-5, 1e-4, 1e-4),
        "cnn": Strengths(0.8, 1e-2, 1e-2, 1e-3, 1e-3),
        "cnn_bn": Strengths(0.8, 1e-2, 1e-2, 1e-4, 1),
        "vgg": Strengths(0.8, 1e-5, 1e-5, 1e-2, 1e-1),
    },
    "full access": {
        "mlp": Strengths(0.6, 1e-4, 1e-4, 1e-4, 1e-4),
        "cnn": Strengths(0.8, 1e-2, 1e-2, 1e-3, 1e-3),
        "cnn_bn": Strengths(0.8, 1e-2, 1e-2, 1e-4, 1e-1),
        "vgg": Strengths(0.8, 1e-4, 1e-4, 1e-2, 1e-2),
    },
    "limited access": {
        "mlp": Strengths(0.2, 1e-5, 1e-5, 1e-4, 1e-4),
        "cnn": Strengths(0.4, 1e-2, 1e-2, 1e-1, 1e-1),
        "cnn_bn": Strengths(0.4, 1e-2, 1e-2, 1e-1, 1e-2),
        "vgg": Strengths(0.4, 1e-4, 1e-3, 1e-4, 1),
    },
}
