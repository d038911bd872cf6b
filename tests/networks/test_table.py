"""The networks are the ones the paper names, and weights are checked before they are used."""

import hashlib
import math
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import equal, state_of
from PIL import Image, ImageOps
from torch import nn

from plasticity.datasets import world as offline
from plasticity.files import file_sha256
from plasticity.networks import table as models
from plasticity.networks.loading import load_backbone, read_weights
from plasticity.networks.main_paper import simplenet

torch.set_num_threads(1)
MINIS = ("mini_simplenet", "mini_resnet", "mini_vit")


def parameters(model):
    return sum(p.numel() for p in model.parameters())


# --- architectures ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, classes, count",
    [
        ("simplenet", 1000, 5_752_808),
        ("simplenet", 47, 5_507_887),  # 953 classes fewer, 257 numbers each; the paper's "0.5 million"
        ("simplenet_half", 1000, 1_506_792),
        ("resnet50", 1000, 25_557_032),
        ("vit_b_16", 1000, 86_567_656),
    ],
)
def test_parameter_counts(name, classes, count):
    with torch.device("meta"):
        assert parameters(models.architecture(name).build(classes)) == count


def test_width_three_quarters_has_the_published_count():
    with torch.device("meta"):
        assert parameters(simplenet(1000, width=0.75)) == 3_287_272


def test_simplenet_is_the_variant_5m_m1():
    """Layer by layer as its author describes them: (kernel, in, out, stride), or a pool."""
    with torch.device("meta"):
        model = simplenet(10)
    found = []
    modules = list(model.features)
    for index, module in enumerate(modules):
        if isinstance(module, nn.Conv2d):
            assert module.bias is not None and module.groups == 1 and module.dilation == (1, 1)
            assert module.padding == (1, 1)  # the 1x1 ones, too, as released
            norm, activation = modules[index + 1 : index + 3]
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.momentum == 0.05 and norm.num_features == module.out_channels
            assert isinstance(activation, nn.ReLU)
            found.append((module.kernel_size[0], module.in_channels, module.out_channels, module.stride[0]))
        elif isinstance(module, nn.MaxPool2d):
            assert module.kernel_size == 2 and module.stride == 2
            found.append("pool")
    first = [(3, 3, 64, 2), (3, 64, 128, 2), (3, 128, 128, 2), *[(3, 128, 128, 1)] * 3, "pool"]
    second = [(3, 128, 256, 1), (3, 256, 256, 1), (3, 256, 256, 1), (3, 256, 512, 1), "pool"]
    assert found == [*first, *second, (1, 512, 2048, 1), (1, 2048, 256, 1), (3, 256, 256, 1)]
    assert (model.classifier.in_features, model.classifier.out_features) == (256, 10)
    assert len(modules) == 13 * 3 + 2


def test_simplenet_ends_in_a_global_max_pool():
    model = models.build("mini_simplenet", 4, seed=0).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = model.features(images)
    assert features.shape[2] > 1
    assert torch.equal(model(images), model.classifier(features.flatten(2).max(2).values))
    assert not torch.allclose(model(images), model.classifier(features.mean((2, 3))))


@pytest.mark.parametrize("name", MINIS)
def test_miniatures_take_32_pixels(name):
    model = models.build(name, 7, seed=0)
    arch = models.architecture(name)
    assert model(torch.zeros(2, 3, arch.image_size, arch.image_size)).shape == (2, 7)
    assert arch.family in models.FAMILIES and parameters(model) < 500_000


def test_simplenet_half_takes_224_pixels():
    model = models.build("simplenet_half", 5, seed=0).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 5)


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_every_head_is_or_ends_in_a_linear_layer_over_the_classes(name):
    with torch.device("meta"):
        head = models.architecture(name).build(6).get_submodule(models.architecture(name).head)
    head = head[-1] if models.architecture(name).family == "vgg" else head
    assert type(head) is nn.Linear and head.out_features == 6


def test_unknown_architecture_names_it_and_the_known():
    with pytest.raises(ValueError, match="'resnet51'; known: simplenet, .*mini_vit"):
        models.architecture("resnet51")
    with pytest.raises(ValueError, match="'resnet51'"):
        models.build("resnet51", 3, seed=0)


@pytest.mark.parametrize("name", MINIS)
def test_build_depends_on_its_seed_alone(name):
    first = models.build(name, 5, seed=1).state_dict()
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    again, other = (models.build(name, 5, seed=seed).state_dict() for seed in (1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[n], again[n]) for n in first)
    weights = [n for n in first if first[n].ndim >= 2 and n != "class_token"]  # which torchvision fills with zeros
    assert all(not torch.equal(first[n], other[n]) for n in weights)


@pytest.mark.parametrize("name", MINIS)
def test_the_head_is_initialised_as_a_new_linear_layer(name):
    head = models.build(name, 50, seed=3).get_submodule(models.architecture(name).head)
    bound = 1 / math.sqrt(head.in_features)
    assert 0.9 * bound < head.weight.abs().max() <= bound
    assert head.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert 0 < head.bias.abs().max() <= bound


# --- weights files ----------------------------------------------------------------------------------------------------
@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(nn.Linear(3, 2).state_dict(), path)
    return path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_file_sha256_is_the_files_hash(saved):
    assert file_sha256(saved) == digest(saved)


def test_read_weights_gives_back_what_was_saved(saved):
    for sha256 in (None, digest(saved), digest(saved)[:8]):
        state = read_weights(str(saved), sha256)
        assert {n: tuple(v.shape) for n, v in state.items()} == {"weight": (2, 3), "bias": (2,)}


def test_a_wrong_hash_is_refused_before_the_file_is_opened(saved, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("loaded a file that should have been refused"))
    right = digest(saved)
    wrong = ("0" if right[0] != "0" else "1") + right[1:8]
    with pytest.raises(ValueError, match=f"weights.pt has SHA-256 {right}, expected {wrong}"):
        read_weights(saved, wrong)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pt is missing.*36c4ca4d"):
        read_weights(tmp_path / "absent.pt", "36c4ca4d")


class Payload:
    """Unpickling this creates the file."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "save",
    [
        lambda value, path: torch.save(value, path),
        lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
        lambda value, path: path.write_bytes(pickle.dumps(value)),
    ],
)
def test_code_in_a_weights_file_never_runs(tmp_path, save):
    path, target = tmp_path / "evil.pt", tmp_path / "it_ran"
    save({"weight": torch.zeros(2), "extra": Payload(target)}, path)
    with pytest.raises(ValueError, match=r"evil\.pt is not a plain state dict"):
        read_weights(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(Payload(target))).close()
    assert target.exists(), "the payload must be a live one"


@pytest.mark.parametrize(
    "value, found",
    [
        ([torch.zeros(2)], "list"),
        (torch.zeros(2), "Tensor"),
        ({"epoch": 3}, "dict"),
        ({"state_dict": {"weight": torch.zeros(2)}}, "dict"),
    ],
)
def test_anything_but_a_plain_state_dict_is_refused(tmp_path, value, found):
    torch.save(value, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=rf"other\.pt is not a plain state dict of tensors: found {found}"):
        read_weights(tmp_path / "other.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_value_errors(tmp_path, zipped):
    path = tmp_path / "damaged.pt"
    torch.save(nn.Linear(3, 2).state_dict(), path, _use_new_zipfile_serialization=zipped)
    whole, draw = path.read_bytes(), random.Random(0)
    cuts = [whole[:n] for n in (0, 1, 10, 60, len(whole) // 2, len(whole) - 1)]
    cuts += [whole[: draw.randrange(len(whole))] for _ in range(60)]
    for cut in [*cuts, b"<html>not found</html>", struct.pack("<4I", *range(4)) * 64]:
        path.write_bytes(cut)
        with pytest.raises(ValueError, match=r"damaged\.pt is not a plain state dict of tensors: \S"):
            read_weights(path)


# --- load_backbone ----------------------------------------------------------------------------------------------------
def trained(seed):
    """A network whose every tensor, buffers included, differs from a fresh one's."""
    model = models.build("mini_resnet", 9, seed=seed)
    for i, value in enumerate(model.state_dict().values()):
        value.copy_(value + 1 + i)
    return model.state_dict()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state,
        lambda state: dict(reversed(state.items())),  # equal names in another order go by name
        lambda state: {n if n[:3] == "fc." else f"m.{i}": v for i, (n, v) in enumerate(state.items())},  # else by order
        lambda state: {n: v for n, v in state.items() if n[:3] != "fc."},  # a head is not needed
    ],
)
def test_load_backbone_copies_all_but_the_head(change):
    model, state = models.build("mini_resnet", 4, seed=0), trained(1)
    parameter, before = model.conv1.weight, state_of(model)
    load_backbone(model, change(state), "fc")
    for name, value in model.state_dict().items():
        assert torch.equal(value, (before if name.startswith("fc.") else state)[name]), name
    assert len(before["fc.weight"]) == 4
    assert model.conv1.weight is parameter and parameter.data_ptr() != state["conv1.weight"].data_ptr()


BACKBONE = sum(not name.startswith("fc.") for name in models.build("mini_resnet", 4, seed=0).state_dict())


@pytest.mark.parametrize(
    "name, value, message",
    [
        (
            "layers.2.conv1.weight",
            torch.zeros(5, 5, 1, 1),
            r"'layers\.2\.conv1\.weight' have shape \(5, 5, 1, 1\).*\(24,",
        ),
        ("bn1.running_mean", None, f"hold {BACKBONE - 1} tensors besides the head 'fc', the model {BACKBONE}"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_copied(name, value, message):
    model, state = models.build("mini_resnet", 4, seed=0), trained(1)
    before = state_of(model)
    state = {n: value if n == name else v for n, v in state.items()}
    with pytest.raises(ValueError, match=message):
        load_backbone(model, {n: v for n, v in state.items() if v is not None}, "fc")
    assert equal(before, model)


def test_the_repository_holds_no_weights_under_another_name():
    """Every ImageNet file that is named carries at least eight digits of its hash, which its name repeats."""
    for arch in models.ARCHITECTURES.values():
        assert (arch.weights_file is None) == (arch.sha256 is None)
        if arch.weights_file:
            assert len(arch.sha256) >= 8 and Path(arch.weights_file).stem.endswith(arch.sha256[:8])


# --- real ImageNet weights from a pip package -------------------------------------------------------------------------
def test_lite0_with_its_packages_weights_knows_a_cat_and_an_espresso():
    """Loading by order puts every tensor where it belongs: the network classifies photographs it never saw."""
    network = models.architecture("efficientnet_lite0")
    state = read_weights(offline.installed(f"{network.package}/{network.weights_file}"), network.sha256)
    model = models.build("efficientnet_lite0", 1000, seed=0).eval()
    load_backbone(model, state, network.head)
    head = model.get_submodule(network.head)
    assert not torch.equal(head.weight, state["_fc.weight"])  # the head stays new ...
    # ... until this test gives it back
    head.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})
    found = {}
    for name in ("chelsea", "coffee"):
        picture = Image.open(offline.installed(offline.PHOTOS[name])).convert("RGB")
        picture = ImageOps.fit(picture, (224, 224), Image.Resampling.BICUBIC)
        images = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            found[name] = int(model((images - 127) / 128).argmax())
    assert found["chelsea"] in range(281, 286) and found["coffee"] == 967  # ImageNet's cats; espresso
