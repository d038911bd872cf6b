"""A tiny packed world for the tests that train: three classes of coloured noise, and weights of fresh networks."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("PLASTICITY_OFFLINE", "1")  # no test downloads anything from elsewhere

import signal
import subprocess

import numpy as np
import pytest
import torch

from plasticity import run as config
from plasticity.datasets.prepare import pack
from plasticity.datasets.world import Arrays
from plasticity.networks import table as models

torch.set_num_threads(1)
signal.signal(
    signal.SIGINT, signal.default_int_handler
)  # what is started in the background ignores it, and so would its children


LONG = (
    "test_notebooks",
    "test_grid",
    "test_imagenet_profile",
    "test_cluster",
    "test_paper_profile",
    "test_companion_profile",
    "test_site",
    "test_examples",
    "test_playground",
    "test_own",
)


def pytest_collection_modifyitems(items):
    """The longest files first, so that two processes end at about the same time."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


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


@pytest.fixture
def world(tmp_path):
    """A data folder with the tiny set packed as "photos", and a weights file ``<architecture>.pt`` of each miniature."""
    folder = tmp_path / "data"
    pack(folder, "photos", tiny_arrays())
    for name in ("mini_simplenet", "mini_resnet", "mini_vit"):
        torch.save(models.build(name, 7, seed=99).state_dict(), folder / f"{name}.pt")
    return folder


@pytest.fixture
def tiny_run():
    """A function of overrides that gives a run of a few short epochs on the tiny set."""

    def make(architecture="mini_resnet", case="base", seed=0, **fields):
        fields = {
            "batch_size": 8,
            "max_epochs": 3,
            "patience": 0,
            "augment": "flip",
            "lr": 0.01,
            "momentum": 0.9,
        } | fields
        return config.Run(architecture, "photos", case, seed, weights="source", **fields)

    return make


@pytest.fixture
def small_disk(tmp_path):
    """A file system of four megabytes, which can really be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder, leave=0):
    """Fill a disk up to some bytes, with a file to delete."""
    room = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - leave))
    return filler
