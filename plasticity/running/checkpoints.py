"""The state of a run in progress, from which a killed run goes on to the very same record.

A folder holds the two newest states, ``state-<epoch>.pt``, and a ``lock`` that the operating system frees when its
owner dies, however it dies. A state appears under its name when it is whole. Should a power cut tear one all the same,
it does not match its checksums, and the one before counts. Loading a state runs no code.
"""

import contextlib
import io
import os
import time
import zipfile
from pathlib import Path

import torch

from ..files import atomic
from . import identity

try:
    import fcntl
except ImportError:  # Windows: no lock, so two processes may do the same run, which the records survive
    fcntl = None


class Busy(RuntimeError):
    """Another process, which is alive, is doing this job."""


def default_seconds() -> float:
    """Seconds between two states: what PLASTICITY_CHECKPOINT_SECONDS says, or 5, or, where a GPU would stand still
    while one is written, 60. Raises ValueError if that is no number."""
    text = os.environ.get("PLASTICITY_CHECKPOINT_SECONDS", "60" if torch.cuda.is_available() else "5")
    try:
        return float(text)
    except ValueError:
        allowed = "a number of seconds, 0 for a state after each epoch"
        raise ValueError(f"PLASTICITY_CHECKPOINT_SECONDS={text!r} must be {allowed}") from None


class Checkpoint:
    """The place of one run's states. As a context it is owned by one process; entering raises `Busy` if another one
    lives.

    ``every``: seconds between two states, `default_seconds` unless given; 0 for one after each epoch.
    """

    def __init__(self, folder: str | Path, every: float | None = None):
        self.folder, self.every = Path(folder), default_seconds() if every is None else every
        self.resumed: list[int] = []  # epochs after which this run was taken up again
        self.made_by = {"source": identity.source(), "torch": str(torch.__version__)}
        self._lock, self._saved = None, time.monotonic()

    def __enter__(self):
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock = open(self.folder / "lock", "w", encoding="utf-8")
            except FileNotFoundError:  # the last owner has just finished, and removed the folder
                continue
            if self._own():
                for path in self.folder.glob(".state-*"):  # an owner was killed as it wrote
                    path.unlink(missing_ok=True)
                return self
            self._lock.close()

    def _own(self) -> bool:
        with contextlib.suppress(OSError):  # a disk without locks: go on without
            try:
                if fcntl:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._lock.close()
                raise Busy(f"another process is at {self.folder.name}") from None
            # A file that was removed between our opening and locking it guards nothing.
            return os.fstat(self._lock.fileno()).st_ino == os.stat(self.folder / "lock").st_ino
        return (self.folder / "lock").exists()

    def __exit__(self, *_):
        self._lock.close()

    def due(self) -> bool:
        """Whether the last state, or the beginning, is so long ago that it is time to save one."""
        return time.monotonic() - self._saved >= self.every

    def save(self, epoch: int, state: dict) -> None:
        """Write the state after ``epoch``: tensors, numbers, text and containers of them. One earlier state is kept.

        Raises OSError if the disk is full; the earlier one stays whole.
        """
        content = io.BytesIO()  # torch.save itself would not say that the disk is full
        torch.save({"epoch": epoch, "resumed": self.resumed, "made_by": self.made_by, "state": state}, content)
        path = self.folder / f"state-{epoch}.pt"
        for older in self._states()[1:]:
            older.unlink()
        try:
            with atomic(path) as partial:
                partial.write_bytes(content.getbuffer())
        except OSError as error:
            why = f"{error.strerror}, while writing a checkpoint; the one before is whole"
            raise OSError(error.errno, why, str(path)) from None
        self._saved = time.monotonic()

    def load(self, inputs: dict) -> dict | None:
        """The newest whole state, or None: the run begins anew. So it does after states of another source, PyTorch or
        inputs (hashes of data and weights): going on from them would give a record of neither."""
        self.made_by |= inputs
        for path in self._states():
            found = _read(path)
            if found is None:
                path.unlink(missing_ok=True)
            elif found["made_by"] == self.made_by:
                self.resumed = [*found["resumed"], found["epoch"]]
                return found["state"]
            else:
                print(f"{path} is of {found['made_by']}, this is {self.made_by}: the run begins anew", flush=True)
                return self.remove_states()
        return None

    def _states(self) -> list[Path]:
        """The files of states, the newest first."""
        return sorted(self.folder.glob("state-*.pt"), key=lambda path: -int(path.stem.partition("-")[2]))

    def remove_states(self) -> None:
        """Delete the states."""
        for path in [*self.folder.glob("state-*"), *self.folder.glob(".state-*")]:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all of it: the run is recorded."""
        self.remove_states()
        (self.folder / "lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # on some network disks an open file leaves something behind
            self.folder.rmdir()


def _read(path: Path) -> dict | None:
    """What `Checkpoint.save` wrote, or None if the file is torn or no state."""
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch writes checksums, but never looks at them
            whole = archive.testzip() is None
        return torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except Exception:  # a torn archive fails in many ways
        return None
