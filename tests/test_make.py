"""make in odd surroundings: paths and variables that it can't take, environments that are broken, copied or none. All
of it is real, but that what is installed is a tiny project without any needs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from helpers import ROOT

SLOW = pytest.mark.slow
OUTSIDE = {name: value for name, value in os.environ.items() if name[:4] != "MAKE"}  # of `make test`
for variable in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONSAFEPATH", "PYTHONPATH"):
    OUTSIDE.pop(variable, None)
OUTSIDE["PIP_NO_INDEX"] = "1"
# The build backend of a project that needs none: what an editable install is.
BACKEND = """
import os, zipfile
NAME, FACTS = "plasticity-1.dist-info", {"METADATA": "Metadata-Version: 2.1\\nName: plasticity\\nVersion: 1\\n"}
FACTS["METADATA"] += "Provides-Extra: suite\\n"
FACTS |= {"WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n", "RECORD": ""}
def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(os.path.join(folder, "plasticity-1-py3-none-any.whl"), "w") as wheel:
        for name, text in FACTS.items():
            wheel.writestr(f"{NAME}/{name}", text)
        wheel.writestr("plasticity.pth", os.getcwd())
    return "plasticity-1-py3-none-any.whl"
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
PROJECT += '[project]\nname = "plasticity"\nversion = "1"\n[project.optional-dependencies]\nsuite = []\n'


def checkout(folder):
    """A folder with this project's Makefile and another, tiny project."""
    (folder / "plasticity").mkdir(parents=True)
    for name, text in {"backend.py": BACKEND, "pyproject.toml": PROJECT, "constraints.txt": ""}.items():
        (folder / name).write_text(text)
    (folder / "plasticity/__init__.py").write_text("print(__file__)")
    shutil.copy(ROOT / "Makefile", folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    return checkout(tmp_path / "checkout")


def make(folder, *arguments, **environment):
    """make's exit code, output and errors."""
    done = subprocess.run(
        ["make", *arguments], cwd=folder, env=OUTSIDE | environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def own(folder, *arguments, **environment):
    """The words after `own` that the command gets from a real shell, where nothing has to be installed."""
    what = ["own", "SUITE=", r"PLASTICITY=@printf %s\\n", *arguments]
    code, said, errors = make(folder, *what, **environment)
    assert code == 0, errors
    return said.splitlines()[1:]


# --- paths and variables ----------------------------------------------------------------------------------------------
ODD = ["my results", "cost$HOME", "a#1", "100%", "it's", 'a"b', "c:d", "a*", "back\\slash", "a;ls", "(a)", ""]


@pytest.mark.parametrize("value", ODD)
def test_a_path_that_make_cannot_take_is_refused_before_anything_happens(folder, value):
    before = sorted(folder.iterdir())
    code, said, errors = make(folder, "status", f"RESULTS={value}")
    assert code == 2 and said == "" and errors.count("\n") == 1 and "RESULTS is" in errors and value in errors
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name, value", [("VIRTUAL_ENV", odd) for odd in ODD if odd] + [("CONDA_PREFIX", ODD[0])])
def test_an_environment_that_make_cannot_take_is_refused_too(folder, name, value):
    python = folder / value / "bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    code, said, errors = make(folder, "status", **{name: str(folder / value)})
    assert code == 2 and said == "" and errors.count("\n") == 1 and f"{name} is '{folder / value}'" in errors
    assert "`deactivate`" in errors and not (folder / ".venv").exists()


@pytest.mark.parametrize("name", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_environment_without_python_is_refused_and_none_is_made_in_it(folder, name):
    active = folder / "active"
    active.mkdir()
    code, said, errors = make(folder, "status", **{name: str(active)})
    assert code == 2 and said == "" and f"{active} has no bin/python" in errors and errors.count("\n") == 1
    assert list(active.iterdir()) == []


@pytest.mark.parametrize("value", [*ODD[:-1], "`ls`", "my 'own' photos", "x && y", "fotos/ä"])
@pytest.mark.parametrize("name", ["data", "images", "model"])
def test_what_is_no_target_of_make_is_taken_as_it_is(folder, name, value):
    words = own(folder, f"{name.upper()}={value}")
    assert words[words.index(f"--{name}") + 1] == value


def test_the_home_folder_may_be_written_short(folder):
    words = own(folder, "DATA=~/my data", HOME="/home/a b")
    assert words[words.index("--data") + 1] == "/home/a b/my data"


def test_a_dollar_sign_comes_through_a_make_that_make_calls(folder):
    code, said, _ = make(folder, "outer", "--eval", "outer: ; @$(MAKE) help PROFILE=quick", "DATA=a $b's")
    assert code == 0 and "DATA=a $b's" in said and "PROFILE=quick" in said


@pytest.mark.parametrize("name", ["my checkout", "cost$HOME", "a#1", "100%", "it's", "a;b", 'a"b', "[x]*"])
def test_the_checkout_may_lie_anywhere(tmp_path, name):
    folder = checkout(tmp_path / name)
    assert own(folder)[:3] == ["mini", "--results", "results/mini"]
    assert make(folder, "status", "-n")[0] == 0


def test_only_the_command_line_counts(folder):
    """A DATA in the environment is another program's, and it is said that it isn't used."""
    taken = dict.fromkeys(["PROFILE", "WORKERS", "ENGINE", "RESULTS", "DATA", "MODEL", "IMAGES"], "another program's")
    assert own(folder, **taken) == own(folder)
    code, said, errors = make(folder, "help", "DATA=mine", **taken)
    assert code == 0 and "PROFILE=mini" in said and "DATA=mine" in said and "another program" not in said
    assert [line.split()[1] for line in errors.splitlines()] == sorted(set(taken) - {"DATA"}, key=list(taken).index)


# --- environments -----------------------------------------------------------------------------------------------------
@pytest.fixture
def bare(tmp_path):
    """A python3 without ensurepip, as Debian has it without python3-venv: (for PATH, where it belongs, where it is)."""
    version, true = f"python{sys.version_info.major}.{sys.version_info.minor}", Path(os.__file__).parent
    library, programs = tmp_path / "base/lib" / version, tmp_path / "base/bin"
    library.mkdir(parents=True), programs.mkdir()
    for path in true.iterdir():
        if path.name not in ("ensurepip", "site-packages", "dist-packages", "EXTERNALLY-MANAGED"):
            (library / path.name).symlink_to(path)
    shutil.copy(Path(sys.executable).resolve(), programs / "python3")
    return programs, library / "ensurepip", true / "ensurepip"


@SLOW
def test_an_environment_that_could_not_be_made_is_made_as_soon_as_it_can_be(folder, bare):
    programs, missing, ensurepip = bare
    if not ensurepip.is_dir():
        pytest.skip("this Python has no ensurepip either")
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    for _ in range(2):  # the first leaves a half-made .venv
        code, _, errors = make(folder, "status", **path)
        assert code == 2 and "apt install python3-venv" in errors and "No module named pip" not in errors
        assert (folder / ".venv/bin/python").exists()
    missing.symlink_to(ensurepip)
    code, _, errors = make(folder, "status", "PLASTICITY=true", **path)
    assert code == 0, errors
    again = make(folder, "-n", "status", "PLASTICITY=true", **path)
    assert again[1].split() == ["true", "status", "mini", "--results", "results/mini"], "nothing is installed twice"


@SLOW
def test_an_environment_that_is_made_is_found_by_the_next_make(folder):
    code, said, errors = make(folder, "status", "PLASTICITY=true")
    assert (code, errors) == (0, "") and "pip install" in said
    code, said, errors = make(folder, "status", "PLASTICITY=true")
    assert (code, errors) == (0, "") and "pip install" not in said


def test_an_old_python3_is_refused(folder, tmp_path):
    """Really another Python, where there is one; else one that says that it is."""
    old = tmp_path / "python3"
    old.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9); $*"\n')
    old.chmod(0o755)
    code, _, errors = make(folder, "status", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert code == 2 and "error: python3 is missing or older than 3.11" in errors and not (folder / ".venv").exists()


@SLOW
def test_a_copied_checkout_gets_an_environment_of_its_own_code(folder, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", folder / ".venv"], check=True)
    what = ["status", "PLASTICITY=p=$$PWD; cd / && $$p/.venv/bin/python -c 'import plasticity' #"]
    code, said, errors = make(folder, *what)
    assert (code, said.split()[-1], errors) == (0, str(folder / "plasticity/__init__.py"), "")
    copy = shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    code, said, errors = make(copy, *what)
    assert said.split()[-1] == str(copy / "plasticity/__init__.py")
    assert errors == ".venv has the plasticity of another folder or Python: it gets that of this one\n" and code == 0
    assert make(copy, *what)[2] == ""


# --- the cluster ------------------------------------------------------------------------------------------------------
WRONG = ["local", "dask", "tcp://head", "tcp://head:port", "head", "scheduler.jsn", "http://head/8786"]


@pytest.mark.parametrize("engine", [None, *WRONG])
def test_a_worker_needs_a_schedulers_address(folder, engine):
    code, said, errors = make(folder, "worker", *([f"ENGINE={engine}"] if engine else []))
    assert code == 2 and said == "" and errors.count("\n") == 1
    assert f"not ENGINE={engine or 'local'}: say ENGINE=tcp://HOST:8786 or ENGINE=FILE.json" in errors


@pytest.mark.parametrize("engine", ["tcp://head:8786", "head:8786", "tls://[::1]:8786", "/shared/a b.json"])
def test_addresses_and_files_of_schedulers_are_taken(folder, engine):
    command = ["worker", f"ENGINE={engine}", "PAUSE=0", r"DASK=printf %s\\n", f"INSTALLED={engine}"]
    (folder / ".venv").mkdir()
    code, said, errors = make(folder, *command, "HAS=", "-o", "suite-cluster", "--eval", "suite-cluster: ;")
    assert code == 2 and said.splitlines().count(engine) == 3 and "has ended three times at once" in errors


def test_a_scheduler_at_another_address_is_refused(folder):
    code, said, errors = make(folder, "scheduler", "ENGINE=tcp://head:9000")
    assert code == 2 and said == "" and "not ENGINE=tcp://head:9000" in errors


# --- JupyterLab -------------------------------------------------------------------------------------------------------
@SLOW
def test_lab_starts_for_root_too_and_its_kernels_are_this_interpreter(tmp_path):
    """From this checkout, with a torch.py of somebody's in the way and another kernel called python3."""
    spec = tmp_path / "kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "Python 3", "language": "python"}))
    for name in ("Makefile", "plasticity"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "torch.py").write_text("raise SystemExit('the stray was run')")
    settings = {"JUPYTER_PATH": str(tmp_path), "JUPYTER_PREFER_ENV_PATH": "0", "JUPYTER_TOKEN": "secret"}
    settings |= {
        "PYTHONPATH": str(ROOT),
        "BROWSER": "true",
        "HOME": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
    }
    command = ["make", "lab", f"PYTHON={sys.executable}", "SUITE="]
    said, pipes = tmp_path / "said", {"start_new_session": True, "stderr": subprocess.STDOUT}
    with said.open("w") as out:
        process = subprocess.Popen(command, cwd=tmp_path, env=OUTSIDE | settings, stdout=out, **pipes)
    try:
        deadline, kernels = time.monotonic() + 120, None
        while not (found := [path for path in tmp_path.glob("jpserver-*.json") if path.stat().st_size]):
            assert process.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        server = json.loads(found[0].read_text())
        while kernels is None:  # the file is there a little before the server listens
            try:
                with urllib.request.urlopen(f"{server['url']}api/kernelspecs?token=secret") as answer:
                    kernels = json.load(answer)["kernelspecs"]
            except urllib.error.URLError:
                assert process.poll() is None and time.monotonic() < deadline, said.read_text()
                time.sleep(0.1)
        assert kernels["python3"]["spec"]["argv"][0] == sys.executable
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
