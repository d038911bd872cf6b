"""A tiny packed world for the tests that train: three classes of coloured noise, and weights of fresh networks."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("PLASTICITY_OFFLINE", "1")  # no test downloads anything from elsewhere

import signal
import subprocess

import pytest
import torch
from helpers import tiny_arrays
from hypothesis import settings

from plasticity import Run
from plasticity.datasets.prepare import pack
from plasticity.networks import table as networks

torch.set_num_threads(1)
settings.register_profile("plasticity", deadline=None)  # other processes may take the time
settings.load_profile("plasticity")
signal.signal(signal.SIGINT, signal.default_int_handler)  # else what is started in the background would ignore it

LONG = "notebooks site grid dask imagenet_profile paper_profile companion_profile playground own".split()


def pytest_collection_modifyitems(items):
    """The longest files first, so that two processes end at about the same time."""
    place = {f"test_{name}": i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


@pytest.fixture
def world(tmp_path):
    """A data folder with the tiny set packed as "photos", and a weights file ``<architecture>.pt`` per miniature."""
    folder = tmp_path / "data"
    pack(folder, "photos", tiny_arrays())
    for name in ("mini_simplenet", "mini_resnet", "mini_vit"):
        torch.save(networks.build(name, 7, seed=99).state_dict(), folder / f"{name}.pt")
    return folder


@pytest.fixture
def tiny_run():
    """A function of overrides that gives a run of a few short epochs on the tiny set."""
    usual = {"batch_size": 8, "max_epochs": 3, "patience": 0, "augment": "flip", "lr": 0.01, "momentum": 0.9}

    def make(architecture="mini_resnet", case="base", seed=0, **fields):
        return Run(architecture, "photos", case, seed, **{"weights": "source"} | usual | fields)

    return make


@pytest.fixture
def small_disk(tmp_path):
    """A file system of four megabytes, which can really be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
