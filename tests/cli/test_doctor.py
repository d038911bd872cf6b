"""What ``python -m plasticity doctor`` says of places where something is wrong, and that it leaves them as they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import tiny_arrays

from plasticity import __main__ as command
from plasticity.cli import doctor
from plasticity.datasets.prepare import pack
from plasticity.networks import table as models
from plasticity.profiles import get_profile, grid
from plasticity.running import records
from plasticity.running.checkpoints import Checkpoint

QUICK = grid(get_profile("quick"))
BODY = {"status": "done", "metrics": {"accuracy": 0.5}, "history": [], "resets": [], "seconds": 4.0, "inputs": {}}


@pytest.fixture
def ask(tmp_path, capsys):
    """A function that gives the exit code and the lines said of a profile in ``tmp_path``, which must stay as it is."""

    def asked(profile="quick", **folders):
        folders = {"data": tmp_path / "data", "results": tmp_path / "results"} | folders
        before = tree(tmp_path)
        code = command.main(
            ["doctor", profile, *(part for name, value in folders.items() for part in (f"--{name}", str(value)))]
        )
        assert tree(tmp_path) == before
        return code, capsys.readouterr().out.splitlines()

    return asked


def tree(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def lines_with(lines, *parts):
    return [line for line in lines if all(part in line for part in parts)]


def pyproject(folder, dependencies, **extras):
    lists = "".join(f"{name} = {wanted}\n" for name, wanted in extras.items())
    (folder / "pyproject.toml").write_text(
        f"[project]\ndependencies = {dependencies}\n[project.optional-dependencies]\n{lists}"
    )


def test_an_empty_place_is_well_and_reproduce_comes_next(ask, tmp_path):
    code, lines = ask("mini")
    assert code == 0 and not lines_with(lines, "  NO ")
    titles = [line for line in lines if line[0] != " "][:-1]
    assert titles == ["Machine", "Packages", "Device", "Disk", "Data and weights", "Engine", "Runs"]
    assert (
        lines_with(lines, "ok", "torch 2", "wanted >=2.11")
        and lines_with(lines, "[notebooks]")
        and lines_with(lines, "[cluster]")
    )
    assert lines_with(lines, "ok", str(tmp_path / "results"), "not made yet")
    assert len(lines_with(lines, "note", "the first notebook makes it")) == 4
    assert len(lines_with(lines, "note", "the first notebook pretrains it")) == 3
    assert lines_with(lines, "0 of 675 done")
    assert lines[-1].startswith("next: ") and "reproduce" in lines[-1] and str(tmp_path / "data") in lines[-1]


def test_what_is_packed_is_there(ask, world):
    lines = ask()[1]
    assert "  ok    data set photos" in lines and lines_with(lines, "note", "data set elpv")
    (world / "photos" / "manifest.json").write_text("{torn")
    code, lines = ask()
    assert code == 1 and lines_with(lines, "NO", "photos is damaged") and "is damaged" in lines[-1]


def test_a_folder_that_cannot_be_is_refused(ask, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "unplugged").symlink_to(tmp_path / "nowhere")
    code, lines = ask(results=tmp_path / "file" / "results")
    assert code == 1 and lines_with(lines, "NO", f"{tmp_path / 'file'} is no folder")
    assert lines[-1].startswith("next: choose another folder: ") and "FOLDER" in lines[-1]
    code, lines = ask(data=tmp_path / "unplugged")
    assert code == 1 and lines_with(lines, "NO", "data cannot be written", "unplugged is no folder")


def test_a_full_disk_is_said(ask, small_disk):
    code, lines = ask(results=small_disk / "results")
    assert (
        code == 1
        and lines_with(lines, "NO", "0.0 GB free, wanted 1.0")
        and lines[-1].startswith("next: free some space")
    )


def test_an_unknown_profile_is_a_wrong_argument(capsys):
    assert command.main(["doctor", "minni"]) == 2
    said = capsys.readouterr()
    assert "unknown profile 'minni'; known: mini" in said.err and not said.out


def test_packages_that_are_missing_or_too_old_are_named_and_installed_by_one_command(ask, tmp_path, monkeypatch):
    pyproject(
        tmp_path,
        ["plasticity-made-up>=3", "numpy>=99", "tqdm"],
        notebooks=["papermill>=99"],
        benchmarks=["made-up-too"],
    )
    monkeypatch.setattr(doctor, "PROJECT", tmp_path)
    code, lines = ask()
    assert code == 1 and "  NO    plasticity-made-up missing, wanted >=3" in lines
    assert lines_with(lines, "NO", "numpy", "wanted >=99: too old") and lines_with(lines, "ok", "tqdm", "wanted any")
    assert lines_with(lines, "note", "papermill", "[notebooks]: too old") and not lines_with(lines, "made-up-too")
    assert lines[-1] == f"next: {sys.executable} -m pip install 'plasticity-made-up>=3' 'numpy>=99' 'papermill>=99'"


def test_what_only_notebooks_or_tests_need_is_not_essential(ask, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "PROJECT", tmp_path)
    pyproject(tmp_path, [], test=["plasticity-made-up"])
    code, lines = ask()
    assert code == 0 and lines_with(lines, "note", "plasticity-made-up missing") and "reproduce" in lines[-1]
    pyproject(tmp_path, [], notebooks=["plasticity-made-up"])
    code, lines = ask()
    assert code == 0 and lines[-1].endswith("pip install plasticity-made-up")


def test_without_the_project_its_installed_metadata_is_asked(ask, tmp_path, monkeypatch):
    wanted = [
        "plasticity-made-up>=3",
        'tqdm; python_version > "3"',
        'numpy; extra == "cluster"',
        'made-up-too; extra == "benchmarks"',
        'gone; python_version < "3"',
    ]
    monkeypatch.setattr(doctor, "PROJECT", tmp_path)
    monkeypatch.setattr(doctor.metadata, "requires", {"plasticity": wanted}.get)
    code, lines = ask()
    assert code == 1 and lines[-1].endswith("pip install 'plasticity-made-up>=3'")
    assert lines_with(lines, "ok", "numpy", "[cluster]") and len(lines_with(lines, "tqdm")) == 1
    assert not lines_with(lines, "made-up-too") and not lines_with(lines, "gone")


def test_a_torchvision_that_does_not_fit_is_a_line_and_no_traceback(tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    said = subprocess.run(
        [sys.executable, "-m", "plasticity", "doctor"],
        capture_output=True,
        text=True,
        check=False,
        cwd=doctor.PROJECT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    reason = "(RuntimeError: operator torchvision::nms does not exist)"
    assert (
        said.returncode == 1
        and f"  NO    torchvision cannot be imported and does not fit torch {reason}" in said.stdout
    )
    assert said.stdout.splitlines()[-1].endswith(
        "-m pip install --force-reinstall -c constraints.txt torch torchvision"
    )
    assert "Traceback" not in said.stdout + said.stderr


def test_the_records_decide_what_comes_next(ask, tmp_path):
    folder = tmp_path / "results"
    for run in QUICK[1:]:
        records.save(run, BODY if run.seed or run.case != "25N" else records.failure("nan", 2.0), folder / "runs")
    with Checkpoint(folder / "running" / str(QUICK[0])) as checkpoint:
        checkpoint.save(3, {})
        lines = ask()[1]
        assert lines_with(lines, "26 of 36 done, 9 failed, 1 running", "run quick --retry-failed") and lines[
            -1
        ].endswith("--watch")
    assert lines_with(ask()[1], "1 lost")
    records.save(QUICK[0], BODY, folder / "runs")
    assert "reproduce" in ask()[1][-1], "the notebooks are not there"
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "30_figures.ipynb").touch()
    assert ask()[1][-1].startswith(f"next: nothing to do: open {folder / 'notebooks'}")


def test_real_data_are_downloaded_or_put_there(ask, tmp_path, monkeypatch):
    code, lines = ask("paper")
    assert (
        code == 0
        and lines[-1].startswith("next: put what https://www.robots.ox.ac.uk/")
        and "unset PLASTICITY" in lines[-1]
    )
    monkeypatch.delenv("PLASTICITY_OFFLINE")
    lines = ask("paper")[1]
    assert len(lines_with(lines, "the first notebook downloads it")) == 6 and "reproduce" in lines[-1]
    assert lines_with(lines, str(tmp_path / "data" / "weights" / models.architecture("resnet50").weights_file))
    (tmp_path / "data" / "raw" / "dtd").mkdir(parents=True)
    assert lines_with(ask("paper")[1], "data set dtd", "its raw files are")
    pack(tmp_path / "data", "dtd", tiny_arrays(), {"complete": False, "expected": 5640})
    assert ask("rehearsal")[0] == 0
    code, lines = ask("paper")
    assert code == 1 and lines_with(lines, "NO", "was packed from 72 images")


def test_a_cluster_that_is_not_there_is_said(ask, monkeypatch):
    code, lines = ask(engine="slurm")
    assert code == 1 and lines_with(lines, "NO", "slurm", "tcp://HOST:PORT")
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "plasticity.cluster", raising=False)
    code, lines = ask(engine="tcp://127.0.0.1:9")
    assert code == 1 and lines_with(lines, "NO", "a cluster needs dask.distributed")
    assert lines[-1] == "next: pip install 'plasticity[cluster]'"


def test_a_check_that_fails_is_a_line():
    def check():
        yield doctor.OK, "so far"
        Path("/nowhere").stat()

    assert [line[0] for line in doctor.look(check)] == ["ok", "NO"]
