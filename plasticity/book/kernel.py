"""The kernel that runs a notebook: how Ctrl-C reaches it, and how its death is told."""

import os
import signal
import threading
from contextlib import suppress

import nbformat
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

GRACE = 10.0  # seconds that a cell gets to leave what it is doing when it is interrupted


class Interrupts:
    """Ctrl-C and SIGTERM while a notebook runs: the first interrupts its cell; a second one, or `GRACE`, kills its kernel."""

    def __init__(self):
        self.received = self.kernel = None
        self.running = False  # whether a cell has begun
        self.timer = threading.Timer(GRACE, lambda: self.send(signal.SIGKILL))
        self.timer.daemon = True
        self.former = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
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
        """Signal the kernel and all that it has started: a session of its own, which a terminal's Ctrl-C does not reach."""
        if self.kernel and self.kernel.provisioner and self.kernel.provisioner.pgid:
            with suppress(ProcessLookupError):
                os.killpg(self.kernel.provisioner.pgid, number)

    def before_cell(self, cell, cell_index):
        """Let no further cell run after a signal, even if the one that it interrupted took no notice. nbclient calls this."""
        self.running = True
        if self.received:
            cell.outputs.append(_error("KeyboardInterrupt", "before this cell ran"))
            raise CellExecutionError("", "KeyboardInterrupt", "before this cell ran")


class Engine(NBClientEngine):
    """papermill's own, in which `Interrupts` reach the kernel, and a kernel's death is an error of the cell that ran."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, interrupts, target, stdout_file, stderr_file, **_):
        """Run all cells; ``nb_man.nb`` then says what came of them. papermill calls this."""
        client = PapermillNotebookClient(
            nb_man,
            kernel_name=kernel_name,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
            on_cell_execute=interrupts.before_cell,
        )
        interrupts.kernel = client.create_kernel_manager()
        nb_man.nb.metadata.papermill["output_path"] = target
        try:
            client.execute()
        except DeadKernelError:
            interrupts.send(signal.SIGTERM)  # its worker processes, which it can't end any more
            cell = [
                cell for cell in nb_man.nb.cells if cell.cell_type == "code" and cell.metadata.papermill.start_time
            ][-1]
            cell.execution_count = client.code_cells_executed  # the kernel did not live to tell
            died = _error("DeadKernelError", "the kernel died while it ran this cell (killed, or out of memory?)")
            stopped = _error(
                "KeyboardInterrupt", "the kernel was killed, because this cell did not stop at the first interrupt"
            )
            cell.outputs.append(stopped if interrupts.received else died)
            nb_man.cell_exception(cell)


def _error(name: str, value: str):
    """The output of a cell that raised this."""
    return nbformat.v4.new_output("error", ename=name, evalue=value, traceback=[f"{name}: {value}"])


papermill_engines.register("strict", Engine)
