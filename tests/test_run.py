"""What one run is, which runs a grid has, and which way the rooms of the house open."""

import math
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, fields, make_dataclass, replace

import pytest

from plasticity import Profile, Run, get_profile, grid
from plasticity import run as config
from plasticity.profiles import CASES, CONTROL_CASES, PROFILES, source_run

RUN = Run("mini_vit", "photos")
OF_IMAGES = [name for name, profile in PROFILES.items() if profile.cases]  # the others play games: tests/studies/rl


# --- a run ------------------------------------------------------------------------------------------------------------
def test_the_defaults_are_the_released_codes_settings():
    assert asdict(Run("resnet50", "dtd")) == {
        "architecture": "resnet50",
        "dataset": "dtd",
        "case": "base",
        "seed": 0,
        "weights": "imagenet",
        "reading": "code",
        "utility": "magnitude",
        "scope": "tensor",
        "biases": None,
        "optimizer": "sgd",
        "lr": 1e-3,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup": 0.0,
        "clip": 0.0,
        "batch_size": 32,
        "max_epochs": 2000,
        "patience": 10,
        "validation": 0.2,
        "augment": "released",
        "precision": "fp32",
        "channels_last": True,
        "compiled": False,
        "scenario": "transfer",
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "measure": 0,
        "monitor": "validation",
        "tensors": "weights",
        "graph": False,
        "agent": "",
    }


def test_a_run_is_frozen_hashable_and_printable():
    run = Run("mini_vit", "photos", "10MN", 3)
    assert len({run, Run("mini_vit", "photos", "10MN", 3)}) == 1
    assert str(run) == f"mini_vit/photos-10MN-s3-{run.key}"
    with pytest.raises(AttributeError):
        run.seed = 4


def test_the_case_is_written_one_way():
    one, other = (Run("mini_vit", "photos", case) for case in ("10 M+base", "10.0M + base"))
    assert one == other and one.key == other.key and one.case == "10M + base"
    assert " " not in str(one)


def test_equal_runs_have_one_key():
    one, other = Run("mini_vit", "photos", lr=1, clip=5), Run("mini_vit", "photos", lr=1.0, clip=5.0)
    assert one == other and one.key == other.key


def test_every_field_moves_the_key():
    others = {
        "architecture": "mini_resnet",
        "dataset": "elpv",
        "case": "10M",
        "seed": 1,
        "weights": "source",
        "reading": "text",
        "utility": "gradient",
        "scope": "global",
        "biases": "keep",
        "optimizer": "adamw",
        "lr": 0.5,
        "momentum": 0.5,
        "weight_decay": 0.5,
        "schedule": "cosine",
        "warmup": 0.5,
        "clip": 0.5,
        "batch_size": 5,
        "max_epochs": 5,
        "patience": 5,
        "validation": 0.5,
        "augment": "none",
        "precision": "bf16",
        "channels_last": False,
        "compiled": True,
        "beta1": 0.5,
        "beta2": 0.5,
        "epsilon": 0.5,
        "measure": 5,
        "monitor": "test",
        "tensors": "no_head",
        "graph": True,
    }
    assert others.keys() | {"scenario", "agent"} == {f.name for f in fields(Run)}  # these: below, training/test_games
    runs = [RUN, *(replace(RUN, **{name: value}) for name, value in others.items())]
    assert len({run.key for run in runs}) == len({str(run) for run in runs}) == len(others) + 1


def test_a_scenario_moves_the_key_and_the_name_and_has_no_early_stopping():
    phased = replace(RUN, scenario="warm_start( subset=0.20 )", patience=0, validation=0, weights="none")
    assert phased.scenario == "warm_start(subset=0.2)" and phased.key != replace(phased, scenario="single").key
    assert str(phased) == f"mini_vit/photos-warm_start(subset=0.2)-base-s0-{phased.key}"
    with pytest.raises(ValueError, match="patience=10 with scenario 'single'"):
        replace(RUN, scenario="single")
    with pytest.raises(ValueError, match="validation=0.0 must be a share"):
        replace(RUN, validation=0)
    with pytest.raises(
        ValueError, match="unknown scenario 'cold_start'; known: transfer, single, warm_start, continual"
    ):
        replace(RUN, scenario="cold_start")


def test_methods_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ValueError, match="'crelu' changes layers, so that 'imagenet' weights do not fit"):
        replace(RUN, case="crelu")
    assert replace(RUN, case="crelu + scratch").case == "crelu + scratch"
    with pytest.raises(
        ValueError, match="'ema' and 'hare_tortoise' each name the network that predicts|contradict each other"
    ):
        replace(RUN, case="ema + hare_tortoise")
    with pytest.raises(ValueError, match="contradict each other"):
        replace(RUN, case="head_reset + frozen_head")
    with pytest.raises(ValueError, match="names 'l2' twice"):
        replace(RUN, case="l2 + l2(strength=0.1)")
    with pytest.raises(ValueError, match="momentum=1.5"):
        replace(RUN, case="ema(momentum=1.5)")
    with pytest.raises(ValueError, match="'speed=3' is not one of its parameters, once each; ema takes momentum=0.999"):
        replace(RUN, case="ema(speed=3)")


def test_one_kind_of_graph():
    assert replace(RUN, graph=True).key != RUN.key
    with pytest.raises(ValueError, match="graph=True with compiled=True: both make CUDA graphs; choose one"):
        replace(RUN, graph=True, compiled=True)
    with pytest.raises(ValueError, match="graph=1 must be True or False"):
        replace(RUN, graph=1)


def test_changed_holds_only_what_differs_from_the_defaults():
    assert RUN.changed() == {"architecture": "mini_vit", "dataset": "photos"}
    assert replace(RUN, seed=2, lr=0.01).changed() == RUN.changed() | {"seed": 2, "lr": 0.01}


def test_a_new_field_with_a_default_orphans_no_record():
    Wider = make_dataclass("Wider", [("novelty", float, 0.0)], bases=(Run,), frozen=True)
    old = Run("mini_vit", "photos", "10M", 3, lr=0.01)
    wider = Wider("mini_vit", "photos", "10M", 3, lr=0.01)
    assert wider.key == old.key and str(wider) == str(old)
    assert replace(wider, novelty=1.0).key != old.key


def test_the_key_is_the_same_in_every_process():
    """A literal, since records on disk are found by it; a change orphans every record."""
    assert Run("mini_vit", "photos", "10MN", 3).key == "a7dd0e6a"


BAD_RUNS = [
    ({"architecture": "resnet51"}, "architecture 'resnet51'; known: .*resnet50"),
    ({"dataset": "cifar"}, "dataset='cifar' is unknown; allowed: .*'photos'"),
    ({"case": "10X"}, "'10X'.*methods: M, MN, NS, N"),
    ({"case": "M"}, "'M' lacks the percentage"),
    ({"case": "10M + nothing"}, r"'10M \+ nothing'.*scratch"),
    ({"case": ""}, "case ''"),
    ({"case": "0M"}, "'0M'.*outside"),
    ({"weights": "jft"}, "weights='jft' is unknown; allowed: 'imagenet', 'random', 'none', 'source'"),
    ({"reading": "prose"}, "reading='prose' is unknown; allowed: 'code', 'text'"),
    ({"utility": "luck"}, "utility='luck' is unknown"),
    ({"scope": "layer"}, "scope='layer' is unknown"),
    ({"biases": "some"}, "biases='some' is unknown"),
    ({"optimizer": "adam"}, "optimizer='adam' is unknown; allowed: 'sgd', 'adamw'"),
    ({"schedule": "step"}, "schedule='step' is unknown"),
    ({"augment": "mixup"}, "augment='mixup' is unknown"),
    ({"seed": -1}, "seed=-1 must be an integer of at least 0"),
    ({"seed": 1.5}, r"seed=1\.5"),
    ({"seed": "1"}, "seed='1'"),
    ({"batch_size": 0}, "batch_size=0 must be an integer of at least 1"),
    ({"max_epochs": 0}, "max_epochs=0 must be an integer of at least 1"),
    ({"patience": -1}, "patience=-1 must be an integer of at least 0"),
    ({"lr": 0}, r"lr=0\.0 must be above zero"),
    ({"lr": -1e-3}, r"lr=-0\.001"),
    ({"lr": math.nan}, "lr=nan"),
    ({"lr": math.inf}, "lr=inf"),
    ({"lr": "1e-3"}, "lr='1e-3'"),
    ({"momentum": -0.9}, r"momentum=-0\.9"),
    ({"weight_decay": -1}, "weight_decay=-1"),
    ({"warmup": -0.1}, r"warmup=-0\.1"),
    ({"clip": -5}, "clip=-5"),
    ({"validation": 0}, r"validation=0\.0 must be a share"),
    ({"validation": 1}, r"validation=1\.0 must be a share"),
    ({"monitor": "training"}, "monitor='training' is unknown; allowed: 'validation', 'test'"),
    (
        {"monitor": "test", "scenario": "single", "patience": 0},
        "monitor='test' with scenario 'single': only a transfer",
    ),
    ({"tensors": "head"}, "tensors='head' is unknown; allowed: 'weights', 'no_head', 'no_embeddings', 'with_gains'"),
    ({"case": "other_head(draw=0)"}, "draw=0 is outside its range"),
]


@pytest.mark.parametrize("fields, message", BAD_RUNS)
def test_a_wrong_run_is_a_value_error_that_names_the_value(fields, message):
    with pytest.raises(ValueError, match=message):
        Run(**{"architecture": "mini_vit", "dataset": "photos"} | fields)


# --- profiles and grids -----------------------------------------------------------------------------------------------
def test_the_mini_grid_has_the_papers_shape():
    runs = grid(get_profile("mini"))
    main = [run for run in runs if run.case not in CONTROL_CASES]
    assert len(main) == 3 * 3 * 13 * 5 == 585 and len(runs) == 585 + 90
    assert len({run.key for run in runs}) == len({str(run) for run in runs}) == len(set(runs)) == 675
    counts = Counter((run.architecture, run.dataset, run.case) for run in runs)
    assert len(counts) == 3 * 3 * 15 and set(counts.values()) == {5}
    assert {run.weights for run in runs} == {"source"} and {run.reading for run in runs} == {"code"}


def test_the_paper_grid_is_the_papers():
    runs = grid(get_profile("paper"))
    assert len(runs) == 3 * 3 * 15 * 10
    assert {run.architecture for run in runs} == {"simplenet", "resnet50", "vit_b_16"}
    assert {run.dataset for run in runs} == {"dtd", "brain_tumor", "fruit25"}
    assert all(run == Run(run.architecture, run.dataset, run.case, run.seed, precision="tf32") for run in runs)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_the_papers_networks_run_in_the_released_codes_precision(name):
    full_size = {"simplenet", "resnet50", "vit_b_16"} & set(PROFILES[name].architectures)
    expected = "bf16" if name == "paper_bf16" else "tf32" if full_size else "fp32"
    assert {(run.precision, run.graph) for run in grid(PROFILES[name])} == {(expected, name == "paper_bf16")}


def test_the_cases_are_base_and_three_fractions_of_four_methods():
    assert CASES == tuple("base 5M 5MN 5NS 5N 10M 10MN 10NS 10N 25M 25MN 25NS 25N".split())


def test_the_grid_goes_by_architecture_seed_data_set_and_case():
    profile = get_profile("mini", repeats=2)
    runs = [(run.architecture, run.seed, run.dataset, run.case) for run in grid(profile, cases=("base", "10M"))]
    assert runs == [
        (a, s, d, c)
        for a in ("mini_simplenet", "mini_resnet", "mini_vit")
        for s in (0, 1)
        for d in ("photos", "elpv", "fruits")
        for c in ("base", "10M")
    ]


def test_a_grid_of_some_architectures():
    profile = get_profile("mini", repeats=1)
    names = [run.architecture for run in grid(profile, architectures=["vit", "mini_resnet"], cases=("base",))]
    assert names == ["mini_vit"] * 3 + ["mini_resnet"] * 3


def test_runs_take_their_architectures_training():
    for run in grid(get_profile("mini", repeats=1), cases=("base",)):
        for name, value in PROFILES["mini"].training[run.architecture].items():
            assert getattr(run, name) == value


def test_get_profile_replaces_repeats_and_reading_alone():
    assert get_profile("mini") == PROFILES["mini"]
    profile = get_profile("mini", repeats=2, reading="text")
    assert profile == replace(PROFILES["mini"], repeats=2, reading="text")
    assert {run.reading for run in grid(profile)} == {"text"} and len(grid(profile)) == 270
    assert PROFILES["mini"].repeats == 5 and PROFILES["mini"].reading == "code"


@pytest.mark.parametrize("name", OF_IMAGES)
def test_every_profile_makes_valid_runs(name):
    profile = get_profile(name)
    assert profile.name == name and profile.title and set(profile.training) == set(profile.architectures)
    assert len(grid(profile)) > 0 and isinstance(hash(profile), int)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: get_profile("tiny"), "'tiny'; known: mini, imagenet, paper"),
        (lambda: get_profile("mini", repeats=-1), "repeats=-1"),
        (lambda: get_profile("mini", repeats="3"), "repeats='3'"),
        (lambda: get_profile("mini", reading="prose"), "reading='prose' is unknown; allowed: code, text"),
        (
            lambda: get_profile("mini").family("resnet50"),
            "'mini' has no architecture 'resnet50'; it has: mini_simplenet",
        ),
        (lambda: grid(get_profile("paper"), architectures=["mini_vit"]), "'paper' has no architecture 'mini_vit'"),
        (lambda: grid(get_profile("mini"), cases=("10X",)), "'10X'"),
    ],
)
def test_wrong_profiles_and_grids_are_value_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_family_finds_by_family_and_by_name():
    mini, paper = get_profile("mini"), get_profile("paper")
    assert [mini.family("vit"), mini.family("mini_vit"), paper.family("vit")] == ["mini_vit", "mini_vit", "vit_b_16"]


def test_source_runs_begin_from_nothing_and_end_when_told():
    for name in get_profile("mini").architectures:
        for weights in config.SOURCES:
            run = source_run(name, weights)
            assert (run.architecture, run.dataset, run.case, run.patience) == (name, weights, "scratch", 0)
    assert source_run("resnet50", "imagenet") is None and source_run("mini_vit", "imagenet") is None


def test_profile_is_a_public_frozen_dataclass():
    with pytest.raises(AttributeError):
        get_profile("mini").repeats = 3
    assert isinstance(get_profile("mini"), Profile)


def test_the_profiles_do_not_depend_on_what_was_imported():
    code = "from plasticity import profiles; print(sorted(profiles.PROFILES)); from plasticity.studies import all; "
    code += "print(sorted(profiles.PROFILES))"
    first, second = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split("\n")[:2]
    assert first == second == str(sorted(PROFILES))
