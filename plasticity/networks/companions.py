"""The networks of the companion papers (Hare & Tortoise, Soft Weight Rescaling) and their miniatures.

Images are always [batch, 3, height, width]. Grey data has three equal channels; the networks for it look at the first
alone, so that their numbers of parameters are the papers'. What the papers leave open is decided here: the 5x5
convolutions have no padding (LeNet's), convolutions before a batch norm have a bias in VGG and the CNNs and none in the
ResNets (torchvision's), and VGG has batch norm after its convolutions alone. Linear layers begin as PyTorch makes them.
"""

from functools import partial

from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models import resnet18 as torchvision_resnet18
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import cfgs, make_layers


class FirstChannel(nn.Module):
    """The first of three equal channels, as an image of one."""

    def forward(self, images: Tensor) -> Tensor:
        """[batch, 3, h, w] -> [batch, 1, h, w]."""
        return images[:, :1]


class Chain(nn.Module):
    """Two chains of plain modules, ``features`` and ``classifier``, for images of one size."""

    def __init__(self, image_size: int, features: nn.Sequential, classifier: nn.Sequential):
        super().__init__()
        self.image_size, self.features, self.classifier = image_size, features, classifier

    def forward(self, images: Tensor) -> Tensor:
        """Logits [batch, num_classes] for images [batch, 3, image_size, image_size]; ValueError for another size."""
        takes = [3, self.image_size, self.image_size]
        if list(images.shape[1:]) != takes:  # pooling would round some other sizes to fitting ones
            wanted, given = (" x ".join(map(str, shape)) for shape in (takes, images.shape[1:]))
            raise ValueError(f"takes images of {wanted}, not {given}")
        return self.classifier(self.features(images))


def dense(num_classes: int, widths: tuple[int, ...], norm: bool = False) -> nn.Sequential:
    """Linear layers of those widths, each with (``norm``: a batch norm and) a ReLU behind it, and the head."""
    layers = []
    for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))


def convolutions(channels: int, layers: tuple, kernel: int = 3, padding: int = 0, norm: bool = False) -> list:
    """Convolutions with these outputs, each with a ReLU (``norm``: and a batch norm); "pool": a 2x2 max-pool."""
    modules = []
    for layer in layers:
        if layer == "pool":
            modules.append(nn.MaxPool2d(2))
        else:
            norms = [nn.BatchNorm2d(layer)] if norm else []
            modules += [nn.Conv2d(channels, layer, kernel, padding=padding), *norms, nn.ReLU()]
            channels = layer
    return modules


def mlp(num_classes: int, norm: bool = False, size: int = 28) -> Chain:
    """size^2-100-100-classes: 89,610 parameters for MNIST, 90,010 with batch norm (H&T A.2). All in ``classifier``."""
    return Chain(size, nn.Sequential(FirstChannel(), nn.Flatten()), dense(num_classes, (size**2, 100, 100), norm))


def cnn(num_classes: int, norm: bool = False) -> Chain:
    """Two 5x5 convolutions of 16 with max-pools and 100 hidden units, for 32 pixels (Soft Weight Rescaling)."""
    features = convolutions(3, (16, "pool", 16, "pool"), kernel=5, norm=norm)
    return Chain(32, nn.Sequential(*features, nn.Flatten()), dense(num_classes, (16 * 5 * 5, 100)))


def mini_cnn(num_classes: int, norm: bool = False) -> Chain:
    """The miniature of `cnn` for 16 pixels: two 3x3 convolutions of 16 with max-pools and 64 hidden units."""
    features = convolutions(3, (16, "pool", 16, "pool"), padding=1, norm=norm)
    return Chain(16, nn.Sequential(*features, nn.Flatten()), dense(num_classes, (16 * 4 * 4, 64)))


mlp_bn, cnn_bn, mini_cnn_bn = (partial(network, norm=True) for network in (mlp, cnn, mini_cnn))
mini_mlp, mini_mlp_bn = (partial(network, size=8) for network in (mlp, mlp_bn))


def vgg16(num_classes: int, size: int = 64) -> Chain:
    """VGG-16 with batch norm, two hidden layers of 1024, no dropout (H&T A.2): 18,075,912 parameters, 200 classes."""
    features = he(nn.Sequential(*make_layers(cfgs["D"], batch_norm=True), nn.Flatten()))
    return Chain(size, features, dense(num_classes, (512 * (size // 32) ** 2, 1024, 1024)))


vgg16_32 = partial(vgg16, size=32)  # as H&T's figure 7 needs it: the last pooling leaves one pixel instead of four


def mini_vgg(num_classes: int) -> Chain:
    """The miniature of VGG-16 for 16 pixels: three stages of convolutions with batch norm, two hidden layers of 64."""
    features = convolutions(3, (12, "pool", 24, 24, "pool", 48, 48, "pool"), padding=1, norm=True)
    return Chain(16, he(nn.Sequential(*features, nn.Flatten())), dense(num_classes, (48 * 2 * 2, 64, 64)))


def he(module: nn.Module) -> nn.Module:
    """The convolutions of a network initialised as torchvision does it in its VGG and ResNet; returns the network."""
    for inner in module.modules():
        if isinstance(inner, nn.Conv2d):
            nn.init.kaiming_normal_(inner.weight, mode="fan_out", nonlinearity="relu")
            if inner.bias is not None:
                nn.init.zeros_(inner.bias)
    return module


def resnet18(num_classes: int) -> nn.Module:
    """torchvision's ResNet-18 without the stem (H&T A.2): 11,173,962 parameters for 10 classes. Made for 32 pixels."""
    model = torchvision_resnet18(num_classes=num_classes)
    model.conv1, model.maxpool = he(nn.Conv2d(3, 64, 3, 1, 1, bias=False)), nn.Identity()
    return model


class MiniResNet18(nn.Module):
    """The miniature of ResNet-18 without stem for 16 pixels: a 3x3 convolution, three stages of one BasicBlock, all
    halving
    but the first stage (with the full 16 x 16 pixels there it would be half as fast)."""

    def __init__(self, num_classes: int, widths: tuple[int, ...] = (16, 32, 48)):
        super().__init__()
        blocks, channels = [], widths[0]
        self.conv1, self.bn1 = nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        for width in widths:
            stride, shortcut = 1, None
            if width != channels:
                stride, shortcut = 2, nn.Sequential(nn.Conv2d(channels, width, 1, 2, bias=False), nn.BatchNorm2d(width))
            blocks.append(BasicBlock(channels, width, stride, shortcut))
            channels = width
        self.layers = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, num_classes)
        he(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [batch, num_classes] for images [batch, 3, H, W]."""
        return self.fc(self.layers(self.relu(self.bn1(self.conv1(images)))).mean((2, 3)))


def _vit(num_classes: int, size: int, layers: int, width: int, mlp: int) -> VisionTransformer:
    shape = {"image_size": size, "patch_size": 4, "num_layers": layers, "hidden_dim": width, "mlp_dim": mlp * width}
    return VisionTransformer(num_heads=3, dropout=0.1, num_classes=num_classes, **shape)


def vit_tiny(num_classes: int) -> VisionTransformer:
    """DeiT-Ti for 32 pixels: patch 4, 12 layers, 3 heads, width 192, MLP x 4, dropout .1 (H&T A.2)."""
    return _vit(num_classes, 32, 12, 192, 4)


def mini_vit_tiny(num_classes: int) -> VisionTransformer:
    """The miniature of ViT-Tiny for 16 pixels: patch 4, 2 layers, 3 heads, width 48, MLP x 2, dropout .1."""
    return _vit(num_classes, 16, 2, 48, 2)
