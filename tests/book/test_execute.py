"""Strict papermill: unknown or mistyped parameters are refused; a target exists only if every cell ran, whatever dies,
is interrupted, or fills up. The kernels, the signals and the full disk are real."""

import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from plasticity.__main__ import main
from plasticity.book import execute

SLOW = pytest.mark.slow
DEFAULTS = {"profile": "mini", "repeats": 0, "lr": 0.1, "flag": True}


def notebook(path, *sources):
    cells = [new_code_cell('profile = "mini"  # which\nrepeats = 0  # how many', metadata={"tags": ["parameters"]})]
    book = new_notebook(cells=[*cells, *map(new_code_cell, sources)])
    book.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(book, path)
    return path


def test_parameters_are_read_from_the_tagged_cell(tmp_path):
    assert execute.parameters_of(notebook(tmp_path / "a.ipynb")) == {"profile": "mini", "repeats": 0}
    nbformat.write(new_notebook(), tmp_path / "b.ipynb")
    with pytest.raises(ValueError, match="0 cells tagged 'parameters'"):
        execute.parameters_of(tmp_path / "b.ipynb")


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("profile", "quick", "quick"),
        ("profile", "5", "5"),
        ("repeats", "5", 5),
        ("lr", "3e-4", 3e-4),
        ("lr", "1", 1.0),
        ("flag", "false", False),
        ("flag", "True", True),
    ],
)
def test_values_become_the_defaults_type(name, text, value):
    parsed = execute.parse({name: text}, DEFAULTS)[name]
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    "name, text", [("repeats", "five"), ("repeats", "2.5"), ("flag", "0"), ("lr", "fast"), ("repeats", "True")]
)
def test_other_types_are_refused(name, text):
    with pytest.raises(ValueError, match=f"parameter {name}={text!r} must be"):
        execute.parse({name: text}, DEFAULTS)


def test_unknown_parameter_exits_2_before_anything_runs(tmp_path, capsys):
    source = notebook(tmp_path / "a.ipynb")
    assert main(["execute", str(source), str(tmp_path / "out.ipynb"), "-p", "profil", "mini"]) == 2
    assert "unknown parameter 'profil'; this notebook has: profile, repeats" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.ipynb"]


def test_missing_notebook_exits_2(tmp_path, capsys):
    assert main(["execute", str(tmp_path / "no.ipynb"), str(tmp_path / "out.ipynb")]) == 2
    assert "no.ipynb" in capsys.readouterr().err


def test_a_target_that_cannot_be_exits_2(tmp_path, capsys):
    source = notebook(tmp_path / "a.ipynb")
    assert main(["execute", str(source), str(source / "out.ipynb")]) == 2
    assert f"'{source}'" in capsys.readouterr().err


# --- whole or not at all ----------------------------------------------------------------------------------------------
@pytest.fixture
def out(tmp_path):
    """A target that has an older good copy."""
    (tmp_path / "folder").mkdir()
    return notebook(tmp_path / "folder" / "out.ipynb", "'an older good copy'")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def failed(partial, name):
    """The sources of the cells of a partial notebook that hold the error ``name``."""
    cells = [cell for cell in nbformat.read(partial, as_version=4).cells if cell.cell_type == "code"]
    return [cell.source for cell in cells if name in [output.get("ename") for output in cell.outputs]]


@SLOW
def test_a_failing_cell_keeps_its_traceback_and_success_removes_it(tmp_path, out, capsys):
    source = notebook(
        tmp_path / "a.ipynb", "print(profile, repeats + 1)\nif repeats == 0: raise KeyError('lost\\nlines')"
    )
    before = out.read_bytes()
    assert main(["execute", str(source), str(out)]) == 1
    assert capsys.readouterr().err.endswith(
        f"error: {source}: cell 2 failed: KeyError: 'lost\\nlines'; see {execute.partial(out)}\n"
    )
    assert names(out.parent) == ["out.ipynb", "out.partial.ipynb"] and out.read_bytes() == before
    assert len(failed(execute.partial(out), "KeyError")) == 1
    assert main(["execute", str(source), str(out), "-p", "repeats", "4"]) == 0
    assert names(out.parent) == ["out.ipynb"] and "mini 5" in out.read_text()
    assert nbformat.read(out, as_version=4).metadata.papermill.output_path == str(out)


@SLOW
def test_leaving_early_is_no_success(tmp_path, out, capsys):
    source, before = notebook(tmp_path / "a.ipynb", "import sys\nsys.exit()", "print('after')"), out.read_bytes()
    assert main(["execute", str(source), str(out)]) == 1
    assert "a cell called sys.exit: the cells after it did not run" in capsys.readouterr().err
    assert out.read_bytes() == before and failed(execute.partial(out), "SystemExit")


@SLOW
def test_a_kernel_that_dies_is_reported_where_it_died(tmp_path, out, capsys):
    dies = "import os, pathlib, subprocess\nworker = subprocess.Popen(['sleep', '99'])\n"
    dies += f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(worker.pid))\nos.kill(os.getpid(), 9)"
    source, before = notebook(tmp_path / "a.ipynb", dies, "print('after')"), out.read_bytes()
    assert main(["execute", str(source), str(out)]) == 1
    died = "its kernel died in cell 2 (killed, or out of memory?); what is recorded stays: start again to go on"
    assert capsys.readouterr().err == f"error: {source}: {died}; see {execute.partial(out)}\n"
    assert out.read_bytes() == before and failed(execute.partial(out), "DeadKernelError") == [dies]
    assert "An Exception was encountered at" in execute.partial(out).read_text(), "papermill's pointer to the cell"
    assert gone(int((tmp_path / "pid").read_text())), "what the kernel had started outlived it"


@SLOW
def test_two_processes_with_one_target_do_not_meet(tmp_path, out):
    begins = f"import time, pathlib\nfolder = pathlib.Path({str(tmp_path)!r})\n(folder / profile).touch()"
    source = notebook(
        tmp_path / "a.ipynb", begins, "while not (folder / 'go').exists(): time.sleep(0.05)\nprint(profile * 1000)"
    )
    both = [start(source, out, "-p", "profile", name) for name in "ab"]
    wait_for(tmp_path / "a", tmp_path / "b")
    assert len(names(out.parent)) == 3, "the target and each one's own partial"
    (tmp_path / "go").touch()
    assert [process.wait(30) for process in both] == [0, 0]
    assert names(out.parent) == ["out.ipynb"] and ("a" * 1000 in out.read_text()) != ("b" * 1000 in out.read_text())


@SLOW
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, out):
    process = start(notebook(tmp_path / "a.ipynb", waits(tmp_path)), out)
    wait_for(tmp_path / "running")
    started = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    assert len(names(out.parent)) == 2 and len(started) == 1
    assert gone(started[0].pid), "ipykernel watches its parent"
    other = out.parent / ".out.another-machine-1.partial.ipynb"
    other.touch()
    execute.execute(notebook(tmp_path / "b.ipynb"), out, log=False)
    assert names(out.parent) == [other.name, "out.ipynb"]


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def heeded():
    """Where a script starts pytest with &, the shell has Ctrl-C ignored, and all it starts inherit that."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def waits(folder, then="raise"):
    """A cell that says when it runs, waits, and does ``then`` when it is interrupted."""
    return f"""import pathlib, time
folder = pathlib.Path({str(folder)!r})
try:
    (folder / "running").touch()
    time.sleep(60)
except KeyboardInterrupt:
    (folder / "cleaned").touch()
    {then}"""


def start(source, target, *more):
    """The command in a session of its own."""
    command = [sys.executable, "-m", "plasticity", "execute", source, target, *more]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)


def kernels():
    """The kernels that this process started; other tests may have left a fork server for the next worker."""
    living = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in living if "ipykernel" in " ".join(child.cmdline())]


def wait_for(*paths):
    """Until all files are there."""
    deadline = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, f"not yet all there: {paths}"
        time.sleep(0.05)


def gone(pid):
    """Whether a process is dead, soon: a kernel looks every second whether its parent is."""
    deadline = time.monotonic() + 10
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
    return True


@contextmanager
def signals_when(*pairs):
    """Send this process a signal when a file appears, for (file, signal) in turn."""

    def send():
        for path, number in pairs:
            wait_for(path)
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()


@SLOW
def test_ctrl_c_in_a_terminal(tmp_path, out):
    source, before = notebook(tmp_path / "a.ipynb", waits(tmp_path), "print('after')"), out.read_bytes()
    process = start(source, out)
    wait_for(tmp_path / "running")
    started = psutil.Process(process.pid).children()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (
        process.returncode == 130
        and err.splitlines()[-1] == "interrupted: what is recorded stays; start again to go on"
    )
    assert "Traceback" not in err
    assert (tmp_path / "cleaned").exists(), "the cell was not told"
    assert len(started) == 1 and not psutil.pid_exists(started[0].pid)
    assert names(out.parent) == ["out.ipynb", "out.partial.ipynb"] and out.read_bytes() == before
    assert failed(execute.partial(out), "KeyboardInterrupt") == [waits(tmp_path)]


@SLOW
def test_sigterm_stops_it_too_even_if_a_cell_takes_no_notice(tmp_path, out, capsys):
    source = notebook(
        tmp_path / "a.ipynb", waits(tmp_path, "pass"), f"pathlib.Path({str(tmp_path)!r}, 'after').touch()"
    )
    with signals_when((tmp_path / "running", signal.SIGTERM)):
        assert main(["execute", str(source), str(out)]) == 143
    assert (tmp_path / "cleaned").exists() and not (tmp_path / "after").exists()
    assert "interrupted: what is recorded stays" in capsys.readouterr().err
    assert len(failed(execute.partial(out), "KeyboardInterrupt")) == 1 and kernels() == []
    assert (
        signal.getsignal(signal.SIGINT) == signal.default_int_handler
        and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )


@SLOW
def test_ctrl_c_before_the_first_cell(tmp_path, out, capsys):
    private = execute._private(out)  # papermill writes it before it starts the kernel
    with signals_when((private, signal.SIGINT)):
        assert main(["execute", str(notebook(tmp_path / "a.ipynb", waits(tmp_path))), str(out)]) == 130
    assert not (tmp_path / "running").exists() and kernels() == []
    assert "interrupted: what is recorded stays" in capsys.readouterr().err
    assert names(out.parent) == ["out.ipynb", "out.partial.ipynb"]


@SLOW
@pytest.mark.parametrize("way", ["a second Ctrl-C", "the end of the grace"])
def test_a_cell_that_will_not_stop_is_killed(tmp_path, out, capsys, monkeypatch, way):
    monkeypatch.setattr(execute, "GRACE", 1.0 if way == "the end of the grace" else 60.0)
    stubborn = waits(tmp_path, "time.sleep(60)")
    files = ["running", "cleaned"] if way == "a second Ctrl-C" else ["running"]
    started = time.monotonic()
    with signals_when(*[(tmp_path / name, signal.SIGINT) for name in files]):
        assert main(["execute", str(notebook(tmp_path / "a.ipynb", stubborn)), str(out)]) == 130
    assert time.monotonic() - started < 12 and kernels() == []
    assert "interrupted: what is recorded stays" in capsys.readouterr().err
    assert failed(execute.partial(out), "KeyboardInterrupt") == [stubborn]


# --- a full disk ------------------------------------------------------------------------------------------------------
def fill(file):
    """Text of a cell, and what it does here: write until nothing more goes in."""
    with suppress(OSError), open(file, "ab", buffering=0) as ballast:
        while True:
            ballast.write(bytes(512))


@SLOW
def test_a_full_disk_costs_no_good_copy(tmp_path, small_disk, capsys):
    """Full while the notebook runs, full before it starts, and free again."""
    out, ballast = small_disk / "out.ipynb", small_disk / "ballast"
    cell = (
        f"from contextlib import suppress\n{inspect.getsource(fill)}\nif profile == 'fills': fill({str(ballast)!r})\n"
    )
    source = notebook(tmp_path / "a.ipynb", cell + "print(profile * 10_000)")
    assert main(["execute", str(source), str(out)]) == 0
    before = out.read_bytes()
    for profile in ("fills", "mini"):
        assert main(["execute", str(source), str(out), "-p", "profile", profile]) == 1
        said = capsys.readouterr()
        assert (
            f"error: {out} was not written: No space left on device; what is recorded stays: start again to go on when"
            in said.err
        )
        assert names(small_disk) == ["ballast", "out.ipynb"] and out.read_bytes() == before
        assert kernels() == []
        fill(ballast)
    assert said.out == "", "a cell ran, although there was no room from the start"
    ballast.unlink()
    assert main(["execute", str(source), str(out), "-p", "profile", "late"]) == 0
    assert "late" * 10_000 in out.read_text() and names(small_disk) == ["out.ipynb"]
