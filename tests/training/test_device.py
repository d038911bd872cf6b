"""What a device can't do is said before anything is spent, in one line."""

import pytest
import torch
from pretended_gpu import pretended

from plasticity import train
from plasticity.training import device
from plasticity.training.device import pick_device, require_able, why_no_gpu

OLD = """The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading
and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to:"""
NONE = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver."
GPU = torch.device("cuda", 0)


@pytest.fixture
def without(monkeypatch):
    """A function that makes PyTorch say why it can use no GPU."""

    def say(why, built="13.2"):
        def fail():
            raise RuntimeError(why)

        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "init", fail if why else lambda: None)
        monkeypatch.setattr(torch.version, "cuda", built)
        why_no_gpu.cache_clear()

    yield say
    why_no_gpu.cache_clear()


@pytest.fixture
def card(monkeypatch):
    """A function that makes a card of some capability be there."""

    def be(major, minor, known=("sm_75", "sm_80", "sm_86", "sm_90", "compute_90")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card")
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(known))

    return be


def test_a_driver_that_is_too_old_is_named_with_what_to_do(without):
    without(OLD)
    expected = "its driver is too old, of CUDA 11.4, and this torch wants 13.2: update it, or install .* CUDA 11.4"
    with pytest.raises(ValueError, match=f"device='cuda', but .*{expected}; use 'cpu'"):
        pick_device("cuda")
    with pytest.warns(UserWarning, match=f"training on the CPU, not on the GPU: {expected}"):
        assert pick_device("auto").type == "cpu"
    assert pick_device("cpu").type == "cpu"


@pytest.mark.parametrize(
    "why, built, expected",
    [
        (NONE, "13.2", "Found no NVIDIA driver on your system"),
        ("", "13.2", "CUDA finds no device"),
        ("", None, "this torch is built without CUDA"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_other_reasons_are_no_warning(without, why, built, expected):
    without(why, built)
    assert why_no_gpu() == expected and pick_device("auto").type == "cpu"
    with pytest.raises(ValueError, match=f"device='cuda:1', but PyTorch can use no CUDA device here: {expected}"):
        pick_device("cuda:1")


@pytest.mark.filterwarnings("error")
def test_a_card_with_all_of_it(card):
    card(9, 0)
    for precision in ("fp32", "tf32", "bf16"):
        require_able(GPU, precision)
    card(8, 9)  # by the binary of 8.6
    require_able(GPU, "bf16")
    card(12, 0)  # by PTX
    require_able(GPU, "bf16")


def test_a_card_without_bf16_and_tf32(card):
    card(7, 5)
    require_able(GPU, "fp32")
    with pytest.raises(
        ValueError, match=r"precision='bf16', but Card \(compute capability 7.5\) has no bf16; use.*'fp32'"
    ):
        require_able(GPU, "bf16")
    with pytest.warns(UserWarning, match="'tf32', but Card .* has no TF32: it computes in full float32"):
        require_able(GPU, "tf32")


def test_a_card_that_this_torch_has_no_kernels_for(card):
    for major, minor, known in ((6, 1, ("sm_75", "sm_80")), (10, 0, ("sm_90",)), (7, 0, ("sm_75", "compute_90"))):
        card(major, minor, known)
        with pytest.raises(ValueError, match=f"Card .*{major}.{minor}.* has no kernels for it, only {known[0]}.*'cpu'"):
            require_able(GPU, "fp32")


def test_a_run_asks_first(world, tiny_run, card):
    with pytest.raises(ValueError, match="has no bf16"), pretended():
        card(7, 5)
        train.begin(tiny_run(precision="bf16"), world, "cuda:0", weights=world / "mini_resnet.pt")


def test_it_is_asked_of_this_machine():
    why_no_gpu.cache_clear()
    assert torch.cuda.is_available() or device.why_no_gpu()
