"""What `plasticity doctor` says of places where something is wrong, and that it leaves them as they are."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT, tiny_arrays

from plasticity import get_profile, grid
from plasticity.__main__ import main
from plasticity.cli import doctor
from plasticity.datasets.prepare import pack
from plasticity.networks.table import architecture
from plasticity.running import records
from plasticity.running.checkpoints import Checkpoint

QUICK = grid(get_profile("quick"))
BODY = {"status": "done", "metrics": {"accuracy": 0.5}, "history": [], "resets": [], "seconds": 4.0, "inputs": {}}
WANTED = ["torch", "pandas>=2; extra == 'suite'", 'distributed; extra == "cluster"']


@pytest.fixture
def pip(monkeypatch):
    """What pip and the installed metadata say, to be changed."""
    said = SimpleNamespace(returncode=0, stdout="No broken requirements found.\n", stderr="", wanted=WANTED)
    monkeypatch.setattr(doctor, "subprocess", SimpleNamespace(run=lambda *_, **__: said))  # git is another matter
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: said.wanted)
    return said


@pytest.fixture
def ask(tmp_path, capsys, pip):
    """A function that gives the exit code and the lines said of a profile in ``tmp_path``, which must stay as it is."""

    def asked(profile="quick"):
        before = tree(tmp_path)
        code = main(["doctor", profile, "--data", str(tmp_path / "data"), "--results", str(tmp_path / "results")])
        assert tree(tmp_path) == before
        return code, capsys.readouterr().out.splitlines()

    return asked


def tree(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def lines_with(lines, *parts):
    return [line for line in lines if all(part in line for part in parts)]


def test_an_empty_place_is_well_and_reproduce_comes_next(ask, tmp_path):
    code, lines = ask("mini")
    assert code == 0 and not lines_with(lines, "  NO ")
    assert [line for line in lines if line[0] != " "][:-1] == ["Device", "Packages", "Data and weights", "Runs"]
    assert lines_with(lines, "ok", "torch 2") and lines_with(lines, "ok", "Python 3")
    assert lines_with(lines, "ok", "pip check: No broken") and lines_with(lines, "ok", "suite: complete")
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


@pytest.mark.parametrize(
    "wanted, code, line, last",
    [
        ([*WANTED, "made-up>=3"], 1, "NO    always needed: made-up missing", "next: pip install . in the checkout"),
        ([*WANTED, "gone; extra == 'suite'"], 1, "suite: gone missing", "next: pip install '.[suite]' in the checkout"),
        ([*WANTED, "gone; extra == 'site'"], 0, "note  site: gone missing (pip install '.[site]' in the checkout)", ""),
    ],
)
def test_what_is_missing_is_named_with_its_pip_line(ask, pip, wanted, code, line, last):
    pip.wanted = wanted
    found, lines = ask()
    assert found == code and lines_with(lines, line) and lines[-1].startswith(last or "next: ")


def test_what_pip_finds_broken_is_shown(ask, pip):
    pip.returncode, pip.stdout = 1, "timm 1.0 has requirement torch>=9, but you have torch 2.\n"
    code, lines = ask()
    assert code == 0 and lines_with(lines, "note  pip check: timm 1.0 has requirement torch>=9")


@pytest.mark.slow
def test_a_torchvision_that_does_not_fit_is_a_line_and_no_traceback(tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-m", "plasticity", "doctor"]
    environment = os.environ | {"PYTHONPATH": path}
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    reason = "(RuntimeError: operator torchvision::nms does not exist)"
    assert (
        said.returncode == 1
        and f"  NO    torchvision cannot be imported and does not fit torch {reason}" in said.stdout
    )
    assert said.stdout.splitlines()[-1].startswith("next: pip install --force-reinstall torch torchvision")
    assert "Traceback" not in said.stdout + said.stderr


def test_the_records_decide_what_comes_next(ask, tmp_path):
    folder = tmp_path / "results"
    for run in QUICK[1:]:
        records.save(run, BODY if run.seed or run.case != "25N" else records.failure("nan", 2.0), folder / "runs")
    with Checkpoint(folder / "running" / str(QUICK[0])) as checkpoint:
        checkpoint.save(3, {})
        lines = ask()[1]
        assert lines_with(lines, "26 of 36 done, 9 failed, 1 running", "plasticity run quick --retry-failed")
        assert lines[-1].endswith("--watch")
    assert lines_with(ask()[1], "1 lost")
    records.save(QUICK[0], BODY, folder / "runs")
    assert "reproduce" in ask()[1][-1], "the notebooks are not there"
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "30_figures.ipynb").touch()
    assert ask()[1][-1].startswith(f"next: nothing to do: open {folder / 'notebooks'}")


def test_real_data_are_downloaded_or_put_there(ask, tmp_path, monkeypatch):
    code, lines = ask("paper")
    assert code == 0 and lines[-1].startswith("next: put what https://www.robots.ox.ac.uk/")
    assert "unset PLASTICITY_OFFLINE" in lines[-1]
    monkeypatch.delenv("PLASTICITY_OFFLINE")
    lines = ask("paper")[1]
    assert len(lines_with(lines, "the first notebook downloads it")) == 6 and "reproduce" in lines[-1]
    assert lines_with(lines, str(tmp_path / "data" / "weights" / architecture("resnet50").weights_file))
    (tmp_path / "data" / "raw" / "dtd").mkdir(parents=True)
    assert lines_with(ask("paper")[1], "data set dtd", "its raw files are")
    pack(tmp_path / "data", "dtd", tiny_arrays(), {"complete": False, "expected": 5640})
    assert ask("rehearsal")[0] == 0
    code, lines = ask("paper")
    assert code == 1 and lines_with(lines, "NO", "was packed from 72 images")


def test_a_check_that_fails_is_a_line():
    def check(options):
        yield doctor.OK, "so far"
        Path("/nowhere").stat()

    assert [line[0] for line in doctor.look(check, None)] == ["ok", "NO"]
