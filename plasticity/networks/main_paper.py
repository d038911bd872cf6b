"""The main paper's networks and their miniatures."""

from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.resnet import Bottleneck


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
            norm = nn.BatchNorm2d(out, momentum=bn_momentum)
            blocks += [nn.Conv2d(channels, out, kernel, stride, padding), norm, nn.ReLU(True)]
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
    """The miniature of SimpleNet for 32 x 32 images; its few steps need a faster batch norm average."""
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
    """The miniature of ViT-B/16 for 32 x 32 images: patch 8, width 64, depth 4, 4 heads, MLP x 2."""
    shape = {"image_size": 32, "patch_size": 8, "num_layers": 4, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 128}
    return VisionTransformer(num_classes=num_classes, **shape)


def efficientnet_lite0(num_classes: int) -> nn.Module:
    """EfficientNet-Lite0 as timm builds it for TensorFlow's weights: 4,652,008 parameters for 1000 classes."""
    import timm  # takes a second, and only this network needs it

    return timm.create_model("tf_efficientnet_lite0", num_classes=num_classes)
