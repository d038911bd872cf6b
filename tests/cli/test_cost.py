"""What a profile costs: counted work against figures that others state, exact sums where they can be done by hand."""

from dataclasses import replace

import pytest
from helpers import tiny_arrays

from plasticity.__main__ import main
from plasticity.cli import cost
from plasticity.datasets.prepare import pack
from plasticity.profiles import PROFILES, get_profile, grid
from plasticity.running import records


@pytest.mark.parametrize(
    "name, gflop, parameters",
    [
        ("resnet50", 24.6, 25_557_032),
        pytest.param("vit_b_16", 105, 86_567_656, marks=pytest.mark.slow),
    ],  # ResNet-50: 3 x 4.1 billion multiply-adds an image
)
def test_the_counts_are_the_stated_ones(name, gflop, parameters):
    found = cost.cost(name, 224, 1000, 2)
    assert found["gflop"] == pytest.approx(gflop, rel=0.01) and found["parameters"] == parameters


def test_kept_memory_grows_with_the_batch():
    two, four = (cost.cost("resnet50", 64, 10, n)["kept"] for n in (2, 4))
    assert 1.9 < four / two < 2.1


def test_the_paper_profiles_work_is_counted_by_hand(tmp_path):
    table = cost.work(get_profile("paper"), tmp_path, tmp_path).set_index(["architecture", "dataset"])
    assert len(table) == 9 and set(table["runs"]) == {150}  # 13 cases and 2 controls, ten times
    row = table.loc["vit_b_16", "brain_tumor"]
    rest = 7153 - 1431
    train = round(0.8 * rest)
    assert row["training passes"] == pytest.approx(150 * row["epochs a run"] * train)
    assert row["evaluation passes"] == pytest.approx(150 * (row["epochs a run"] * round(0.2 * rest) + 2 * 1431))
    assert 60 < row["epochs a run"] < 75  # the mean of the paper's table 5


def test_recorded_runs_are_not_done_again_and_tell_the_epochs(world, tmp_path, tiny_run, monkeypatch):
    runs = [tiny_run(case=case) for case in ("base", "10M", "25N")]
    monkeypatch.setattr(cost, "grid", lambda profile: runs)
    body = {"status": "done", "metrics": {"accuracy": 0.5, "epochs": 3}, "history": [], "resets": [], "seconds": 4.0}
    records.save(runs[0], body | {"inputs": {}}, tmp_path / "runs")
    tiny = replace(PROFILES["mini"], name="tiny", architectures=("mini_resnet",), datasets=("photos",))
    row = cost.work(tiny, world, tmp_path).iloc[0]
    assert (row["runs"], row["to do"], row["epochs a run"]) == (3, 2, 3.0)
    assert row["training passes"] == 2 * 3 * 38  # 48 items are not test; a fifth of them, rounded, validates


@pytest.mark.parametrize("scenario, trained, evaluated", [("single", 3 * 48, 3 * 24 + 24 + 48)])
def test_phases_are_counted_by_hand(tiny_run, scenario, trained, evaluated):
    run = tiny_run(scenario=scenario, validation=0, weights="none")
    assert cost.passes(run, rest=48, tested=24, classes=3, length=99) == (trained, evaluated)


def test_hours_shrink_with_the_gpus_and_add_up(tmp_path):
    table = cost.work(get_profile("paper_bf16"), tmp_path, tmp_path)
    hours, source = cost.by_architecture(table, None)
    hours = hours.set_index("architecture")
    assert "assumed" in source and "bf16" in source
    one = table[table.architecture == "resnet50"].gflop.sum() * 1e9 / 61e12 / 3600
    assert hours.loc["resnet50", "hours, 1 GPU"] == pytest.approx(one, abs=0.1)
    assert hours.loc["resnet50", "hours, 8 GPUs"] == pytest.approx(one / 8, abs=0.1)
    assert hours.loc["all", "hours, 1 GPU"] == pytest.approx(hours["hours, 1 GPU"].iloc[:3].sum(), abs=0.2)


def test_the_speed_can_be_measured_here(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "items", lambda dataset, folder: (240, 60, 25))
    folders = ["--data", str(tmp_path), "--results", str(tmp_path)]
    assert main(["plan", "mini", "--repeats", "1", *folders, "--measure", "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert f"{len(grid(get_profile('mini', 1)))} runs" in text and "measured now on cpu" in text


def test_storage_counts_packed_bytes(tmp_path):
    pack(tmp_path, "photos", tiny_arrays())
    table = cost.storage(PROFILES["paper"], tmp_path).set_index("what")["GB"]
    assert table["packed dtd (also in memory, shared by the workers)"] == round(5640 * 224 * 224 * 3 / 1e9, 3)
    assert table["download of brain_tumor"] == "unknown"
