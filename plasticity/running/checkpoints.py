"""The state of a run in progress, written each epoch, from which a killed run goes on to the very same record.

A folder holds two state files, written in turn, and a ``lock`` that the kernel frees when its owner dies, however it dies. A
state file is two pieces of JSON (origin and checksum; everything but tensors), then the tensors' bytes: several times as fast as
torch.save for the hundreds of small tensors of a small network. It is overwritten where it lies, which is far cheaper than a new
file; one that a kill has torn does not match its checksum, and the other one counts.
"""

import contextlib
import json
import os
import zlib
from pathlib import Path

import torch
from torch import Tensor

from . import identity
from .workers import Busy

try:
    import fcntl
except ImportError:  # Windows: no lock, so two processes may do the same run, which the records survive
    fcntl = None

HEADER = 1024  # bytes


class Checkpoint:
    """The place of one run's states. As a context it is owned by one process; entering raises `Busy` if another one lives."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.resumed: list[int] = []  # epochs after which this run was taken up again
        self.made_by = {"source": identity.source(), "torch": str(torch.__version__)}
        self._lock = None

    def __enter__(self):
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock = open(self.folder / "lock", "w")
            except FileNotFoundError:  # the last owner has just finished, and removed the folder
                continue
            if self._own():
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
        """Whether a state should be written now."""
        return True

    def save(self, epoch: int, state: dict) -> None:
        """Write the state after ``epoch`` over the older of the two. OSError if the disk is full; the other one stays whole."""
        parts = _pack(state)
        size, crc32 = 0, 0
        for part in parts:
            size, crc32 = size + len(part), zlib.crc32(part, crc32)
        header = {
            "epoch": epoch,
            "tree": len(parts[0]),
            "bytes": size,
            "crc32": crc32,
            "resumed": self.resumed[-20:],
        } | self.made_by
        path = self.folder / f"state-{epoch % 2}"
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
                file.seek(HEADER)
                file.writelines(parts)
                file.seek(0)  # the header last, so that the epoch it names is whole, unless the power fails
                file.write(json.dumps(header).encode().ljust(HEADER - 1) + b"\n")
        except OSError as error:
            raise OSError(
                error.errno, f"{error.strerror}, while writing a checkpoint; the one before is whole", str(path)
            ) from None

    def load(self, inputs: dict) -> dict | None:
        """The newest whole state, or None: the run begins anew. So it does after states of another source, PyTorch or inputs
        (hashes of data and weights): going on from them would give a record of neither."""
        self.made_by |= inputs
        whole = [found for path in self.folder.glob("state-*") if (found := _read(path))]
        for header, content in sorted(whole, key=lambda found: -found[0]["epoch"])[:1]:
            origin = {name: header.get(name) for name in self.made_by}
            if origin != self.made_by:
                print(
                    f"checkpoint in {self.folder} is of {origin}, this is {self.made_by}: the run begins anew",
                    flush=True,
                )
                self.remove_states()
                return None
            self.resumed = [*header["resumed"], header["epoch"]]
            return _unpack(json.loads(bytes(content[: header["tree"]])), content[header["tree"] :])
        return None

    def remove_states(self) -> None:
        """Delete the states."""
        for path in self.folder.glob("state-*"):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all of it: the run is recorded."""
        self.remove_states()
        (self.folder / "lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # on some network disks an open file leaves something behind
            self.folder.rmdir()


def _read(path: Path) -> tuple[dict, memoryview] | None:
    """Header and content of a state file, or None if it is torn."""
    content = memoryview(bytearray(path.read_bytes()))  # PyTorch wants memory that may be written
    try:
        header = json.loads(bytes(content[:HEADER]))
        content = content[HEADER : HEADER + header["bytes"]]
        return (header, content) if zlib.crc32(content) == header["crc32"] else None
    except (ValueError, KeyError, TypeError):
        return None


def _pack(state) -> list:
    """The state as bytes: first JSON in which each tensor stands as its shape, memory order and dtype, then the tensors."""
    tensors = []

    def walk(value):
        if isinstance(value, dict):
            return {"dict": [(key, walk(item)) for key, item in value.items()]}  # JSON would turn keys into text
        if isinstance(value, (list, tuple)):
            return {"list": [walk(item) for item in value]}
        if not isinstance(value, Tensor):
            return value
        # Memory order belongs to the state: an optimiser's moments must lie as its weights do.
        order = sorted(range(value.dim()), key=lambda axis: (-value.stride(axis), axis))
        tensors.append(value.detach().permute(order).contiguous().cpu())
        return {"shape": list(value.shape), "order": order, "dtype": str(value.dtype).removeprefix("torch.")}

    tree = json.dumps(walk(state)).encode()
    return [tree, *(memoryview(tensor.view(-1).view(torch.uint8).numpy()) for tensor in tensors)]


def _unpack(tree, content: memoryview):
    """What `_pack` was given; tuples have become lists."""
    start = 0

    def walk(node):
        nonlocal start
        if not isinstance(node, dict):
            return node
        if "dict" in node:
            return {key: walk(item) for key, item in node["dict"]}
        if "list" in node:
            return [walk(item) for item in node["list"]]
        shape, order, dtype = node["shape"], node["order"], getattr(torch, node["dtype"])
        size = torch.Size(shape).numel()
        part = torch.frombuffer(content, dtype=dtype, count=size, offset=start) if size else torch.empty(0, dtype=dtype)
        start += size * dtype.itemsize
        return (
            part.reshape([shape[axis] for axis in order])
            .permute([order.index(axis) for axis in range(len(order))])
            .clone()
        )

    return walk(tree)
