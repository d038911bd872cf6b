"""Running many: only what is missing, no number from a failure, and clear words where something is wrong."""

import os
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import tiny_arrays

from plasticity import data, train
from plasticity.__main__ import main
from plasticity.cli.inventory import inventory
from plasticity.datasets.folder import listing
from plasticity.datasets.prepare import pack
from plasticity.profiles import PROFILES
from plasticity.run import Run
from plasticity.running import engine, records, workers


def test_trains_only_what_is_missing(place, tiny_run, monkeypatch, capsys):
    runs = [tiny_run(case=case) for case in ("base", "10M")]
    engine.run_all(runs[:1], place)
    trained = []
    real = train.fit
    monkeypatch.setattr(train, "fit", lambda run, *rest, **more: trained.append(run) or real(run, *rest, **more))
    done = engine.run_all(runs, place)
    assert trained == runs[1:] and len(done) == 2
    engine.run_all(runs, place)
    assert len(trained) == 1
    assert "1/1 mini_resnet/photos-10M-s0" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("workers, there", [(2, "local"), (1, "local"), (2, "tcp://127.0.0.1:9")])
def test_runs_without_weights_are_done_beside_the_pretraining(world, tmp_path, tiny_run, workers, there, capsys):
    pack(world, "source_small", tiny_arrays(classes=4, per_class=30))
    place = engine.Place(str(world), str(tmp_path / "results"), workers, "cpu", there)
    profile = replace(PROFILES["quick"], architectures=("mini_simplenet", "mini_resnet"), datasets=("photos",))
    scratch = [tiny_run(case="scratch", seed=seed, max_epochs=1) for seed in range(3)]
    made = engine.prepare(profile, place, meanwhile=scratch)
    assert made.architecture.tolist() == ["mini_simplenet", "mini_resnet"] and (made.epochs == 12).all()
    left = records.missing(scratch, place.runs)
    assert left == ([] if there == "local" else scratch), "a cluster's runs are the cluster's"
    if there == "local":
        assert "3/3 mini_resnet/photos-scratch" in capsys.readouterr().out
        before = [records.path_of(run, place.runs).read_bytes() for run in scratch]
        engine.prepare(profile, place, meanwhile=scratch)
        assert before == [records.path_of(run, place.runs).read_bytes() for run in scratch]


@pytest.mark.slow
def test_pretraining_that_fails_is_named_and_costs_no_run(world, tmp_path, tiny_run, monkeypatch):
    pack(world, "source_small", tiny_arrays(classes=4, per_class=30))
    place = engine.Place(str(world), str(tmp_path / "results"), 1, "cpu")
    profile = replace(PROFILES["quick"], architectures=("mini_resnet",), datasets=("photos",))
    scratch = [tiny_run(case="scratch", max_epochs=1)]

    def fail(*_):
        raise ValueError("no luck")

    monkeypatch.setattr(engine, "pretrain", fail)
    with pytest.raises(RuntimeError, match="pretraining did not succeed: .*mini_resnet.*no luck"):
        engine.prepare(profile, place, meanwhile=scratch)
    assert not records.missing(scratch, place.runs)


@pytest.mark.filterwarnings("ignore")
def test_divergence_is_recorded_as_failed(place, tiny_run):
    done = engine.run_all([tiny_run(lr=1e30)], place)
    assert done[0]["status"] == "failed" and "metrics" not in done[0]
    assert "lower the learning rate" in done[0]["message"]


def test_an_error_in_one_run_does_not_cost_the_others(place, tiny_run):
    runs = [Run("resnet50", "photos", max_epochs=1), tiny_run()]
    with pytest.raises(RuntimeError, match="1 of 2 could not be done; the first: resnet50/photos-base.*put it there"):
        engine.run_all(runs, place)
    assert records.missing(runs, place.runs) == runs[:1]


def test_plan_says_what_is_left(place, tiny_run):
    runs = [tiny_run(case=case) for case in ("base", "10M", "5M")]
    engine.run_all(runs[:1], place)
    row = engine.plan(runs, place).iloc[0]
    assert (row["runs"], row["recorded"], row["to_do"]) == (3, 1, 2) and row["minutes"] >= 0


def test_unwritable_results_are_refused_before_anything_is_spent(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PermissionError, match="cannot be written.*results="):
        engine.Place("data", str(tmp_path / "file" / "results"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot be written"):
        engine.Place("data", str(tmp_path / "results"))
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("workers", [-1, 1.5, "two"])
def test_bad_workers(tmp_path, workers):
    with pytest.raises(ValueError, match=f"workers={workers!r}"):
        engine.Place("data", str(tmp_path), workers=workers)


OURS, ANOTHERS = '[project]\nname = "plasticity"\n', '[project]\nname = "another"\n'
ROOTS = {  # name: the working folder, the root, the text of some pyproject.toml
    "the root": ("x", "x", {"x": OURS}),
    "a kernel in notebooks": ("x/notebooks", "x", {"x": OURS}),
    "an executed notebook, opened": ("x/results/mini/notebooks", "x", {"x": OURS}),
    "a checkout called notebooks": ("notebooks", "notebooks", {"notebooks": OURS}),
    "its notebooks": ("notebooks/notebooks", "notebooks", {"notebooks": OURS}),
    "another's project inside": ("x/other/notebooks", "x", {"x": OURS, "x/other": ANOTHERS}),
    "copies of notebooks elsewhere": ("x/notebooks", "x/notebooks", {}),
    "in another's project": ("x/notebooks", "x/notebooks", {"x": ANOTHERS}),
    "a torn marker": ("x/notebooks", "x/notebooks", {"x": "[project"}),
    "a marker of nothing": ("x/notebooks", "x/notebooks", {"x": "project = 1"}),
}


@pytest.mark.parametrize("here, root, projects", ROOTS.values(), ids=ROOTS)
def test_relative_folders_count_from_the_checkout_by_its_marker(tmp_path, monkeypatch, capsys, here, root, projects):
    (tmp_path / here).mkdir(parents=True)
    for folder, text in projects.items():
        (tmp_path / folder / "pyproject.toml").write_text(text)
    monkeypatch.chdir(tmp_path / here)
    place = engine.Place("data", "results/mini")
    assert (place.results, place.data) == (str(tmp_path / root / "results/mini"), str(tmp_path / root / "data"))
    assert engine.Place(str(tmp_path / "d"), str(tmp_path / "r")).data == str(tmp_path / "d")
    (tmp_path / root / "photos").mkdir()
    with pytest.raises(ValueError, match="photos"):  # there, but without images
        listing("photos")
    record = records.save(Run("mini_resnet", "photos"), records.failure("x", 1.0), place.runs)
    assert main(["status", "mini"]) == 0 and "1 records belong to no run" in capsys.readouterr().out, record


def test_real_data_that_is_missing_is_named(tmp_path):
    place = engine.Place(str(tmp_path / "data"), str(tmp_path / "results"))
    with pytest.raises(FileNotFoundError, match="'dtd' is not in"):
        engine.prepare(PROFILES["paper"], place)
    assert not inventory(PROFILES["paper"], place)["there"].any()


@pytest.mark.slow
def test_runs_on_new_data_are_refused_before_they_would_mix_with_records_of_the_old(place, tiny_run):
    runs = [tiny_run(case=case, max_epochs=1) for case in ("base", "10M")]
    engine.run_all(runs[:1], place)
    manifest = Path(place.data, "photos", "manifest.json")
    manifest.write_text(manifest.read_text().replace('"recipe": 2', '"recipe": 1'))
    engine.run_all(runs[:1], place)  # recorded: nothing to do, and nothing is packed again
    assert not data.is_packed(manifest.parent)
    with pytest.raises(
        records.RecordError, match="photos has now .*move them away .*photos-.*, or give another results"
    ):
        engine.run_all(runs, place)
    assert data.is_packed(manifest.parent) and records.missing(runs, place.runs) == runs[1:]
    records.path_of(runs[0], place.runs).unlink()
    data.load.cache_clear()  # the old one, as this process packed and loaded it itself
    assert [record["status"] for record in engine.run_all(runs, place)] == ["done"] * 2


def test_gpu_memory_that_runs_out_says_what_to_lower_and_records_nothing(place, tiny_run, monkeypatch):
    def full(*_):
        raise engine.torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr("plasticity.training.progress.sum_of_gradients", full)
    run = tiny_run(case="10M", utility="gradient")
    with pytest.raises(RuntimeError, match="out of GPU memory .*2.00 GiB.*: choose precision bf16 .*, a GPU with"):
        engine.run_all([run], place)
    assert records.missing([run], place.runs) == [run]


def test_a_gpu_that_fails_in_this_process_costs_no_record(place, tiny_run, monkeypatch):
    def fail(*_, **more):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered\nmore")

    runs, fit = [tiny_run(seed=seed) for seed in range(3)], engine.train.fit
    monkeypatch.setattr(engine.train, "fit", lambda run, *rest, **more: (fail if run.seed else fit)(run, *rest, **more))
    with pytest.raises(RuntimeError, match="the GPU failed .*device-side assert triggered.*start again"):
        engine.run_all(runs, place)
    assert records.missing(runs, place.runs) == runs[1:]


def test_on_a_gpu_even_a_single_run_has_a_process_that_may_end(place, monkeypatch):
    assert isinstance(engine.pool(place, "r"), engine.InProcess)
    monkeypatch.setattr(engine.train, "pick_device", lambda name: torch.device("cuda"))
    pool = engine.pool(replace(place, workers=4), "r")
    assert isinstance(pool, engine.Processes) and pool.at_once == 1


@pytest.mark.parametrize("error", [MemoryError("no"), RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")])
def test_the_gpus_memory_is_given_back_after_a_run_and_after_its_error(monkeypatch, error):
    class Large:
        pass

    def job(fails):
        large = Large()
        large.itself, alive[0] = large, weakref.ref(large)
        if fails:
            raise type(error)(*error.args)

    alive, seen = [None], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: seen.append(alive[0]()))
    workers.attempt(job, False)
    assert workers.attempt(job, True).kind == "memory"
    assert seen == [None, None]
