"""The companion papers' networks have the sizes the papers give, and their miniatures the same plan."""

import pytest
import torch
from torch import nn

from plasticity.networks import companions
from plasticity.networks import table as models

torch.set_num_threads(1)
NAMES = ("mlp", "mlp_bn", "cnn", "cnn_bn", "resnet18", "vit_tiny", "vgg16")
MINIS = ("mini_mlp", "mini_mlp_bn", "mini_cnn", "mini_cnn_bn", "mini_resnet18", "mini_vit_tiny", "mini_vgg")
VGG16 = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def stack(*widths):
    """Weights and biases of linear layers one behind the other."""
    return sum(a * b + b for a, b in zip(widths[:-1], widths[1:], strict=True))


def convolutional(kernel, *channels, norm=0):
    """The same of convolutions; ``norm``: parameters per channel of what follows each."""
    return sum(kernel**2 * a * b + b + norm * b for a, b in zip(channels[:-1], channels[1:], strict=True))


def residual(stages, stem):
    """Weights of BasicBlocks without biases, each with two batch norms: (width, blocks); and the first convolution."""
    total, channels = 9 * 3 * stem + 2 * stem, stem
    for width, blocks in stages:
        for block in range(blocks):
            total += 9 * channels * width + 9 * width * width + 4 * width
            total += channels * width + 2 * width if channels != width and not block else 0
            channels = width
    return total


def transformer(size, patch, width, depth, hidden, classes):
    """A vision transformer: patches, class token, positions; layers of attention, MLP, two norms; norm and head."""
    layer = 4 * (width * width + width) + stack(width, hidden, width) + 4 * width
    tokens = (size // patch) ** 2 + 1
    return convolutional(patch, 3, width) + width + tokens * width + depth * layer + 2 * width + stack(width, classes)


@pytest.mark.parametrize(
    "name, classes, count",
    [
        ("mlp", 10, stack(784, 100, 100, 10)),
        ("mlp_bn", 10, stack(784, 100, 100, 10) + 400),
        ("cnn", 10, convolutional(5, 3, 16, 16) + stack(16 * 25, 100, 10)),
        ("cnn", 100, convolutional(5, 3, 16, 16) + stack(16 * 25, 100, 100)),
        ("cnn_bn", 100, convolutional(5, 3, 16, 16, norm=2) + stack(16 * 25, 100, 100)),
        ("resnet18", 10, residual(((64, 2), (128, 2), (256, 2), (512, 2)), 64) + stack(512, 10)),
        ("vit_tiny", 100, transformer(32, 4, 192, 12, 768, 100)),
        ("vgg16", 200, convolutional(3, 3, *VGG16, norm=2) + stack(2048, 1024, 1024, 200)),
        ("mini_mlp", 10, stack(64, 100, 100, 10)),
        ("mini_mlp_bn", 10, stack(64, 100, 100, 10) + 400),
        ("mini_cnn", 10, convolutional(3, 3, 16, 16) + stack(256, 64, 10)),
        ("mini_cnn_bn", 10, convolutional(3, 3, 16, 16, norm=2) + stack(256, 64, 10)),
        ("mini_resnet18", 10, residual(((16, 1), (32, 1), (48, 1)), 16) + stack(48, 10)),
        ("mini_vit_tiny", 20, transformer(16, 4, 48, 2, 96, 20)),
        ("mini_vgg", 40, convolutional(3, 3, 12, 24, 24, 48, 48, norm=2) + stack(192, 64, 64, 40)),
    ],
)
def test_parameter_counts_by_hand(name, classes, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in models.architecture(name).build(classes).parameters()) == count


def test_counts_that_others_give():
    """Of CIFAR's ResNet-18: 11,173,962; of MNIST's 784-100-100-10: 89,610."""
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in models.architecture(name).build(10).parameters()) for name in ("resnet18", "mlp")
        ]
    assert counts == [11_173_962, 89_610]


@pytest.mark.parametrize("name", NAMES + MINIS)
def test_logits_head_and_seed(name):
    architecture = models.architecture(name)
    with torch.device("meta") if name in ("vgg16", "resnet18", "vit_tiny") else torch.device("cpu"):
        model = architecture.build(7).eval()
        images = torch.rand(2, 3, architecture.image_size, architecture.image_size)
        assert model(images).shape == (2, 7)
    head, name_of = model.get_submodule(architecture.head), architecture.head
    if isinstance(head, nn.Sequential):
        head, name_of = head[-1], f"{name_of}.{len(head) - 1}"
    assert isinstance(head, nn.Linear) and head.out_features == 7
    assert head is [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    assert architecture.family in models.FAMILIES and architecture.title
    if name in MINIS:
        one, same, other = (models.build(name, 7, seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert not torch.equal(one[f"{name_of}.weight"], other[f"{name_of}.weight"])


@pytest.mark.parametrize("name", NAMES + MINIS)
def test_fixed_networks_refuse_other_sizes_and_the_others_take_them(name):
    architecture = models.architecture(name)
    assert architecture.fixed == (architecture.family != "resnet18")
    with torch.device("meta"):
        model = architecture.build(3).eval()
        images = torch.rand(2, 3, architecture.image_size + 1, architecture.image_size + 1)
        if not architecture.fixed:
            assert model(images).shape == (2, 3)
            return
        with pytest.raises((ValueError, AssertionError)):  # torchvision's transformer asserts
            model(images)
    if isinstance(model, companions.Chain):
        size = architecture.image_size
        with (
            torch.device("meta"),
            pytest.raises(ValueError, match=f"takes images of 3 x {size} x {size}, not 3 x {size} x {size - 1}"),
        ):
            model(torch.rand(2, 3, size, size - 1))


@pytest.mark.parametrize("name", ["mini_mlp", "mini_mlp_bn"])
def test_networks_for_grey_images_see_the_first_channel_alone(name):
    model, images = models.build(name, 10, seed=0).eval(), torch.rand(4, 3, 8, 8)
    changed = images.clone()
    changed[:, 1:] = 0
    assert torch.equal(model(images), model(changed))
    changed[:, 0] = 0
    assert not torch.equal(model(images), model(changed))


def test_chains_are_producer_norm_relu():
    """Every hidden layer of a chain is followed by its norm, where it has one, and a ReLU module of its own."""
    for name in ("mlp_bn", "cnn_bn", "vgg16", "mini_mlp_bn", "mini_cnn_bn", "mini_vgg", "mlp", "cnn"):
        with torch.device("meta"):
            model = models.architecture(name).build(5)
        chain = [*model.features, *model.classifier]
        for at, module in enumerate(chain[:-1]):
            if isinstance(module, nn.Conv2d | nn.Linear):
                norm = isinstance(chain[at + 1], nn.BatchNorm1d | nn.BatchNorm2d)
                assert isinstance(chain[at + 1 + norm], nn.ReLU), (name, at)
                dense_only = name in ("mlp_bn", "mini_mlp_bn")
                assert norm == (dense_only or (isinstance(module, nn.Conv2d) and name not in ("cnn", "mini_cnn"))), (
                    name,
                    at,
                )
        assert len({id(module) for module in chain}) == len(chain)


def test_resnet18_has_no_stem_and_vit_tiny_is_deit_ti():
    with torch.device("meta"):
        resnet, vit = models.architecture("resnet18").build(10), models.architecture("vit_tiny").build(100)
        assert resnet.layer1(resnet.maxpool(resnet.conv1(torch.rand(1, 3, 32, 32)))).shape == (1, 64, 32, 32)
    assert [module.p for module in vit.modules() if isinstance(module, nn.Dropout)] == [0.1] * len(
        [module for module in vit.modules() if isinstance(module, nn.Dropout)]
    )
    assert vit.patch_size == 4 and len(vit.encoder.layers) == 12 and vit.encoder.layers[0].num_heads == 3


@pytest.mark.parametrize("name", ["mini_cnn_bn", "mini_resnet18", "mini_vit_tiny", "mini_vgg"])
def test_every_parameter_gets_a_gradient(name):
    model = models.build(name, 4, seed=0)
    size = models.architecture(name).image_size
    model(torch.rand(8, 3, size, size, generator=torch.Generator().manual_seed(0))).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.ndim > 1)
