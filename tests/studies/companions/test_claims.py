"""Verdicts from intervals that are written down, and claims on frames built so that the truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
from test_paired import phases, record

from plasticity.analysis.frames import METRICS, learning_curves, run_table
from plasticity.analysis.paired import Difference
from plasticity.studies.companions import claims as verdicts
from plasticity.studies.companions import tables as companion_tables
from plasticity.studies.companions.numbers import CLAIMS

pytestmark = pytest.mark.filterwarnings("error")
BOTH = " + l2 + augmentation"
NETWORKS = {"mini_resnet18": "world_10", "mini_vit_tiny": "world_20", "mini_vgg": "world_40"}
NOISE = {
    0: -0.01,
    1: 0.01,
    2: 0.0,
}  # by seed, in points as a share: an effect of two points is clear, one of none is not


@pytest.mark.parametrize(
    ("low", "high", "side", "expected"),
    [
        (0.1, 1, 1, "supported"),
        (-1, -0.1, 1, "contradicted"),
        (-1, 1, 1, "undecided"),
        (0, 0, 1, "undecided"),
        (0, 1, 1, "undecided"),
        (-1, -0.1, -1, "supported"),
        (0.1, 1, -1, "contradicted"),
        (-1, 1, -1, "undecided"),
        (-1.9, 1.9, 0, "supported"),
        (2.1, 9, 0, "contradicted"),
        (-9, -2.1, 0, "contradicted"),
        (1, 3, 0, "undecided"),
        (-2, 2, 0, "undecided"),
    ],
)
def test_an_interval_has_a_verdict_for_each_side(low, high, side, expected):
    assert verdicts.verdict(Difference(3, (low + high) / 2, low, high), side) == expected


@pytest.mark.parametrize("side", [-1, 0, 1])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_without_an_interval_nothing_is_tested(n, side):
    assert verdicts.verdict(Difference(n, 5.0, math.nan, math.nan), side) == "not tested"


def cell(accuracies, case="base", scenario="warm_start", networks=NETWORKS, jitter=0.0, **metrics):
    """Records of one case: an accuracy for all networks, or one each by name; ``jitter`` times 1 point up or down by seed."""
    means = accuracies if isinstance(accuracies, dict) else dict.fromkeys(networks, accuracies)
    return [
        record(case, seed, mean + jitter * noise, scenario, name, NETWORKS[name], **metrics)
        for name, mean in means.items()
        for seed, noise in NOISE.items()
    ]


def said(frames, study):
    """(claim's first words, compared) -> verdict, after checking that every claim of the study's sections is there."""
    table = verdicts.claims(frames, study)
    assert list(table.columns) == ["Section", "Claim", "Decided by", "Difference", "n", "Verdict"]
    assert set(table.Claim) == {claim.says for claim in CLAIMS if claim.section in set(table.Section)}
    keys = {claim.says: claim.key for claim in CLAIMS}
    return {(keys[row.Claim], row[3]): row.Verdict for row in table.itertuples()}


@pytest.fixture
def warm_starts():
    """Study 50, of networks that lose 20 points to a warm start; what repairs how much is written here."""
    grid = [(0.1, 0.0, 0.6), (1, 0.0, 0.6), (1, 0.5, 0.5)]  # fewer items cost nothing, wrong labels do
    remedies = {
        "l2 + augmentation": 0.5,
        "ema" + BOTH: 0.5,
        "self_distillation" + BOTH: 0.7,
        "shrink_perturb" + BOTH: 0.55,
        f"hare_tortoise(momentum=0.99, every=2){BOTH}": {"mini_resnet18": 0.6, "mini_vit_tiny": 0.6, "mini_vgg": 0.5},
    }
    methods = {"base": 0.4, "l2_init": 0.4, "redo": 0.5, "l2": 0.5, "augmentation": 0.3, "shrink_perturb": 0.4}
    ablated = [("hare_tortoise(momentum=0.9, every=2)", 0.55), ("hare_tortoise(momentum=0.99, every=1)", 0.52)]
    resnet = ["mini_resnet18"]
    parts = {
        "fresh": cell(0.6, scenario="single", train_accuracy=0.995) + cell(0.65, "l2 + augmentation", "single"),
        "cells": [
            each
            for subset, noise, mean in grid
            for each in cell(
                mean, scenario=f"warm_start(subset={subset}, noise={noise})", jitter=1 if subset < 1 else 0
            )
        ],
        "methods": [
            each
            for case, mean in methods.items()
            for each in cell(mean, case, jitter=3 * (case == "shrink_perturb"), train_accuracy=0.99)
        ],
        "remedies": [each for case, mean in remedies.items() for each in cell(mean, case)],
        "optimiser": cell(0.45, networks=resnet, jitter=1, beta1=0.5) + cell(0.42, networks=resnet, epsilon=1e-4),
        "ablation": [each for case, mean in ablated for each in cell(mean, case + BOTH, networks=resnet, jitter=0.1)],
    }
    return {part: run_table(recorded) for part, recorded in parts.items()}


def test_warm_starts_claims(warm_starts):
    found = said(warm_starts, "50")
    of = {(key, compared.partition(" minus")[0]): says for (key, compared), says in found.items()}
    assert of["two_sides", "training accuracy, hardest warm start"] == "supported"
    assert of["trains_not_generalises", "test accuracy, hardest warm start"] == "supported"
    assert (
        of["less_and_noisier", "a tenth"] == "undecided"
        and of["less_and_noisier", "half of the labels wrong"] == "supported"
    )
    assert of["optimiser", "the best setting (beta1 0.5)"] == "supported"
    assert of["trainability_methods", "l2_init"] == "supported" and of["trainability_methods", "redo"] == "contradicted"
    assert of["trainability_methods", "crelu"] == "not tested"
    assert of["regularisers", "l2"] == "supported" and of["regularisers", "augmentation"] == "contradicted"
    assert (
        of["reinitialisation", "shrink_perturb"] == "undecided" and of["reinitialisation", "head_reset"] == "not tested"
    )
    assert found["ht_beats_averages", "H&T minus ema"] == "supported", "six gains of ten points, three of none"
    assert found["ht_beats_averages", "H&T minus self_distillation"] == "contradicted"
    assert found["ht_beats_resets", "H&T minus shrink & perturb, ResNet and ViT"] == "supported"
    assert found["ht_beats_resets", "H&T minus no warm start, ResNet and ViT"] == "contradicted"
    assert found["resets_beat_ht", "shrink & perturb minus H&T, VGG"] == "supported"
    assert found["ht_robust", "the worst H&T (momentum 0.99, every 1 epochs) minus nothing more"] == "supported"


def test_robustness_is_asked_of_the_ablated_networks_alone(warm_starts):
    """VGG, which H&T does not help, has no ablation, and so no say."""
    lines = {line[1]: line for line in verdicts.warm_start(warm_starts) if line[0] == "ht_robust"}
    (found,) = (line[2] for line in lines.values())
    assert (found.n, found.mean) == (3, pytest.approx(2))


def test_a_line_shows_what_decided_it(warm_starts):
    table = verdicts.claims(warm_starts, "50")
    row = table[table["Decided by"] == "test accuracy, hardest warm start minus none"].iloc[0]
    assert (row.Section, row.Difference, row.n, row.Verdict) == ("3", "-20.00 [-20.00, -20.00]", "9", "supported")


def continual_frames(reset_fall, hare, networks=("mini_resnet18", "mini_vgg")):
    """Study 51: H&T falls by 10 points at a new phase and ends at ``hare`` by network; resets end at 0.6, nothing more at 0.5."""
    hare_case, reset_case = "hare_tortoise(momentum=0.99, every=2)" + BOTH, "shrink_perturb" + BOTH
    falls = [
        phases([0.8], [0.8 - fall + jitter], case=case, seed=seed, network=name)
        for name in networks
        for case, fall in ((hare_case, 0.1), (reset_case, reset_fall))
        for seed, jitter in NOISE.items()
    ]
    limited = cell({name: hare[name] for name in networks}, hare_case, "continual(access=limited)")
    for case, mean in ((reset_case, 0.6), ("l2 + augmentation", 0.5)):
        limited += cell(dict.fromkeys(networks, mean), case, "continual(access=limited)", jitter=1)
    return {"full drops": companion_tables.drops(pd.concat(falls)), "limited": run_table(limited)}


@pytest.mark.parametrize(
    ("reset_fall", "drops", "hare", "easy", "hard"),
    [
        (0.3, "supported", {"mini_resnet18": 0.7, "mini_vgg": 0.4}, "supported", "contradicted"),
        (0.05, "contradicted", {"mini_resnet18": 0.45, "mini_vgg": 0.6}, "contradicted", "undecided"),
        (0.1, "undecided", {"mini_resnet18": 0.6, "mini_vgg": 0.6}, "undecided", "undecided"),
    ],
)
def test_continual_claims(reset_fall, drops, hare, easy, hard):
    found = said(continual_frames(reset_fall, hare), "51")
    assert found["ht_no_drops", "drop at new phases, shrink & perturb minus H&T, full access"] == drops
    ends = "limited access, at the end"
    assert found["ht_limited_access", f"H&T minus shrink & perturb, {ends}, all but VGG"] == easy
    assert found["ht_limited_access", f"H&T minus shrink & perturb, {ends}, VGG (within 2 points)"] == hard


def test_rescalings_claims():
    def part(soft, scenario, jitter=0.0, weight=None):
        history = [[{"epoch": 1, "phase": 1, "weight_magnitude": value}] for value in (2.0, weight or 2.0)]
        return run_table(
            cell(0.5, "base", scenario, jitter=jitter, history=history[0])
            + cell(0.5, "l2", scenario)
            + cell(soft, "soft_rescaling(features=0.01)", scenario, history=history[1])
            + cell(0.9, "soft_rescaling(reinit=true)", scenario)
        )

    table = verdicts.claims(
        {
            "single task": part(0.6, "single"),
            "single task, decaying": part(0.4, "single"),
            "warm start": part(0.5, "warm_start", 1, 1.995),
            "continual, full": part(0.6, "continual")[:0],
            "continual, limited": part(0.6, "continual"),
        },
        "52",
    ).set_index("Decided by")
    assert table.Verdict["soft rescaling minus base, single task"] == "supported"
    assert table.Verdict["soft rescaling minus base, single task, decaying"] == "contradicted"
    assert (
        table.Verdict["soft rescaling minus base, warm start"]
        == table.Verdict["soft rescaling minus l2, warm start"]
        == "undecided"
    )
    assert table.Verdict["soft rescaling minus l2, continual, full"] == "not tested"
    assert table.Verdict["soft rescaling minus l2, continual, limited"] == "supported"
    magnitude = table.loc["weight magnitude, soft rescaling minus nothing done, warm start (no unit)"]
    assert (magnitude.Verdict, magnitude.Difference, magnitude.n) == ("supported", "-0.005 [-0.005, -0.005]", "9")
    assert table.loc["-"].to_dict() == {
        "Section": "abstract",
        "Difference": "-",
        "n": "0",
        "Verdict": "not tested",
        "Claim": "SWR balances the magnitude of the weights between layers (proved).",
    }


def indicated(slopes, count=40, noise=0.0):
    """Study 50's warm starts, where one metric goes with accuracy by these slopes, a network each; all others are constant."""
    rng, made = np.random.default_rng(1), []
    for name, slope in zip(NETWORKS, slopes, strict=False):
        for seed, accuracy in enumerate(rng.uniform(0.4, 0.6, count)):
            entry = dict.fromkeys(METRICS, 1.0) | {
                "weight_magnitude": slope * accuracy + noise * rng.normal(),
                "epoch": 1,
                "phase": 1,
            }
            made.append(
                record(seed=seed, accuracy=float(accuracy), network=name, dataset=NETWORKS[name], history=[entry])
            )
    return {"cells": run_table(made)}


@pytest.mark.parametrize(
    ("slopes", "fields", "expected"),
    [
        ((1, 2, 3), {}, "contradicted"),
        ((1, -1, 1), {}, "supported"),
        ((1, 0, 1), {"count": 200, "noise": 0.01}, "supported"),
        ((1, 0, 1), {"count": 5, "noise": 0.05}, "undecided"),
        ((1,), {}, "undecided"),
        ((1, 1, 1), {"count": 3}, "not tested"),
    ],
)
def test_a_metric_must_go_with_accuracy_in_every_network(slopes, fields, expected):
    table = verdicts.claims(indicated(slopes, **fields), "53")
    assert list(table.Verdict) == [expected]
    assert ("weight_magnitude" in table["Decided by"][0]) is (expected == "contradicted")


@pytest.mark.parametrize("study", verdicts.STUDIES)
def test_without_runs_every_claim_is_listed_and_none_is_tested(study):
    nothing = run_table([])
    parts = {
        "50": ("fresh", "cells", "methods", "remedies", "optimiser", "ablation"),
        "51": ("full", "limited"),
        "53": ("cells",),
        "52": ("single task", "single task, decaying", "warm start", "continual, full", "continual, limited"),
    }[study]
    drops = {"full drops": companion_tables.drops(learning_curves([], [], []))} if study == "51" else {}
    table = verdicts.claims(dict.fromkeys(parts, nothing) | drops, study)
    assert set(table.Verdict) == {"not tested"} and set(table.Difference) == {"-"} and set(table.n) == {"0"}
    assert set(table.Claim) == {claim.says for claim in CLAIMS if claim.section in set(table.Section)}


def test_every_claim_belongs_to_one_study():
    sections = [section for _, chosen in verdicts.STUDIES.values() for section in chosen]
    assert sorted(sections) == sorted({claim.section for claim in CLAIMS})
