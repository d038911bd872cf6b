"""A command in a folder that hides modules, or in another checkout than the code's: one line, and no stray runs."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

from plasticity.cli import surroundings

TRAP = "raise SystemExit('the stray was run')"


def plasticity(folder, *arguments, **environment):
    """Exit code and all that is said by a command started in a folder, as a module, which looks for modules there."""
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    outside |= {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-m", "plasticity", *(arguments or ["--help"])]
    done = subprocess.run(command, cwd=folder, env=outside, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["torch", "random", "numpy", "argparse", "typing", "pandas/__init__"])
def test_a_file_that_hides_a_module_is_named(tmp_path, name):
    stray = tmp_path / f"{name}.py"
    stray.parent.mkdir(exist_ok=True)
    stray.write_text(TRAP)
    module = name.partition("/")[0]
    code, said = plasticity(tmp_path)
    named = module if "/" in name else f"{module}.py"
    assert code == 2 and said.startswith(f"error: {named} in {tmp_path} hides the module {module} of Python or of a ")
    assert said.count("\n") == 1 and plasticity(tmp_path, PYTHONSAFEPATH="1")[0] == 0


def test_what_python_itself_needs_first_is_a_stray_too(tmp_path):
    """Python 3.13 imports types before it starts a module: there -m runs the stray, and `plasticity` refuses it."""
    (tmp_path / "types.py").write_text(TRAP)
    assert "types.py in" in surroundings.stray(str(tmp_path)) or sys.flags.safe_path
    assert plasticity(tmp_path, PYTHONSAFEPATH="1")[0] == 0


def test_other_files_hide_nothing(tmp_path):
    for name in ("my_model.py", "test.py", "torch.txt", "plasticity.py"):
        (tmp_path / name).write_text(TRAP)
    for name in ("torch", "pandas/numpy"):  # a folder without __init__.py comes after all packages
        (tmp_path / name).mkdir(parents=True)
    assert surroundings.strays(str(tmp_path)) == []


def test_a_folder_that_is_gone_hides_nothing(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert surroundings.stray() == surroundings.another_checkout() == ""


def test_a_checkout_that_is_not_the_codes_is_named(tmp_path):
    """As where the environment of a copied checkout still has the old one's code."""
    (tmp_path / "copy/plasticity").mkdir(parents=True)
    (tmp_path / "copy/plasticity/reinit.py").touch()
    (tmp_path / "copy/notebooks").mkdir()
    note = f"note: this is the checkout {tmp_path / 'copy'}, but the code that runs is in {ROOT / 'plasticity'}: "
    assert note in plasticity(tmp_path / "copy/notebooks")[1]
    (tmp_path / "alias").symlink_to(ROOT)
    assert "note: " not in plasticity(tmp_path / "alias/notebooks")[1] + plasticity(tmp_path)[1]
