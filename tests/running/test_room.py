"""How many runs fit on a GPU: its memory, its cores and MPS decide."""

import pytest
import torch
from torch import nn

from plasticity import Run
from plasticity.profiles import PROFILES, get_profile
from plasticity.running import room
from plasticity.running.engine import Place
from plasticity.studies.all import grid as all_runs
from plasticity.studies.rl.runs import grid

GB = 10**9


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that makes so many GPUs of some memory, cores, and MPS or not."""

    def be(gpus, memory, cores=64, mps=False):
        about = type("About", (), {"total_memory": memory})
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: about)
        monkeypatch.setattr(room, "usable_cores", lambda: cores)
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
        if mps:
            (tmp_path / "control").touch()

    return be


def test_what_autograd_keeps_is_counted_by_hand(monkeypatch):
    # A linear layer keeps its input, and its weight where the input wants a gradient; ReLU keeps its result.
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(12, 5), nn.Linear(5, 3)

        def forward(self, images):
            return self.two(self.one(images.flatten(1)).relu())

    monkeypatch.setattr(room.networks, "build", lambda *_, seed: Small())
    room.size.cache_clear()
    found = room.size("small", 2, 3, batch_size=7)
    room.size.cache_clear()
    parameters, second = (
        12 * 5 + 5 + 5 * 3 + 3,
        5 * 3,
    )  # the first layer's weight is not needed: images want no gradient
    assert found == {"parameters": parameters, "kept": 4 * (7 * 12 + 7 * 5 + second) - 4 * parameters}


def test_a_run_takes_all_that_it_keeps_at_once(world):
    run = Run("mini_resnet", "photos", weights="source")
    items, pixels = 72, 32
    about = room.size("mini_resnet", pixels, 1000, 32)
    images, augmented = items * 3 * pixels**2, 10 * 4 * 32 * 3 * pixels**2
    expected = 0.6e9 + images + 5 * 4 * about["parameters"] + about["kept"] + augmented
    assert room.taken(run, world) == expected
    assert room.taken(Run("vit_b_16", "dtd"), world) > room.taken(Run("resnet50", "dtd"), world) > 3 * GB


def test_a_game_takes_what_is_assumed(world):
    run = grid(get_profile("rl_quick"))[0]
    assert room.taken(run, world) == room.CONTEXT + room.GAME


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_grid_finds_its_workers(name, machine, tmp_path):
    machine(1, 140 * GB)
    assert 1 <= room.choose_workers(all_runs(PROFILES[name]), tmp_path, "auto") <= 4


def test_two_on_a_cpu(machine, world):
    run = Run("mini_resnet", "photos", weights="source")
    machine(0, 0)
    assert Place(str(world), str(world / "results")).at_once([run]) == 2
    assert Place(str(world), str(world / "results"), workers=5).at_once([run]) == 5
    machine(1, 80 * GB)
    assert room.choose_workers([run], world, "cpu") == 2


@pytest.mark.parametrize(
    "gpus, memory, cores, mps, expected",
    [
        (1, 80, 64, False, 4),  # more do not pay without MPS
        (1, 80, 64, True, 8),
        (2, 80, 64, True, 16),
        (2, 80, 6, True, 6),  # a core each
        (1, 14, 64, True, 3),  # 3.6 GB each, and a tenth stays free
        (1, 4, 64, True, 1),
        (1, 2, 64, True, 1),  # it will say that its memory ran out
    ],
)
def test_as_many_as_fit_on_gpus(machine, world, monkeypatch, gpus, memory, cores, mps, expected):
    machine(gpus, memory * GB, cores, mps)
    monkeypatch.setattr(room, "taken", lambda run, folder: 3.6 * GB if run.architecture == "resnet50" else GB)
    runs = [Run("resnet50", "dtd"), Run("simplenet", "dtd")]
    assert room.choose_workers(runs, world, "auto") == expected
    assert room.choose_workers(runs, world, "cuda:0") == expected // gpus if cores > 6 else 4
    said = f"{expected} workers, unless WORKERS says otherwise: the largest run takes an estimated 3.6 GB"
    assert room.explained(runs, world, "auto").startswith(said)
    assert room.explained(runs, world, "auto").endswith("MPS is there" if mps else "MPS is not there")
