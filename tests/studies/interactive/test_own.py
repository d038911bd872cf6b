"""Any of timm's networks is a run, and a few paired runs are one sentence."""

import math
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from plasticity import Run, data
from plasticity.__main__ import main
from plasticity.analysis import figures, frames
from plasticity.analysis.paired import Difference
from plasticity.datasets.folder import about, example_folder, pack_folder
from plasticity.networks import table as networks
from plasticity.running import records
from plasticity.running.engine import Place, run_all
from plasticity.studies.interactive import own
from plasticity.weights import weights_file

pytestmark = pytest.mark.filterwarnings("error")


# --- names ------------------------------------------------------------------------------------------------------------
def test_a_run_takes_timms_names_and_packed_folders():
    run = Run("timm/resnet18", "folder_my_photos-0123abcd", "10M", 2)
    assert str(run) == f"timm-resnet18/folder_my_photos-0123abcd-10M-s2-{run.key}"
    assert records.path_of(run, "runs").parent.name == "timm-resnet18"
    with pytest.raises(ValueError, match=r"dataset='folder_my_photos' is unknown"):
        Run("timm/resnet18", "folder_my_photos")


UNKNOWN = {
    "resnt18": "timm .* has no network 'resnt18'; the nearest are: resnet18",
    "qqqqqqqqqqqq": r"no network 'qqqqqqqqqqqq'; timm\.list_models\(\) has its names",
    "levit_128s": "'levit_128s' of timm has 2 heads; only networks with one",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_network_is_an_error_with_the_nearest_names(name):
    for refuses in (own.architecture, lambda name: Run(f"timm/{name}", "photos")):
        with pytest.raises(ValueError, match=UNKNOWN[name]):
            refuses(name)


@pytest.mark.parametrize(
    ("name", "head", "fixed"),
    [("test_resnet", "fc", False), ("test_vit", "head", True), ("test_convnext.r160_in1k", "head.fc", False)],
)
def test_timms_networks_have_their_head_and_size(name, head, fixed):
    network = networks.architecture(own.architecture(name))
    assert (network.head, network.image_size, network.fixed) == (head, 160, fixed)
    model, again = (networks.build(f"timm/{name}", 6, seed=0) for _ in range(2))
    assert model.get_submodule(head).out_features == 6
    assert (own.pixels(name, 64), own.pixels(name)) == (160 if fixed else 64, 160)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_suites_own_networks_keep_their_names_and_lite0_its_package():
    assert own.architecture("mini_resnet") == "mini_resnet" and own.architecture("timm/test_vit") == "timm/test_vit"
    names = own.architecture("tf_efficientnet_lite0"), "efficientnet_lite0"
    assert len({weights_file(name, "imagenet", "nowhere") for name in names}) == 1


# --- runs -------------------------------------------------------------------------------------------------------------
def test_runs_are_pairs_by_seed_with_the_settings_asked_for():
    runs = own.runs("test_resnet", "folder_my_photos-0123abcd", 2, max_epochs=3)
    assert [(run.case, run.seed) for run in runs] == [("base", 0), ("10M", 0), ("base", 1), ("10M", 1)]
    settings = {(run.architecture, run.momentum, run.patience, run.max_epochs) for run in runs}
    assert settings == {("timm/test_resnet", 0.9, 3, 3)}


WRONG = {"companions": 0, "mini": -1}


@pytest.mark.parametrize("profile", WRONG)
def test_a_wrong_profile_or_number_is_refused_before_anything_is_done(tmp_path, profile):
    says = "profile='companions' has no protocol for your own network; allowed: 'mini', 'quick',|repeats=-1"
    with pytest.raises(ValueError, match=says):
        own.prepare("test_resnet", "", tmp_path, profile, WRONG[profile])
    assert not list(tmp_path.iterdir())


def test_a_network_that_10m_cannot_judge_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(ValueError, match="'test_nfnet' can't be re-initialised: .*stem.conv1.weight.*ScaledStdConv2d"):
        own.prepare("test_nfnet", "", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def folder(tmp_path):
    """A data folder with weights of one of timm's smallest networks."""
    folder = tmp_path / "data"
    (folder / "weights").mkdir(parents=True)
    state = networks.build("timm/test_resnet", 1000, seed=1).state_dict()
    save_file(state, folder / "weights" / "test_resnet.safetensors")
    return folder


@pytest.mark.slow
def test_what_the_notebook_and_the_command_line_do(folder, tmp_path):
    runs = own.prepare("test_resnet", "", folder, "quick")
    assert len(runs) == 4 and {run.max_epochs for run in runs} == {2} and len({run.seed for run in runs}) == 2
    assert own.settings(runs[0], folder) == (
        "timm/test_resnet, weights test_resnet.safetensors; optimizer sgd, momentum 0.9, lr 0.005, batch_size 16, "
        "augment flip, max_epochs 2, patience 1"
    )
    assert own.prepare("test_resnet", str(folder / "example_images"), folder, "quick", 1) == runs[:2]
    assert own.contact_sheet(folder, runs[0].dataset).get_suptitle().startswith("example_images: 5 of 5 classes")
    done = run_all(runs, Place(str(folder), str(tmp_path / "results"), 1, "cpu"))
    assert {record["status"] for record in done} == {"done"}
    table = own.comparison(frames.frame(done))
    assert list(table.n) == ["2", "2"]
    assert list(table) == ["Measure", "Base", "10M", "Difference", "n", "Verdict"]
    reports = own.resets(runs[1], done[1], folder)
    as_run, globally = reports.values()
    weights = [row for row in as_run if row["kind"] == "weight"]
    assert all(row["reset"] == row["size"] // 10 for row in weights)
    assert {row["name"] for row in globally} == {row["name"] for row in as_run}
    smallest = sum(row["reset"] for row in globally if row["kind"] == "weight")
    assert smallest == sum(row["size"] for row in weights) // 10 and figures.resets_by_layer(reports).axes[0].lines


@pytest.mark.slow
def test_worker_processes_do_the_same(folder, tmp_path):
    dataset = pack_folder(example_folder(folder), folder, 32)
    runs = own.runs("test_resnet", dataset, 2, max_epochs=2)
    one, two = (run_all(runs, Place(str(folder), str(tmp_path / str(n)), n, "cpu")) for n in (1, 2))
    assert [record["metrics"] for record in one] == [record["metrics"] for record in two]


# --- odd folders ------------------------------------------------------------------------------------------------------
NAMES = ("$x^{2", "cost $5 to $10", "under_scored_and_very_long", "caf\u00e9", "\u732b", "\U000e0041", "100% & more")


def test_class_names_of_any_kind_are_drawn_without_a_warning(tmp_path):
    for seed, name in enumerate(NAMES):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(5):
            noise = np.random.default_rng([seed, i]).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "set" / name / f"{i}.png")
    dataset = pack_folder(tmp_path / "set", tmp_path, 8)
    with warnings.catch_warnings(action="error"):
        figure = own.contact_sheet(tmp_path, dataset)
        for suffix in ("png", "pdf"):
            figure.savefig(tmp_path / f"sheet.{suffix}")
    titles = {ax.get_title().partition("\n")[0] for ax in figure.axes}
    assert {"$x^{2", "cost $5 to $10", "under_sco…ery_long", "caf\u00e9", "100% & more"} < titles
    known = data.load(tmp_path, dataset).class_names
    assert titles & {"\u732b", f"class {known.index(chr(0x732B))}"}  # by its number where no font here has the sign
    assert f"{known.index(chr(0x732B))} \u732b (5)" in about(tmp_path, dataset)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"caf\xe9", r"caf\\xe9': its path is not UTF-8, .*; rename the folder, or give a link to it"),
        (b"gone", "gone': .*gone does not exist; give a folder with one subfolder"),
        (b"file", "file' is a file; give a folder"),
    ],
)
def test_the_command_line_refuses_a_folder_before_anything_starts(name, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).resolve().parents[3])
    (tmp_path / "file").write_text("")
    images = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    code = main(["own", "--images", images, "--results", str(tmp_path / "results")])
    error = capsys.readouterr().err
    assert code == 2 and re.search(said, error) and error.count("\n") == 1 and not (tmp_path / "results").exists()


# --- the verdict ------------------------------------------------------------------------------------------------------
def frame(base, other, case="10M", epochs=(5, 5), items=1000, status="done"):
    """Runs of a network with these accuracies by seed; ``status`` is the last run's."""
    same = {"architecture": "mini_resnet", "dataset": "photos", "scenario": "transfer", "status": "done"}
    rows = []
    for name, accuracies, length in (("base", base, epochs[0]), (case, other, epochs[1])):
        for seed, accuracy in enumerate(accuracies):
            numbers = {"accuracy": accuracy, "epochs": length, "test_items": items}
            rows.append(same | {"case": name, "seed": seed} | numbers)
    rows[-1]["status"] = status
    if status != "done":
        rows[-1] |= dict.fromkeys(("accuracy", "epochs", "test_items"), math.nan)
    return pd.DataFrame(rows)


GAINS = [0.51, 0.52, 0.53, 0.54, 0.55]  # of 1 to 5 points: mean 3, half the interval 2.776 x 1.58 / sqrt(5) = 1.96
NOISE = [0.49, 0.5, 0.51]  # half the interval is 4.303 x 1 / sqrt(3) = 2.48
UNDECIDED = "undecided, 3 seeds show a difference only beyond about 2.5 points"


@pytest.mark.parametrize(
    ("base", "other", "difference", "verdict"),
    [
        ([0.5] * 5, GAINS, "+3.0 [+1.0, +5.0]", "supported"),
        (GAINS, [0.5] * 5, "-3.0 [-5.0, -1.0]", "contradicted"),
        ([0.5] * 3, NOISE, "+0.0 [-2.5, +2.5]", UNDECIDED),
        ([0.5] * 5, [0.5] * 5, "+0.0 [-0.0, +0.0]", "not supported"),
    ],
)
def test_the_verdict_on_accuracy(base, other, difference, verdict):
    row = own.comparison(frame(base, other)).iloc[0]
    assert (row.Difference, row.Verdict, row.n) == (difference, f"10M helps: {verdict}", str(len(base)))
    assert row.Measure == "Test accuracy (%)" and row["Base"] == f"{100 * sum(base) / len(base):.1f}"


def test_the_sentence():
    assert own.sentence(frame([0.5] * 3, NOISE, "25N")) == (
        f"Base reaches 50.0%, 25N 50.0%: +0.0 [-2.5, +2.5] points over 3 seeds. 25N helps: {UNDECIDED}."
    )


def test_epochs_have_a_verdict_too():
    """Always 4 fewer, known to one epoch alone: half the interval is 2.776 x 1 / sqrt(12 x 5) = 0.36."""
    row = own.comparison(frame([0.5] * 5, [0.5] * 5, epochs=(9, 5))).iloc[1].to_dict()
    assert row == {
        "Measure": "Epochs until stopped",
        "Base": "9.0",
        "10M": "5.0",
        "Difference": "-4.0 [-4.4, -3.6]",
        "n": "5",
        "Verdict": "10M stops earlier: supported",
    }
    assert own.comparison(frame([0.5] * 5, [0.5] * 5, epochs=(5, 9))).Verdict[1] == "10M stops earlier: contradicted"


def test_two_seeds_that_gain_one_test_image_each_show_nothing():
    """One of 40 images is 2.5 points: known to that grain, two have an interval of 12.7 x 2.5 / sqrt(24) = 6.5."""
    widened = own.widened(Difference(2, 2.5, 2.5, 2.5), 2.5)
    assert (widened.low, widened.high) == pytest.approx((2.5 - 6.484, 2.5 + 6.484), abs=0.01)
    few = frame([0.5, 0.6], [0.525, 0.625], items=40)
    assert own.comparison(few).Verdict[0].startswith("10M helps: undecided, 2 seeds")
    assert own.widened(Difference(5, 3.0, 1.0, 5.0), 0.1) == Difference(5, 3.0, 1.0, 5.0)


def test_failed_runs_and_single_pairs_decide_nothing():
    lame = frame([0.5, 0.6], [0.5, 0.6], status="failed")
    row = own.comparison(lame).iloc[0]
    assert (row.Verdict, row.n) == ("10M helps: not tested, it takes two pairs of finished runs", "1")
    assert own.sentence(lame).endswith(" 1 runs failed and count nowhere.")
    dead = frame([0.5], [0.5]).assign(status="failed").drop(columns=["accuracy", "epochs", "test_items"])
    assert list(own.comparison(dead)[["Base", "10M", "n"]].iloc[0]) == ["-", "-", "0"]


def test_a_verdict_needs_base_and_one_other_case():
    with pytest.raises(ValueError, match="base and of one other case, got: base$"):
        own.comparison(frame([0.5], []).query("case == 'base'"))
    with pytest.raises(ValueError, match="got: 10M, 25N, base"):
        own.comparison(pd.concat([frame([0.5], [0.5]), frame([0.5], [0.5], "25N")]))


def test_the_figure_has_a_dot_for_each_run_and_a_line_for_each_pair():
    axes = own.by_seed(frame([0.5, 0.6, 0.7], [0.6, 0.6, 0.8], status="failed")).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert lines["base"] == pytest.approx([50, 60, 70]) and lines["10M"][:2] == pytest.approx([60, 60])
    assert "n = 2 pairs" in axes.get_title() and len(axes.lines) == 3 + 2 * 2
