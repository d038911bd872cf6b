"""Strict, atomic papermill: an executed notebook exists only if it ran to its end, with the parameters asked for."""

import glob
import os
import platform
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import nbformat
import papermill
import psutil
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager
from nbclient.exceptions import DeadKernelError
from papermill.execute import raise_for_execution_errors

from ..cli.streams import take_any_text
from .parameters import parameters_of, parse, passes

GRACE = 10.0  # seconds that a cell gets to leave what it is doing when it is interrupted
RECORDED = "what is recorded stays: start again to go on"
FILES = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
REFUSED = (ValueError, *FILES)


class OwnKernel(KernelSpecManager):
    """Kernels by their names, of which ``python3`` is this interpreter, whatever specs and settings a machine has."""

    def find_kernel_specs(self) -> dict[str, str]:
        """The folder of each kernel by its name."""
        return super().find_kernel_specs() | {NATIVE_KERNEL_NAME: RESOURCES}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """How a kernel is started. Raises NoSuchKernel."""
        if kernel_name != NATIVE_KERNEL_NAME:
            return super().get_kernel_spec(kernel_name)
        spec = KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())
        spec.metadata["kernel_provisioner"] = {"provisioner_name": "local-provisioner"}  # on this machine
        return spec


class Interrupts:
    """Ctrl-C, SIGTERM, SIGHUP in a notebook: the first interrupts its cell; one more, or `GRACE`, kills the kernel."""

    def __init__(self):
        self.received = self.kernel = None
        self.running = False  # whether a cell has begun
        self.timer = threading.Timer(GRACE, lambda: self.send(signal.SIGKILL))
        self.timer.daemon = True
        self.former = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as it is for what a script starts with &
                    self.former[number] = signal.signal(number, self.handle)
        return self

    def __exit__(self, kind, error, traceback):
        self.timer.cancel()
        for number, handler in self.former.items():
            signal.signal(number, handler)
        if self.received and not isinstance(error, OSError):
            raise KeyboardInterrupt if self.received == signal.SIGINT else SystemExit(128 + self.received)

    def handle(self, number, frame):
        """A signal has come. A kernel that has not begun has nothing to leave in order."""
        self.send(signal.SIGINT if self.running and not self.received else signal.SIGKILL)
        if not self.received:
            self.received = number
            self.timer.start()

    def send(self, number):
        """Signal the kernel and all that it has started: a session of its own, out of reach of a terminal's Ctrl-C."""
        if self.kernel and self.kernel.provisioner and self.kernel.provisioner.pgid:
            with suppress(ProcessLookupError):
                os.killpg(self.kernel.provisioner.pgid, number)

    def before_cell(self, cell, cell_index):
        """Let no further cell run after a signal, even if the interrupted one took no notice. nbclient calls this."""
        self.running = True
        if self.received:
            self.send(signal.SIGKILL)

    def manager(self) -> type[AsyncKernelManager]:
        """What starts the kernel, known here from then on. nbclient makes one of it."""

        class Manager(AsyncKernelManager):
            def __init__(manager, *arguments, **options):
                super().__init__(*arguments, kernel_spec_manager=OwnKernel(), **options)
                self.kernel = manager

        return Manager


def execute(notebook: str | Path, target: str | Path, parameters: dict | None = None, log: bool = True) -> Path:
    """Run a notebook into ``target``, which appears only when every cell has run; else `partial` keeps the traceback.

    ``parameters`` are values or texts, checked against the notebook's own (`parse`). Raises ValueError for a wrong one,
    papermill.PapermillExecutionError for a failing cell (its ``ename`` is DeadKernelError where the kernel died in it),
    OSError where the notebook can't be written; KeyboardInterrupt, or SystemExit for SIGTERM, when the kernel has
    been stopped.
    """
    target, values = Path(target), parse(parameters or {}, parameters_of(notebook))
    if odd := [path for path in (str(notebook), str(target)) if not passes(path)]:  # papermill notes both in it
        raise ValueError(f"the path {odd[0]!r} is no Unicode, which a notebook is written in; rename it")
    target.parent.mkdir(parents=True, exist_ok=True)
    private = _private(target)
    try:
        with Interrupts() as interrupts:
            book = _run(notebook, private, values, log, interrupts)
        book.metadata.papermill.output_path = str(target)
        nbformat.write(book, private)
    except OSError:
        private.unlink(missing_ok=True)  # what is in it may be cut off anywhere
        raise
    except BaseException:
        if private.exists():
            private.replace(partial(target))
        raise
    private.replace(target)
    partial(target).unlink(missing_ok=True)
    return target


def _run(notebook, private: Path, values: dict, log: bool, interrupts: Interrupts):
    """The notebook as it is after its run. Whatever is raised, ``private`` says how far it came."""
    take_any_text()  # what a cell prints, too
    kernel = {"kernel_manager_class": interrupts.manager(), "kernel_name": NATIVE_KERNEL_NAME}
    kernel |= {"on_cell_execute": interrupts.before_cell, "shutdown_kernel": "immediate"}  # an orderly end takes 2.5 s
    streams = {"stdout_file": sys.stdout, "stderr_file": sys.stderr} if log else {}
    quiet = {"progress_bar": False, "autosave_cell_every": 0}
    try:
        book = papermill.execute_notebook(notebook, private, values, cwd=Path.cwd(), **kernel, **streams, **quiet)
    except DeadKernelError:
        interrupts.send(signal.SIGTERM)  # its worker processes, which it can't end any more
        _note_death(private, bool(interrupts.received))
        raise
    if book.metadata.papermill.exception:  # papermill lets sys.exit(0) pass
        raise RuntimeError("a cell called sys.exit: the cells after it did not run")
    return book


def _note_death(private: Path, stopped: bool):
    """Write into the notebook which cell its kernel died in. Raises PapermillExecutionError, as for a failing cell."""
    book = nbformat.read(private, as_version=4)
    begun = [cell for cell in book.cells if cell.cell_type == "code" and cell.metadata.papermill.start_time]
    name, why = "DeadKernelError", "the kernel died while it ran this cell (killed, or out of memory?)"
    if stopped:
        name, why = "KeyboardInterrupt", "the kernel was killed, because this cell did not stop at the first interrupt"
    begun[-1].execution_count = len(begun)  # the kernel did not live to tell
    begun[-1].outputs.append(nbformat.v4.new_output("error", ename=name, evalue=why, traceback=[f"{name}: {why}"]))
    raise_for_execution_errors(book, str(private))


def partial(target: str | Path) -> Path:
    """Where a notebook that did not run to its end is kept, with the traceback in it."""
    return Path(target).with_suffix(".partial.ipynb")


def _private(target: Path) -> Path:
    """This process's own name for the unfinished notebook; those of processes killed on this machine are removed."""
    start, end = f".{target.stem}.{platform.node()}-", ".partial.ipynb"
    for path in target.parent.glob(glob.escape(start) + "*" + end):
        pid = path.name.removeprefix(start).removesuffix(end)
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            path.unlink(missing_ok=True)
    return target.parent / f"{start}{os.getpid()}{end}"


def what_failed(error: papermill.PapermillExecutionError) -> str:
    """One line on the cell, by the number that it has in the partial notebook."""
    if error.ename == "DeadKernelError":
        return f"its kernel died in cell {error.exec_count} (killed, or out of memory?); {RECORDED}"
    return f"cell {error.exec_count} failed: {error.ename}: {next(iter(error.evalue.splitlines()), '')}"
