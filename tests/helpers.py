"""What several test modules share. Test modules do not import each other."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from plasticity.datasets.world import Arrays

ROOT = Path(__file__).resolve().parents[1]


def tiny_arrays(classes=3, per_class=24, size=32, seed=0):
    """Images whose class is their colour, under noise; every third item is a test item."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    colours = rng.uniform(60, 200, (classes, 3))
    images = colours[labels][:, None, None, :] + rng.normal(0, 40, (len(labels), size, size, 3))
    return Arrays(
        images=images.clip(0, 255).astype(np.uint8),
        labels=labels.astype(np.int64),
        test=np.arange(len(labels)) % 3 == 0,
        class_names=tuple(f"class {i}" for i in range(classes)),
        sources=[f"noise {i}" for i in range(len(labels))],
    )


def fill(folder, leave=0):
    """Fill a disk up to some bytes, with a file to delete."""
    room = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - leave))
    return filler


def run_notebook(name, folder, target=None, profile="quick"):
    """One notebook of a first-look profile, by the command that make uses, in a process of its own."""
    target, workers = target or folder / "notebooks" / f"{name}.ipynb", 2 if name.startswith("00") else 1
    command = [sys.executable, "-m", "plasticity", "execute", f"notebooks/{name}.ipynb", str(target)]
    given = {"profile": profile, "results": folder, "data": folder / "data", "device": "cpu", "workers": workers}
    for parameter in given.items():
        command += ["-p", *map(str, parameter)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
