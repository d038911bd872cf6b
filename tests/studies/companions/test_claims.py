"""Claims on frames built so that the truth is known."""

import pandas as pd
import pytest
from helpers import phases, record, rng

from plasticity.analysis.frames import METRICS, learning_curves, run_table
from plasticity.studies.companions import claims, tables
from plasticity.studies.companions.numbers import CLAIMS

# "ignore": pipes that earlier tests left to the garbage collector
pytestmark = pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
BOTH = " + l2 + augmentation"
NETWORKS = {"mini_resnet18": "world_10", "mini_vit_tiny": "world_20_few", "mini_vgg": "world_20"}
NOISE = {0: -0.01, 1: 0.01, 2: 0.0}  # by seed, as a share: an effect of two points is clear, one of none is not


def cell(accuracies, case="base", scenario="warm_start", networks=NETWORKS, jitter=0.0, **metrics):
    """Records of one case: an accuracy for all networks, or one each by name; ``jitter`` times 1 point up or down by
    seed."""
    means = accuracies if isinstance(accuracies, dict) else dict.fromkeys(networks, accuracies)
    return [
        record(case, seed, mean + jitter * noise, scenario, name, NETWORKS[name], **metrics)
        for name, mean in means.items()
        for seed, noise in NOISE.items()
    ]


def said(frames, study):
    """(claim's key, compared) -> verdict, after checking that every claim of the study's sections is there."""
    table, keys = claims.claims(frames, study), {claim.says: claim.key for claim in CLAIMS}
    assert list(table.columns) == ["Section", "Claim", "Decided by", "Difference", "n", "Verdict"]
    assert set(table.Claim) == {claim.says for claim in CLAIMS if claim.section in set(table.Section)}
    return {(keys[row.Claim], row[3]): row.Verdict for row in table.itertuples()}


@pytest.fixture
def warm_starts():
    """Study 50, of networks that lose 20 points to a warm start; what repairs how much is written here."""
    hare = {"mini_resnet18": 0.6, "mini_vit_tiny": 0.6, "mini_vgg": 0.5}
    grid = [(0.1, 0.0, 0.6), (1, 0.0, 0.6), (1, 0.5, 0.5)]  # fewer items cost nothing, wrong labels do
    methods = {"base": 0.4, "l2_init": 0.4, "redo": 0.5, "l2": 0.5, "augmentation": 0.3, "shrink_perturb": 0.4}
    remedies = {
        "ema": 0.5,
        "self_distillation": 0.7,
        "shrink_perturb": 0.55,
        "hare_tortoise(momentum=0.99, epochs=2)": hare,
    }
    ablated = {"hare_tortoise(momentum=0.9, epochs=2)": 0.55, "hare_tortoise(momentum=0.99, epochs=1)": 0.52}
    resnet, parts = {"networks": ["mini_resnet18"]}, {"cells": [], "methods": [], "ablation": []}
    for subset, noise, mean in grid:
        parts["cells"] += cell(
            mean, scenario=f"warm_start(subset={subset}, noise={noise})", jitter=1 if subset < 1 else 0
        )
    for case, mean in methods.items():
        parts["methods"] += cell(mean, case, jitter=3 * (case == "shrink_perturb"), train_accuracy=0.99)
    parts["remedies"] = cell(0.5, "l2 + augmentation")
    for case, mean in remedies.items():
        parts["remedies"] += cell(mean, case + BOTH)
    for case, mean in ablated.items():
        parts["ablation"] += cell(mean, case + BOTH, jitter=0.1, **resnet)
    parts["fresh"] = cell(0.6, scenario="single", train_accuracy=0.995) + cell(0.65, "l2 + augmentation", "single")
    parts["optimiser"] = cell(0.45, jitter=1, beta1=0.5, **resnet) + cell(0.42, epsilon=1e-4, **resnet)
    return {part: run_table(recorded) for part, recorded in parts.items()}


WARM_STARTS = [
    ("two_sides", "training accuracy, hardest warm start minus none, + 2", "supported"),
    ("trains_not_generalises", "test accuracy, hardest warm start minus none", "supported"),
    ("less_and_noisier", "a tenth minus all of the data in phase one, no noise", "undecided"),
    ("less_and_noisier", "half of the labels wrong minus none, all data in phase one", "supported"),
    ("optimiser", "the best setting (beta1 0.5) minus no warm start", "supported"),
    ("trainability_methods", "l2_init minus nothing done (within 2 points)", "supported"),
    ("trainability_methods", "redo minus nothing done (within 2 points)", "contradicted"),
    ("trainability_methods", "crelu minus nothing done (within 2 points)", "not tested"),
    ("regularisers", "l2 minus nothing done", "supported"),
    ("regularisers", "augmentation minus nothing done", "contradicted"),
    ("reinitialisation", "shrink_perturb minus nothing done", "undecided"),
    ("reinitialisation", "head_reset minus nothing done", "not tested"),
    ("ht_beats_averages", "H&T minus ema", "supported"),  # six gains of ten points, three of none
    ("ht_beats_averages", "H&T minus self_distillation", "contradicted"),
    ("ht_beats_resets", "H&T minus shrink & perturb, ResNet and ViT", "supported"),
    ("ht_beats_resets", "H&T minus no warm start, ResNet and ViT", "contradicted"),
    ("resets_beat_ht", "shrink & perturb minus H&T, VGG", "supported"),
    ("ht_robust", "the worst H&T (momentum 0.99, every 1 epochs) minus nothing more", "supported"),
]


def test_warm_starts_claims(warm_starts):
    found = said(warm_starts, "50")
    assert {(key, compared): found.get((key, compared)) for key, compared, _ in WARM_STARTS} == {
        (key, compared): says for key, compared, says in WARM_STARTS
    }


def test_robustness_is_asked_of_the_ablated_networks_alone(warm_starts):
    """VGG, which H&T does not help, has no ablation, and so no say."""
    (found,) = (line.found for line in claims.warm_start(warm_starts) if line.key == "ht_robust")
    assert (found.n, found.mean) == (3, pytest.approx(2))


def test_a_line_shows_what_decided_it(warm_starts):
    table = claims.claims(warm_starts, "50").set_index("Decided by")
    row = table.loc["test accuracy, hardest warm start minus none"]
    assert (row.Section, row.Difference, row.n, row.Verdict) == ("3", "-20.00 [-20.00, -20.00]", "9", "supported")


def continual_frames(reset_fall, hare):
    """Study 51: H&T falls by 10 points at a new phase and ends at ``hare`` by network; resets end at 0.6, nothing more
    at 0.5."""
    hare_case, reset_case = "hare_tortoise(momentum=0.99, epochs=2)" + BOTH, "shrink_perturb" + BOTH
    falls = [
        phases([0.8], [0.8 - fall + jitter], case=case, seed=seed, network=name)
        for name in hare
        for case, fall in ((hare_case, 0.1), (reset_case, reset_fall))
        for seed, jitter in NOISE.items()
    ]
    limited = cell(hare, hare_case, "continual(access=limited)")
    for case, mean in ((reset_case, 0.6), ("l2 + augmentation", 0.5)):
        limited += cell(dict.fromkeys(hare, mean), case, "continual(access=limited)", jitter=1)
    return {"full drops": tables.drops(pd.concat(falls)), "limited": run_table(limited)}


CONTINUAL = [  # resets' fall, what it says; where H&T ends on the ResNet and on VGG, what they say
    (0.3, "supported", 0.7, 0.4, "supported", "contradicted"),
    (0.05, "contradicted", 0.45, 0.6, "contradicted", "undecided"),
    (0.1, "not supported", 0.6, 0.6, "undecided", "undecided"),
]


@pytest.mark.parametrize(("reset_fall", "drops", "resnet", "vgg", "easy", "hard"), CONTINUAL)
def test_continual_claims(reset_fall, drops, resnet, vgg, easy, hard):
    found = said(continual_frames(reset_fall, {"mini_resnet18": resnet, "mini_vgg": vgg}), "51")
    assert found["ht_no_drops", "drop at new phases, shrink & perturb minus H&T, full access"] == drops
    at_end = "H&T minus shrink & perturb, limited access, at the end"
    assert found["ht_limited_access", f"{at_end}, all but VGG"] == easy
    assert found["ht_limited_access", f"{at_end}, VGG (within 2 points)"] == hard


def test_rescalings_claims():
    def part(soft, scenario, jitter=0.0, weight=2.0):
        before, after = ([{"epoch": 1, "phase": 1, "weight_magnitude": value}] for value in (2.0, weight))
        made = cell(0.5, "base", scenario, jitter=jitter, history=before) + cell(0.5, "l2", scenario)
        made += cell(soft, "soft_rescaling(features=0.01)", scenario, history=after)
        return run_table(made + cell(0.9, "soft_rescaling(reinit=true)", scenario))

    parts = {"single task": part(0.6, "single"), "single task, decaying": part(0.4, "single")}
    parts |= {"warm start": part(0.5, "warm_start", 1, 1.995), "continual, full": part(0.6, "continual")[:0]}
    table = claims.claims(parts | {"continual, limited": part(0.6, "continual")}, "52").set_index("Decided by")
    says = {
        "base, single task": "supported",
        "base, single task, decaying": "contradicted",
        "base, warm start": "undecided",
    }
    says |= {
        "l2, warm start": "not supported",
        "l2, continual, full": "not tested",
        "l2, continual, limited": "supported",
    }
    assert {name: table.Verdict[f"soft rescaling minus {name}"] for name in says} == says
    magnitude = table.loc["weight magnitude, soft rescaling minus nothing done, warm start (no unit)"]
    assert tuple(magnitude)[2:] == ("-0.005 [-0.005, -0.005]", "9", "supported")
    balanced = "SWR balances the magnitude of the weights between layers (proved)."
    assert tuple(table.loc["-"]) == ("abstract", balanced, "-", "0", "not tested")


def indicated(slopes, count=40, noise=0.0):
    """Study 50's warm starts, where one metric goes with accuracy by these slopes, one per network; all others are
    constant."""
    generator, made = rng(1), []
    for name, slope in zip(NETWORKS, slopes, strict=False):
        for seed, accuracy in enumerate(generator.uniform(0.4, 0.6, count)):
            entry = dict.fromkeys(METRICS, 1.0) | {"epoch": 1, "phase": 1}
            entry["weight_magnitude"] = slope * accuracy + noise * generator.normal()
            made.append(record("base", seed, float(accuracy), "warm_start", name, NETWORKS[name], [entry]))
    return {"cells": run_table(made)}


INDICATED = [
    ((1, 2, 3), {}, "contradicted"),
    ((1, -1, 1), {}, "supported"),
    ((1, 0, 1), {"count": 200, "noise": 0.01}, "supported"),
    ((1, 0, 1), {"count": 5, "noise": 0.05}, "undecided"),
    ((1,), {}, "undecided"),
    ((1, 1, 1), {"count": 3}, "not tested"),
]


@pytest.mark.parametrize(("slopes", "fields", "says"), INDICATED)
def test_a_metric_must_go_with_accuracy_in_every_network(slopes, fields, says):
    table = claims.claims(indicated(slopes, **fields), "53")
    assert list(table.Verdict) == [says]
    assert ("weight_magnitude" in table["Decided by"][0]) is (says == "contradicted")


PARTS = {"50": ["fresh", "cells", "methods", "remedies", "optimiser", "ablation"], "51": ["limited"], "53": ["cells"]}
PARTS["52"] = ["single task", "single task, decaying", "warm start", "continual, full", "continual, limited"]


@pytest.mark.parametrize("study", claims.STUDIES)
def test_without_runs_every_claim_is_listed_and_none_is_tested(study):
    frames = dict.fromkeys(PARTS[study], run_table([])) | {"full drops": tables.drops(learning_curves([], [], []))}
    table = claims.claims({name: frames[name] for name in frames if study == "51" or name != "full drops"}, study)
    assert set(table.Verdict) == {"not tested"} and set(table.Difference) == {"-"} and set(table.n) == {"0"}
    assert set(table.Claim) == {claim.says for claim in CLAIMS if claim.section in set(table.Section)}


def test_every_claim_belongs_to_one_study():
    sections = [section for _, chosen in claims.STUDIES.values() for section in chosen]
    assert sorted(sections) == sorted({claim.section for claim in CLAIMS})
