"""A world in which runs find their weights by themselves."""

import json
import os

import pytest
from helpers import tiny_arrays

from plasticity.datasets.prepare import pack
from plasticity.files import file_sha256
from plasticity.profiles import source_run
from plasticity.running.engine import Place
from plasticity.weights import source_path


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    """States after each epoch, also in the processes that a test starts."""
    monkeypatch.setenv("PLASTICITY_CHECKPOINT_SECONDS", "0")


@pytest.fixture
def pretrained(world):
    """The tiny world, with the weights of mini_resnet under the name that runs look for."""
    pack(world, "source", tiny_arrays(classes=4))
    path = source_path(source_run("mini_resnet", "source"), world)
    path.parent.mkdir(exist_ok=True)
    os.replace(world / "mini_resnet.pt", path)
    path.with_suffix(".json").write_text(json.dumps({"sha256": file_sha256(path)}))
    return world


@pytest.fixture
def place(pretrained, tmp_path):
    """Where runs of that world go, in this process."""
    return Place(str(pretrained), str(tmp_path / "results"), workers=1, device="cpu")
