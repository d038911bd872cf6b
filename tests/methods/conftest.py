"""One tiny world for all tests of methods."""

import pytest
import torch
from helpers import tiny_arrays

from plasticity.datasets.prepare import pack
from plasticity.networks import table as networks


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A data folder with a tiny set of 16 pixels packed as "photos", and weights of two miniatures. Read only."""
    folder = tmp_path_factory.mktemp("world")
    pack(folder, "photos", tiny_arrays(size=16))
    for name in ("mini_simplenet", "mini_resnet"):
        torch.save(networks.build(name, 7, seed=99).state_dict(), folder / f"{name}.pt")
    return folder
