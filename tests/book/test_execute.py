"""Strict papermill: unknown or mistyped parameters are refused; a target exists only if every cell ran, whatever dies,
is interrupted, or fills up. The kernels, the signals and the full disk are real."""

import inspect
import json
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
from jupyter_client.kernelspec import NoSuchKernel
from nbformat.v4 import new_code_cell, new_notebook

from plasticity.__main__ import main
from plasticity.book import execute

SLOW = pytest.mark.slow
STOPPED = "interrupted: what is recorded stays; start again to go on"


def notebook(path, *sources):
    cells = [new_code_cell('profile = "mini"  # which\nrepeats = 0  # how many', metadata={"tags": ["parameters"]})]
    book = new_notebook(cells=[*cells, *map(new_code_cell, sources)])
    book.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(book, path)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Book:
    """A notebook to be executed into a target that has an older good copy."""

    def __init__(self, folder, capsys):
        (folder / "folder").mkdir()
        self.source, self.capsys = folder / "a.ipynb", capsys
        self.out = notebook(folder / "folder" / "out.ipynb", "'an older good copy'")
        self.before, self.partial = self.out.read_bytes(), execute.partial(self.out)

    def __call__(self, *cells, **parameters):
        """Exit code and errors of the command on these cells."""
        pairs = [part for name, value in parameters.items() for part in ("-p", name, value)]
        code = main(["execute", str(notebook(self.source, *cells)), str(self.out), *pairs])
        self.said = self.capsys.readouterr()
        return code, self.said.err

    def start(self, *cells, **parameters):
        """The command as a process in a session of its own."""
        pairs = [part for name, value in parameters.items() for part in ("-p", name, value)]
        command = [sys.executable, "-m", "plasticity", "execute", notebook(self.source, *cells), self.out, *pairs]
        return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)

    def kept(self):
        """Whether the older copy is as it was, and the partial notebook beside it."""
        return names(self.out.parent) == ["out.ipynb", "out.partial.ipynb"] and self.out.read_bytes() == self.before

    def failed(self, name):
        """The sources of the cells of the partial notebook that hold the error ``name``."""
        cells = [cell for cell in nbformat.read(self.partial, as_version=4).cells if cell.cell_type == "code"]
        return [cell.source for cell in cells if name in [output.get("ename") for output in cell.outputs]]


@pytest.fixture
def book(tmp_path, capsys):
    return Book(tmp_path, capsys)


def test_what_is_wrong_exits_2_before_anything_runs(tmp_path, book):
    code, err = book(profil="mini")
    assert code == 2 and "unknown parameter 'profil'; this notebook has: profile, repeats" in err
    assert names(book.out.parent) == ["out.ipynb"]
    for source, target in [("no.ipynb", "out.ipynb"), ("a.ipynb", "a.ipynb/out.ipynb")]:
        assert main(["execute", str(tmp_path / source), str(tmp_path / target)]) == 2
        assert f"{tmp_path / source}'" in book.capsys.readouterr().err


# --- the interpreter --------------------------------------------------------------------------------------------------
@pytest.fixture
def another_python(tmp_path, monkeypatch):
    """A kernel called python3 that is no Python at all, found before this one's, and settings that allow no other."""
    spec = tmp_path / "jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "Python 3", "language": "python"}))
    allowed = {"KernelSpecManager": {"allowed_kernelspecs": ["ir"], "ensure_native_kernel": False}}
    (tmp_path / "jupyter/jupyter_config.json").write_text(json.dumps(allowed))
    settings = {"JUPYTER_PATH": spec.parents[2], "JUPYTER_CONFIG_DIR": spec.parents[2]}
    settings |= {"JUPYTER_PREFER_ENV_PATH": "0", "JUPYTER_DEFAULT_PROVISIONER_NAME": "slurm"}
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))


@SLOW
@pytest.mark.parametrize("kernel", ["python3", "conda-env-of-somebody-py"])
def test_a_notebook_is_run_by_this_interpreter_whatever_kernels_there_are(book, another_python, kernel):
    cell = "import os, sys\nprint(sys.executable, os.environ['JUPYTER_PREFER_ENV_PATH'])"
    cells = nbformat.read(notebook(book.source, cell), as_version=4)
    cells.metadata.kernelspec.name = kernel
    nbformat.write(cells, book.source)
    execute.execute(book.source, book.out, log=False)
    outputs = [output.text for each in nbformat.read(book.out, as_version=4).cells for output in each.outputs]
    assert outputs == [f"{sys.executable} 0\n"]


def test_settings_that_allow_no_such_kernel_are_another_programs(another_python):
    kernels = execute.OwnKernel(allowed_kernelspecs={"ir"}, ensure_native_kernel=False)
    assert list(kernels.get_all_specs()) == ["python3"]
    assert kernels.get_kernel_spec("python3").argv[0] == sys.executable
    with pytest.raises(NoSuchKernel):
        kernels.get_kernel_spec("ir")


# --- whole or not at all ----------------------------------------------------------------------------------------------
@SLOW
def test_a_failing_cell_keeps_its_traceback_and_success_removes_it(book):
    cell = "print(profile, repeats + 1)\nif repeats == 0: raise KeyError('lost\\nlines')"
    code, err = book(cell)
    assert err.endswith(f"error: {book.source}: cell 2 failed: KeyError: 'lost\\nlines'; see {book.partial}\n")
    assert code == 1 and book.kept() and book.failed("KeyError") == [cell]
    assert book(cell, repeats="4")[0] == 0
    assert names(book.out.parent) == ["out.ipynb"] and "mini 5" in book.out.read_text()
    assert nbformat.read(book.out, as_version=4).metadata.papermill.output_path == str(book.out)


@SLOW
def test_leaving_early_is_no_success(book):
    code, err = book("import sys\nsys.exit()", "print('after')")
    assert code == 1 and "a cell called sys.exit: the cells after it did not run" in err
    assert book.kept() and book.failed("SystemExit")


@SLOW
def test_a_kernel_that_dies_is_reported_where_it_died(tmp_path, book):
    dies = "import os, pathlib, subprocess\nworker = subprocess.Popen(['sleep', '99'])\n"
    dies += f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(worker.pid))\nos.kill(os.getpid(), 9)"
    died = "its kernel died in cell 2 (killed, or out of memory?); what is recorded stays: start again to go on"
    assert book(dies, "print('after')") == (1, f"error: {book.source}: {died}; see {book.partial}\n")
    assert book.kept() and book.failed("DeadKernelError") == [dies]
    assert "An Exception was encountered at" in book.partial.read_text(), "papermill's pointer to the cell"
    assert gone(int((tmp_path / "pid").read_text())), "what the kernel had started outlived it"


@SLOW
def test_two_processes_with_one_target_do_not_meet(tmp_path, book):
    begins = f"import time, pathlib\nfolder = pathlib.Path({str(tmp_path)!r})\n(folder / profile).touch()"
    waits = "while not (folder / 'go').exists(): time.sleep(0.05)\nprint(profile * 1000)"
    both = [book.start(begins, waits, profile=name) for name in "ab"]
    wait_for(tmp_path / "a", tmp_path / "b")
    assert len(names(book.out.parent)) == 3, "the target and each one's own partial"
    (tmp_path / "go").touch()
    assert [process.wait(30) for process in both] == [0, 0]
    text = book.out.read_text()
    assert names(book.out.parent) == ["out.ipynb"] and ("a" * 1000 in text) != ("b" * 1000 in text)


@SLOW
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, book):
    process = book.start(waits(tmp_path))
    wait_for(tmp_path / "running")
    started = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    assert len(names(book.out.parent)) == 2 and len(started) == 1
    assert gone(started[0].pid), "ipykernel watches its parent"
    other = book.out.parent / ".out.another-machine-1.partial.ipynb"
    other.touch()
    assert book()[0] == 0 and names(book.out.parent) == [other.name, "out.ipynb"]


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def heeded():
    """Where a script starts pytest with & or nohup, Ctrl-C or SIGHUP are ignored, and all it starts inherit that."""
    heard = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    former = {number: signal.signal(number, handler) for number, handler in heard.items()}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


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
def test_ctrl_c_in_a_terminal(tmp_path, book):
    process = book.start(waits(tmp_path), "print('after')")
    wait_for(tmp_path / "running")
    started = psutil.Process(process.pid).children()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and err.splitlines()[-1] == STOPPED and "Traceback" not in err
    assert (tmp_path / "cleaned").exists(), "the cell was not told"
    assert len(started) == 1 and not psutil.pid_exists(started[0].pid)
    assert book.kept() and book.failed("KeyboardInterrupt") == [waits(tmp_path)]


@SLOW
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_stop_it_too_even_if_a_cell_takes_no_notice(tmp_path, book, number):
    with signals_when((tmp_path / "running", number)):
        code, err = book(waits(tmp_path, "pass"), f"pathlib.Path({str(tmp_path)!r}, 'after').touch()")
    assert (
        code == 128 + number
        and STOPPED in err
        and (tmp_path / "cleaned").exists()
        and not (tmp_path / "after").exists()
    )
    assert len(book.failed("KeyboardInterrupt")) == 1 and kernels() == []
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert handlers == [signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL]


@SLOW
def test_ctrl_c_before_the_first_cell(tmp_path, book):
    private = execute._private(book.out)  # papermill writes it before it starts the kernel
    with signals_when((private, signal.SIGINT)):
        code, err = book(waits(tmp_path))
    assert code == 130 and STOPPED in err and book.kept()
    assert not (tmp_path / "running").exists() and kernels() == []


@SLOW
@pytest.mark.parametrize("grace, files", [(60.0, ["running", "cleaned"]), (1.0, ["running"])], ids=["twice", "grace"])
def test_a_cell_that_will_not_stop_is_killed(tmp_path, book, monkeypatch, grace, files):
    """By a second Ctrl-C, and by the end of the grace."""
    monkeypatch.setattr(execute, "GRACE", grace)
    stubborn, started = waits(tmp_path, "time.sleep(60)"), time.monotonic()
    with signals_when(*[(tmp_path / name, signal.SIGINT) for name in files]):
        code, err = book(stubborn)
    assert code == 130 and STOPPED in err and time.monotonic() - started < 30 and kernels() == []
    assert book.failed("KeyboardInterrupt") == [stubborn]


# --- a full disk ------------------------------------------------------------------------------------------------------
def fill(file):
    """Text of a cell, and what it does here: write until nothing more goes in."""
    with suppress(OSError), open(file, "ab", buffering=0) as ballast:
        while True:
            ballast.write(bytes(512))


@SLOW
def test_a_full_disk_costs_no_good_copy(book, small_disk):
    """Full while the notebook runs, full before it starts, and free again."""
    book.out, ballast = small_disk / "out.ipynb", small_disk / "ballast"
    cell = f"from contextlib import suppress\n{inspect.getsource(fill)}\n"
    cell += f"if profile == 'fills': fill({str(ballast)!r})\nprint(profile * 10_000)"
    assert book(cell)[0] == 0
    before = book.out.read_bytes()
    for profile in ("fills", "mini"):
        code, err = book(cell, profile=profile)
        why = "No space left on device; what is recorded stays: start again to go on when that is fixed"
        assert code == 1 and f"error: {book.out} was not written: {why}" in err
        assert names(small_disk) == ["ballast", "out.ipynb"] and book.out.read_bytes() == before and kernels() == []
        fill(ballast)
    assert book.said.out == "", "a cell ran, although there was no room from the start"
    ballast.unlink()
    assert book(cell, profile="late")[0] == 0
    assert "late" * 10_000 in book.out.read_text() and names(small_disk) == ["out.ipynb"]
