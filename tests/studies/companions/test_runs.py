"""The companion grids: what the papers say they ran, each run once, and every run one that can begin."""

from collections import Counter

import pytest

from plasticity.datasets.world import WORLDS
from plasticity.methods import registry as methods
from plasticity.networks import table as models
from plasticity.profiles import get_profile
from plasticity.studies.all import grid
from plasticity.studies.companions import runs as studies
from plasticity.studies.companions.sizes import MINI as MINI_SIZE
from plasticity.studies.companions.sizes import RESETS, WINDOWS
from plasticity.training import scenarios

PAPER, MINI, QUICK, REHEARSAL = (get_profile(f"companions{name}") for name in ("_paper", "", "_quick", "_rehearsal"))


@pytest.mark.parametrize("profile", [PAPER, MINI, QUICK, REHEARSAL], ids=lambda profile: profile.name)
def test_every_run_occurs_once_under_one_name_and_can_be_built(profile):
    runs = grid(profile)
    assert len(runs) == len(set(runs)) == len({str(run) for run in runs})
    for run in runs:
        methods.build(run.case), scenarios.build(run.scenario), models.architecture(run.architecture)
        assert run.dataset in profile.all_datasets and len(str(run).partition("/")[2]) < 240, "a file name"


def test_the_papers_protocol():
    """Lee et al. 2024, tables 2, 3 and A.2, as released."""
    parts = studies.study(PAPER, "50_warm_start")
    one = next(run for run in parts["cells"] if run.architecture == "vit_tiny")
    assert (
        one.dataset,
        one.optimizer,
        one.lr,
        one.weight_decay,
        one.batch_size,
        one.clip,
        one.warmup,
        one.max_epochs,
    ) == ("cifar100", "adamw", 3e-3, 0.05, 256, 0.5, 0.1, 100)
    assert Counter(run.architecture for run in parts["cells"]) == dict.fromkeys(
        ("mlp_bn", "resnet18", "vit_tiny", "vgg16"), 36 * 5
    )
    cells = {run.scenario for run in parts["cells"]}
    assert len(cells) == 36 and {"warm_start", "warm_start(subset=1, noise=0)"} <= cells, (
        "a tenth and a half are the defaults"
    )
    hares = {run.case for run in parts["ablation"]} | {run.case for run in parts["remedies"] if "hare" in run.case}
    assert "hare_tortoise(epochs=10) + l2 + augmentation" in hares and len(hares) == 8
    settings = {(run.beta1, run.beta2, run.epsilon) for run in parts["optimiser"]}
    assert len(settings) == 7 and (0.9, 0.999, 1e-8) not in settings
    assert {(run.architecture, run.dataset) for run in parts["swap"]} == {
        ("resnet18", "tiny_imagenet"),
        ("vgg16_32", "cifar10"),
    }


def test_soft_rescalings_protocol():
    """Oh et al. 2025: 100 epochs on half of the data, then 100 on all; a single task of 200; lambdas as found best."""
    parts = studies.study(PAPER, "52_soft_rescaling")
    run = next(run for run in parts["warm start"] if run.architecture == "cnn_bn" and "soft" in run.case)
    assert (
        run.scenario == "warm_start(subset=0.5, noise=0, equal=false)"
        and run.max_epochs == 100
        and run.clip == run.warmup == 0
    )
    method = methods.build(run.case)
    assert (method.features, method.classifier, method.reinit) == (1e-4, 1.0, False)
    assert {run.max_epochs for run in parts["single task"]} == {200}
    assert {run.schedule for run in parts["single task, decaying"]} == {"steps"}
    assert any("reinit=true" in run.case for run in parts["single task, decaying"])
    assert not any("reinit=true" in run.case for part in ("single task", "warm start") for run in parts[part])


def test_transfer_is_the_main_papers_protocol():
    def chosen(runs):
        return {run.case: run for run in runs if (run.architecture, run.dataset, run.seed) == ("mini_vit", "elpv", 0)}

    own = chosen(grid(get_profile("mini")))
    shared = [
        run for run in chosen(studies.study(MINI, "54_all_methods_on_transfer")["transfer"]).values() if run.case in own
    ]
    assert len(shared) == 5 and all(run == own[run.case] for run in shared), (
        "the same records, where the folder is the same"
    )


@pytest.mark.parametrize("name", ["quick", "mini", "rehearsal", "paper"])
def test_a_profile_and_its_companions_can_share_a_folder(name):
    """Where both have a network, data set, case and seed, it is the same run: else records would be of another
    protocol."""
    own = {str(run).rpartition("-")[0]: run for run in grid(get_profile(name))}
    shared = [run for run in grid(studies.companion(name)) if str(run).rpartition("-")[0] in own]
    assert shared and all(run == own[str(run).rpartition("-")[0]] for run in shared)


@pytest.mark.parametrize("name", ["quick", "mini", "rehearsal", "paper"])
def test_no_hare_of_a_study_waits_longer_than_a_phase(name):
    """Every scenario's phases have ``max_epochs`` epochs at least; an epoch of transfer has five steps and more."""
    for run in grid(studies.companion(name)):
        for hare in [methods.build(part) for part in run.case.split(" + ") if part.startswith("hare_tortoise")]:
            assert hare.epochs <= run.max_epochs if hare.epochs else hare.steps <= 5 * run.max_epochs, run


def test_digits_are_not_mirrored():
    cases = {run.case for run in grid(MINI) if run.dataset == "digits"}
    assert any("crop" in case for case in cases) and not any("augmentation" in case for case in cases)


def test_choosing_families_and_cases():
    assert {run.architecture for run in grid(MINI, ["resnet18"])} == {"mini_resnet18"}
    assert {run.architecture for run in grid(MINI, ["mini_mlp"])} == {"mini_mlp"}, "not its whole family"
    with pytest.raises(ValueError, match="'companions' has no architecture 'resnet81'; it has: .*mini_resnet18"):
        grid(MINI, ["resnet81"])
    assert {run.case for run in grid(MINI, cases=["l2"])} == {"l2"}
    assert grid(get_profile("quick")) == grid(get_profile("quick"))


def test_profiles_by_the_name_they_belong_to():
    assert studies.companion("quick").name == "companions_quick" and studies.companion("mini", repeats=2).repeats == 2
    with pytest.raises(
        ValueError,
        match="'sensitivity' has no companion studies; those that have: mini, quick, paper, rehearsal, imagenet",
    ):
        studies.companion("sensitivity")


def test_real_weights_have_transfer_alone():
    profile = studies.companion("imagenet")
    assert {run.case for run in grid(profile)} == set(profile.cases) and len(grid(profile)) == 2 * 5 * 7
    with pytest.raises(ValueError, match="'companions_imagenet' has no companion experiments but on transfer"):
        studies.study(profile, "50_warm_start")


def test_soft_rescalings_baselines_have_the_strengths_found_for_each_scenario():
    """Oh et al. 2025, tables 2 to 4: of VGG-16 (shrink & perturb's keep is 1 - lambda; SWR halves penalties)."""
    parts = studies.study(PAPER, "52_soft_rescaling")
    cases = {title: {run.case for run in runs if run.architecture == "vgg16"} for title, runs in parts.items()}
    assert cases["warm start"] == {
        *("base", "l2(strength=5e-06)", "l2_init(strength=5e-06)", "shrink_perturb"),
        "soft_rescaling(features=0.01, classifier=0.1)",
    }
    assert cases["continual, limited"] == {
        *("base", "l2(strength=5e-05)", "l2_init(strength=0.0005)", "shrink_perturb(keep=0.6)"),
        "soft_rescaling(features=0.0001, classifier=1)",
    }
    assert "soft_rescaling(features=0.01, classifier=0.01)" in cases["continual, full"]
    mlp = {run.case for run in parts["continual, limited"] if run.architecture == "mlp"}
    assert "shrink_perturb(keep=0.8)" in mlp


@pytest.mark.parametrize("family", MINI_SIZE.pairs)
def test_averages_have_the_papers_windows_and_resets(family):
    """H&T: 100 epochs of 195 steps, momentum .999, a reset every 10 epochs: 19.5 windows, 10 resets, 86% kept."""
    dataset, epochs = MINI_SIZE.pairs[family][1], MINI_SIZE.epochs[family]
    items = len(WORLDS[dataset][0]) * WORLDS[dataset][1] if dataset in WORLDS else 1198
    per_epoch = items // MINI_SIZE.batch_size
    momentum, interval = MINI_SIZE.averages[family]
    assert epochs * per_epoch * (1 - momentum) == pytest.approx(WINDOWS, rel=0.02)
    assert epochs / interval == pytest.approx(RESETS, abs=2.5)
    assert 0.8 < 1 - momentum ** (interval * per_epoch) < 0.95


def test_lengths_scale_the_averages_along():
    runs = studies.study(MINI, "55_lengths")["lengths"]
    hares = {(run.architecture, run.max_epochs): run.case for run in runs if "hare" in run.case}
    assert hares["mini_vgg", 12] == "hare_tortoise(momentum=0.948, epochs=1) + l2 + augmentation"
    assert hares["mini_vgg", 192] == "hare_tortoise(momentum=0.9968, epochs=20) + l2 + augmentation"
    own = {run for part in ("fresh", "remedies") for run in studies.study(MINI, "50_warm_start")[part]}
    assert {run for run in runs if run.max_epochs == 48} <= own, "the own length is not run twice"
