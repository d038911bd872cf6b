"""The one command line: each command shows an example, wrong arguments are one line, old names say the new."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import plasticity
from plasticity import Run
from plasticity.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments, **more):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **more)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    said = capsys.readouterr().out
    assert done.value.code == 0 and f"Example:\n    plasticity {command} " in said and "%(" not in said


def test_all_commands_are_listed(capsys):
    for arguments in ([], ["--help"]):
        with pytest.raises(SystemExit) as done:
            main(arguments)
        said = capsys.readouterr().out
        assert done.value.code == 0 and all(f"    {command}" in said for command in COMMANDS)
    modules = {path.stem for path in (ROOT / "plasticity/cli").glob("*.py")}
    assert modules - set(COMMANDS) == {
        "__init__",
        "options",
        "inventory",
        "cost",
        "games_cost",
        "hints",
        "streams",
        "surroundings",
    }


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["statsu"], "invalid choice: 'statsu' (choose from"),
        (["status", "minni"], "error: unknown profile 'minni'; known: mini"),
        (["doctor", "minni"], "error: unknown profile 'minni'; known: mini"),
        (["plan", "paper", "--repeats", "-1"], "error: repeats=-1 must be an integer"),
        (["run", "quick", "--engine", "slurm"], "error: engine='slurm' is unknown; allowed: 'local', 'dask'"),
        (["prepare", "cifar"], "error: unknown data set 'cifar'; known: source"),
        (["audit", "nowhere.csv"], "error: "),
        (["site", "minni"], "error: unknown profile 'minni'; known: mini"),
        (["reproduce", "quick"], "error: the notebooks are in a checkout of the project"),
        (["own"], "error: the notebooks are in a checkout of the project"),
        (["execute", "nowhere.ipynb", "out.ipynb"], "error: "),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2 and said in error and "Traceback" not in error and error.splitlines()[-1].count(said) == 1


@pytest.mark.parametrize(
    "error, code",
    [
        (ValueError("no"), 2),
        (OSError("no"), 1),
        (RuntimeError("no"), 1),
        (ImportError("no"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error, code, monkeypatch, capsys):
    def fail(options):
        raise error

    monkeypatch.setattr("plasticity.cli.status.main", fail)
    assert main(["status"]) == code
    assert capsys.readouterr().err == ("" if code == 130 else "error: no\n")


def test_a_missing_extra_names_the_pip_line(monkeypatch, capsys):
    def fail(options):
        raise ModuleNotFoundError("No module", name="papermill.engines")

    monkeypatch.setattr("plasticity.cli.status.main", fail)
    assert main(["status"]) == 1
    line = "plasticity status needs the suite (papermill is missing): pip install '.[suite]' in the checkout"
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize(
    "module, now",
    [
        ("execute", "plasticity execute"),
        ("plan", "plasticity plan"),
        ("prepare", "plasticity prepare"),
        ("audit", "plasticity audit"),
        ("book", "plasticity site"),
        ("own", "plasticity own"),
        ("cluster", "plasticity.running.dask"),
    ],
)
def test_an_old_command_says_in_one_line_what_it_is_called_now(module, now):
    done = run("-m", f"plasticity.{module}", cwd=ROOT)
    assert (
        done.returncode == 1
        and done.stderr.count("\n") == 1
        and f"is called {now!r}" in done.stderr.replace(", or", "'")
    )
    with pytest.raises(ModuleNotFoundError):
        __import__(f"plasticity.{module}" + ".__main__" * (module == "book"))


def test_an_old_target_of_make_says_what_it_is_called_now():
    done = subprocess.run(["make", "test-fast"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "make test-fast is called `make test` now" in done.stdout + done.stderr


def test_the_public_names_are_there_when_asked_for():
    code = (
        "import plasticity, sys; print('torch' in sys.modules); plasticity.reinitialize; print('torch' in sys.modules)"
    )
    assert run("-c", code).stdout.split() == ["False", "True"]
    assert set(plasticity.__all__) <= set(dir(plasticity)) and plasticity.Run is Run
    with pytest.raises(AttributeError, match="no attribute 'reinitialise'; it has: Case"):
        plasticity.reinitialise  # noqa: B018


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_help_lists_every_target_with_a_text():
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(
        f"make {target} " in said
        for target in ("reproduce", "checks", "companions", "test", "test-all", "site", "lint")
    )
