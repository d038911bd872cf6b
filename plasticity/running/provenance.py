"""What made a record: the commit, versions, the machine. What can't be found out is null, and no run fails by it."""

import contextlib
import os
import platform
import re
import subprocess
from functools import lru_cache
from pathlib import Path

import torch
import torchvision

from ..datasets.cores import usable_cores
from .identity import source

SECONDS = 10.0  # for git to answer; a slow or hanging one is asked nothing more


@lru_cache(maxsize=1)
def environment() -> dict:
    """What made a record: commit, versions, machine, threads."""
    commit, dirty = checkout()
    return {
        "commit": commit,
        "source": source(),
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "machine": machine(),
        "device": _device(),
        "threads": torch.get_num_threads(),
    }


def checkout(file: str | Path = __file__) -> tuple[str | None, bool | None]:
    """The commit that holds ``file``, and whether tracked files differ from it: (None, None) where no commit does, as
    for a package installed inside another project's repository, or git is missing, refuses or does not answer."""
    file = Path(file).resolve()
    told = _git(file.parent, "rev-parse", "HEAD", f"HEAD:./{file.name}").split()
    if len(told) != 2 or not re.fullmatch("[0-9a-f]{40,64}", told[0]):
        return None, None
    changed = _git(file.parent, "status", "--porcelain", "--untracked-files=no", "--branch")  # says something always
    return told[0], len(changed.splitlines()) > 1 if changed else None


def _git(folder: Path, *arguments: str) -> str:
    """What git says of the repository around ``folder``; empty where it fails, or is too slow."""
    # GIT_DIR and its like, which hooks set, would have it look at another repository.
    asked = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    asked |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": SECONDS, "check": True, "env": asked}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(["git", "-C", str(folder), *arguments], **options).stdout.decode("utf-8", "replace")
    return ""


def machine() -> str:
    """The processor's name and the number of cores this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {usable_cores()} cores"


def _device() -> str | None:
    try:
        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    except RuntimeError:  # a GPU that has failed, or that another process has for itself
        return None
